"""Report of a run as one self-contained HTML file: scores, pictures, curves, timings, commands.

The page's text is in ``report.html`` beside this module; its placeholders are filled here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from remembev.evaluation.scoring import ERRORS, DetectionScore
from remembev.viewing.curves import Curves, curves_svg
from remembev.viewing.page import embedded_svg, facts, figure, signed, table, template, write_page

_LEAD = (
    "A LiDAR detector with a memory: PointPillars sees one frame; an XMem-style memory in bird's-eye view is carried "
    "from frame to frame and gates the features that the detection head sees."
)
_ERROR_UNITS = {"mATE": "m", "mASE": "1 − IoU", "mAOE": "rad", "mAVE": "m/s", "mAAE": "1 − accuracy"}
_SCORE_COLUMNS = ("untrained", "trained,<br>with memory", "trained,<br>memory emptied", "effect of<br>the memory")


@dataclass(frozen=True)
class Report:
    """Contents of a report.

    Attributes:
        title: Title of the page.
        untrained: Score of the initial weights.
        with_memory: Score of the trained weights.
        without_memory: Score of the same weights, with the memory emptied before every frame.
        curves: Training curves, a set per stage.
        movie: Movie (GIF) of a scene.
        strip: Still frames (PNG) of it.
        config: Configuration as YAML.
        data: Facts about the data set, in order.
        seconds: Duration of each stage of the run.
        bench: Milliseconds of each stage of a streaming step.
        commands: Command lines that make the same run.
        keyframe: Picture (PNG) of real data, if there is any.
        keyframe_licence: Attribution of that data.
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
    """Write the report.

    Raises:
        DataError: A picture is missing.
    """
    body = template("report.html").substitute(
        movie=figure(
            report.movie,
            "A validation scene in bird's-eye view, forward up, at double speed. Left: LiDAR points, ground truth "
            "(white, dashed if the object has no point) and detections with heading and velocity. Right: gate.",
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
        timings=facts("duration", {stage: _duration(value) for stage, value in report.seconds.items()}),
        bench=facts("one streaming step", {stage: f"{value:.1f} ms" for stage, value in report.bench.items()}),
        commands=escape("\n".join(report.commands)),
        config=escape(report.config),
    )
    write_page(path, title=report.title, lead=_LEAD, tiles=_tiles(report), body=body)


# ----------------------------------------------------------------------------------------------------------- sentences

_NOTICEABLE = 0.0005
"""Smaller differences round to zero in the decimals shown (0.05 points)."""


def learning_sentence(untrained: DetectionScore, trained: DetectionScore) -> str:
    """Return a sentence on the effect of training."""
    return (
        f"The trained model reaches mAP {trained.mean_ap:.3f} and NDS {trained.nds:.3f}, the untrained one "
        f"{untrained.mean_ap:.3f} and {untrained.nds:.3f}: {_signed(trained.mean_ap - untrained.mean_ap)} "
        f"points of mAP and {_signed(trained.nds - untrained.nds)} of NDS."
    )


def memory_sentence(with_memory: DetectionScore, without: DetectionScore) -> str:
    """Return a sentence on the effect of the memory on mAP and NDS."""
    gains = {"mAP": with_memory.mean_ap - without.mean_ap, "NDS": with_memory.nds - without.nds}
    gained = [f"{_points(gain)} points of {name}" for name, gain in gains.items() if gain > _NOTICEABLE]
    lost = [f"{_points(gain)} points of {name}" for name, gain in gains.items() if gain < -_NOTICEABLE]
    claims = [f"adds {' and '.join(gained)}"] * bool(gained) + [f"costs {' and '.join(lost)}"] * bool(lost)
    verdict = f"The memory {' but '.join(claims)}" if claims else "The memory makes no difference to mAP or NDS"
    return (
        f"{verdict}: {with_memory.mean_ap:.3f} / {with_memory.nds:.3f} (mAP / NDS) with it, {without.mean_ap:.3f} / "
        f"{without.nds:.3f} with the same weights and the memory emptied before every frame."
    )


def class_sentence(with_memory: DetectionScore, without: DetectionScore) -> str:
    """Return a sentence on the classes that gain and lose most by the memory, and on the velocity error."""
    gains = {name: ap - without.class_ap[name] for name, ap in with_memory.class_ap.items()}
    most, least = max(gains, key=lambda name: gains[name]), min(gains, key=lambda name: gains[name])
    clauses = []
    if gains[most] > _NOTICEABLE:
        clauses.append(f"it helps {_plain(most)} most ({_signed(gains[most])} points of AP)")
    if gains[least] < -_NOTICEABLE:
        clauses.append(f"it hurts {_plain(least)} most ({_signed(gains[least])})")
    old, new = without.errors["mAVE"], with_memory.errors["mAVE"]
    if abs(new - old) > _NOTICEABLE:
        clauses.append(f"the velocity error {'falls' if new < old else 'rises'} from {old:.2f} to {new:.2f} m/s")
    sentence = "; ".join(clauses) or "no class AP and no velocity error changes"
    return sentence[0].upper() + sentence[1:] + "."


def _points(difference: float) -> str:
    return f"{abs(difference) * 100:.1f}"


def _signed(difference: float) -> str:
    return f"{'−' if difference < 0 else '+'}{_points(difference)}"


def _plain(class_name: str) -> str:
    return class_name.replace("_", " ")


# --------------------------------------------------------------------------------------------------------------- scores


def _tiles(report: Report) -> dict[str, str]:
    scores = {
        "untrained": report.untrained,
        "trained, with memory": report.with_memory,
        "same weights, memory emptied": report.without_memory,
    }
    return {f"mAP / NDS, {name}": f"{score.mean_ap:.3f} / {score.nds:.3f}" for name, score in scores.items()}


def _score_table(report: Report) -> str:
    """Return mAP, NDS and the five errors of the three scores, and the effect of the memory."""
    triple = (report.untrained, report.with_memory, report.without_memory)
    rows = [
        _row("mAP", [score.mean_ap for score in triple], better=1, strong=True),
        _row("NDS", [score.nds for score in triple], better=1, strong=True),
    ]
    for name in ERRORS:
        rows.append(_row(f"{name} <small>({_ERROR_UNITS[name]})</small>", [s.errors[name] for s in triple], better=-1))
    return table(
        ("official nuScenes score", *_SCORE_COLUMNS), rows, "mAP and NDS: higher is better. Errors: lower is better."
    )


def _class_table(report: Report) -> str:
    triple = (report.untrained, report.with_memory, report.without_memory)
    rows = [
        _row(escape(_plain(name)), [score.class_ap[name] for score in triple], better=1, bars=True)
        for name in report.with_memory.class_ap
    ]
    return table(("AP per class", *_SCORE_COLUMNS), rows, "Mean over the match distances 0.5, 1, 2 and 4 m.")


def _row(name: str, values: Sequence[float], *, better: int, strong: bool = False, bars: bool = False) -> str:
    """Return a row of three scores and the difference of the last two; ``better`` is the sign of an improvement."""
    difference = values[1] - values[2]
    verdict = "" if abs(difference) < 0.0005 or math.isnan(difference) else "good" if difference * better > 0 else "bad"
    cells = [
        f'<td class="bar" style="--share:{100 * value:.0f}%">{value:.3f}</td>' if bars else f"<td>{value:.3f}</td>"
        for value in values
    ]
    kind = ' class="strong"' if strong else ""
    return f'<tr{kind}><td>{name}</td>{"".join(cells)}<td class="{verdict}">{signed(difference)}</td></tr>'


# -------------------------------------------------------------------------------------------------------- key frame


def _keyframe_section(report: Report) -> str:
    if report.keyframe is None:
        return ""
    caption = (
        "The same weights, trained only on simulated streets, on a real key frame that they have never seen. "
        f"{report.keyframe_licence}"
    )
    return f"<section><h2>On a real street</h2>{figure(report.keyframe, caption, 'narrow')}</section>"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
