"""A run as one self-contained HTML file: scores beside one another, pictures, curves, times and how it was made.

The page is ``report.html`` beside this module; here its gaps are filled. Images are embedded, nothing is fetched.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from remembev.errors import DataError
from remembev.evaluation.scoring import ERRORS, DetectionScore
from remembev.files import replacing
from remembev.viewing.curves import Curves, curves_svg
from remembev.viewing.findings import class_sentence, learning_sentence, memory_sentence

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
    curves: Curves
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
    page = Template(files("remembev.viewing").joinpath("report.html").read_text(encoding="utf-8"))
    text = page.substitute(
        title=escape(report.title),
        tiles=_tiles(report),
        movie=_figure(
            report.movie,
            "A validation scene from above, driving upwards, at twice its speed. Left: LiDAR points, ground truth "
            "(white; dashed where no point is on the object) and detections with heading and velocity. Right: gate.",
        ),
        strip=_figure(report.strip, "Frames of the same scene, with the gate behind the points."),
        learning=escape(learning_sentence(report.untrained, report.with_memory)),
        memory=escape(memory_sentence(report.with_memory, report.without_memory)),
        classes=escape(class_sentence(report.with_memory, report.without_memory)),
        score_table=_score_table(report),
        class_table=_class_table(report),
        curves=_embedded("image/svg+xml", curves_svg(report.curves).encode(), "training curves"),
        keyframe=_keyframe_section(report),
        data=_facts("data", report.data),
        timings=_facts("how long it took", {stage: _duration(value) for stage, value in report.seconds.items()}),
        bench=_facts("one streaming step", {stage: f"{value:.1f} ms" for stage, value in report.bench.items()}),
        commands=escape("\n".join(report.commands)),
        config=escape(report.config),
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# --------------------------------------------------------------------------------------------------------------- scores


def _tiles(report: Report) -> str:
    scores = {
        "untrained": report.untrained,
        "trained, with memory": report.with_memory,
        "same weights, memory emptied": report.without_memory,
    }
    return "".join(
        f'<div class="tile"><b>{score.mean_ap:.3f} / {score.nds:.3f}</b><span>mAP / NDS, {name}</span></div>'
        for name, score in scores.items()
    )


def _score_table(report: Report) -> str:
    """mAP, NDS and the five errors of the three scores, and the difference that memory makes."""
    triple = (report.untrained, report.with_memory, report.without_memory)
    rows = [
        _row("mAP", [score.mean_ap for score in triple], better=1, strong=True),
        _row("NDS", [score.nds for score in triple], better=1, strong=True),
    ]
    for name in ERRORS:
        rows.append(_row(f"{name} <small>({_ERROR_UNITS[name]})</small>", [s.errors[name] for s in triple], better=-1))
    return _table(
        ("official nuScenes score", *_SCORE_COLUMNS), rows, "mAP and NDS: more is better. Errors: less is better."
    )


def _class_table(report: Report) -> str:
    triple = (report.untrained, report.with_memory, report.without_memory)
    rows = [
        _row(escape(name.replace("_", " ")), [score.class_ap[name] for score in triple], better=1, bars=True)
        for name in report.with_memory.class_ap
    ]
    return _table(("AP a class", *_SCORE_COLUMNS), rows, "Mean over the centre distances 0.5, 1, 2 and 4 m.")


def _row(name: str, values: Sequence[float], *, better: int, strong: bool = False, bars: bool = False) -> str:
    """A row of untrained, with, without and the difference of the last two; ``better`` is the sign of a gain."""
    difference = values[1] - values[2]
    verdict = "" if abs(difference) < 0.0005 or math.isnan(difference) else "good" if difference * better > 0 else "bad"
    cells = [
        f'<td class="bar" style="--share:{100 * value:.0f}%">{value:.3f}</td>' if bars else f"<td>{value:.3f}</td>"
        for value in values
    ]
    change = f"{difference:+.3f}".replace("-", "−")
    kind = ' class="strong"' if strong else ""
    return f'<tr{kind}><td>{name}</td>{"".join(cells)}<td class="{verdict}">{change}</td></tr>'


def _table(heads: Sequence[str], rows: Sequence[str], caption: str = "") -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    below = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{below}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


# ------------------------------------------------------------------------------------------------------------- the rest


def _keyframe_section(report: Report) -> str:
    if report.keyframe is None:
        return ""
    caption = (
        "The same weights, trained on nothing but simulated streets, on a real key frame they have never seen. "
        f"{report.keyframe_licence}"
    )
    return f"<section><h2>On a real street</h2>{_figure(report.keyframe, caption, 'narrow')}</section>"


def _facts(title: str, facts: Mapping[str, str]) -> str:
    rows = [f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items()]
    return _table((escape(title), ""), rows) if rows else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _figure(picture: Path, caption: str, kind: str = "") -> str:
    media = {".gif": "image/gif", ".png": "image/png"}
    try:
        image = _embedded(media[picture.suffix], picture.read_bytes(), caption)
    except (OSError, KeyError) as error:
        raise DataError(f"{picture} is no GIF or PNG that can be read") from error
    return f'<figure class="{kind}">{image}<figcaption>{escape(caption)}</figcaption></figure>'


def _embedded(media: str, content: bytes, description: str) -> str:
    encoded = base64.b64encode(content).decode("ascii")
    return f'<img src="data:{media};base64,{encoded}" alt="{escape(description)}">'
