"""A run as one self-contained HTML file: scores beside one another, pictures, curves, times and how it was made.

What the page says is ``report.html`` beside this module; here its gaps are filled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from remembev.evaluation.scoring import ERRORS, DetectionScore
from remembev.viewing.curves import Curves, curves_svg
from remembev.viewing.findings import class_sentence, learning_sentence, memory_sentence
from remembev.viewing.page import embedded_svg, facts, figure, signed, table, template, write_page

_LEAD = (
    "A LiDAR detector that remembers: PointPillars sees one frame; an XMem-style memory in bird's-eye view goes with "
    "it from frame to frame and gates what the detection head gets to see."
)
_ERROR_UNITS = {"mATE": "m", "mASE": "1 − IoU", "mAOE": "rad", "mAVE": "m/s", "mAAE": "1 − accuracy"}
_SCORE_COLUMNS = ("untrained", "trained,<br>with memory", "trained,<br>memory emptied", "what memory<br>changes")


@dataclass(frozen=True)
class Report:
    """What a report tells.

    untrained, with_memory, without_memory   scores: the last two of the same trained weights
    movie, strip     the moving picture (GIF) and still frames (PNG) of a scene
    keyframe         picture of real data, if there is any, and keyframe_licence the line that goes with it
    config           the configuration as text
    data             facts about the data set, in the order to tell them
    seconds          how long each stage of the run took
    bench            milliseconds of each stage of a streaming step
    commands         what was typed
    """

    title: str
    untrained: DetectionScore
    with_memory: DetectionScore
    without_memory: DetectionScore
    curves: Sequence[Curves]
    movie: Path
    strip: Path
    config: str
    data: Mapping[str, str]
    seconds: Mapping[str, float]
    bench: Mapping[str, float]
    commands: Sequence[str]
    keyframe: Path | None = None
    keyframe_licence: str = ""


def write_report(path: Path, report: Report) -> None:
    """Write the report. Raises DataError if a picture is missing."""
    body = template("report.html").substitute(
        movie=figure(
            report.movie,
            "A validation scene from above, driving upwards, at twice its speed. Left: LiDAR points, ground truth "
            "(white; dashed where no point is on the object) and detections with heading and velocity. Right: gate.",
        ),
        strip=figure(report.strip, "Frames of the same scene, with the gate behind the points."),
        learning=escape(learning_sentence(report.untrained, report.with_memory)),
        memory=escape(memory_sentence(report.with_memory, report.without_memory)),
        classes=escape(class_sentence(report.with_memory, report.without_memory)),
        score_table=_score_table(report),
        class_table=_class_table(report),
        curves=embedded_svg(curves_svg(report.curves), "training curves"),
        keyframe=_keyframe_section(report),
        data=facts("data", report.data),
        timings=facts("how long it took", {stage: _duration(value) for stage, value in report.seconds.items()}),
        bench=facts("one streaming step", {stage: f"{value:.1f} ms" for stage, value in report.bench.items()}),
        commands=escape("\n".join(report.commands)),
        config=escape(report.config),
    )
    write_page(path, title=report.title, lead=_LEAD, tiles=_tiles(report), body=body)


# --------------------------------------------------------------------------------------------------------------- scores


def _tiles(report: Report) -> dict[str, str]:
    scores = {
        "untrained": report.untrained,
        "trained, with memory": report.with_memory,
        "same weights, memory emptied": report.without_memory,
    }
    return {f"mAP / NDS, {name}": f"{score.mean_ap:.3f} / {score.nds:.3f}" for name, score in scores.items()}


def _score_table(report: Report) -> str:
    """mAP, NDS and the five errors of the three scores, and the difference that memory makes."""
    triple = (report.untrained, report.with_memory, report.without_memory)
    rows = [
        _row("mAP", [score.mean_ap for score in triple], better=1, strong=True),
        _row("NDS", [score.nds for score in triple], better=1, strong=True),
    ]
    for name in ERRORS:
        rows.append(_row(f"{name} <small>({_ERROR_UNITS[name]})</small>", [s.errors[name] for s in triple], better=-1))
    return table(
        ("official nuScenes score", *_SCORE_COLUMNS), rows, "mAP and NDS: more is better. Errors: less is better."
    )


def _class_table(report: Report) -> str:
    triple = (report.untrained, report.with_memory, report.without_memory)
    rows = [
        _row(escape(name.replace("_", " ")), [score.class_ap[name] for score in triple], better=1, bars=True)
        for name in report.with_memory.class_ap
    ]
    return table(("AP a class", *_SCORE_COLUMNS), rows, "Mean over the centre distances 0.5, 1, 2 and 4 m.")


def _row(name: str, values: Sequence[float], *, better: int, strong: bool = False, bars: bool = False) -> str:
    """A row of untrained, with, without and the difference of the last two; ``better`` is the sign of a gain."""
    difference = values[1] - values[2]
    verdict = "" if abs(difference) < 0.0005 or math.isnan(difference) else "good" if difference * better > 0 else "bad"
    cells = [
        f'<td class="bar" style="--share:{100 * value:.0f}%">{value:.3f}</td>' if bars else f"<td>{value:.3f}</td>"
        for value in values
    ]
    kind = ' class="strong"' if strong else ""
    return f'<tr{kind}><td>{name}</td>{"".join(cells)}<td class="{verdict}">{signed(difference)}</td></tr>'


# ------------------------------------------------------------------------------------------------------------- the rest


def _keyframe_section(report: Report) -> str:
    if report.keyframe is None:
        return ""
    caption = (
        "The same weights, trained on nothing but simulated streets, on a real key frame they have never seen. "
        f"{report.keyframe_licence}"
    )
    return f"<section><h2>On a real street</h2>{figure(report.keyframe, caption, 'narrow')}</section>"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
