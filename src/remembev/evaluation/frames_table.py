"""The scores on a few frames as tables for the terminal."""

from __future__ import annotations

import math

from rich.console import Group
from rich.table import Table

from remembev.evaluation.frame_scores import PRECISION, FrameMatches, FrameScore, score_frames
from remembev.evaluation.frames import FramesEvaluation, LoopEvaluation, StreamAge, count_boxes
from remembev.evaluation.observability import WELL_SEEN
from remembev.evaluation.scoring import format_number

_FRAMES_SHOWN = 20


def frames_table(evaluation: FramesEvaluation) -> Group:
    """Return the scores by class, by threshold and by frame, and the boxes by the age of the stream."""
    tables = [_by_class(evaluation), _by_threshold(evaluation)] if evaluation.annotated else []
    tables.append(_by_frame(evaluation))
    if evaluation.loop is not None:
        tables.append(_by_age(evaluation.loop))
    return Group(*tables)


def _by_class(evaluation: FramesEvaluation) -> Table:
    threshold, frames = evaluation.threshold, len(evaluation.annotated)
    title = f"boxes of score ≥ {threshold:g}, {frames} annotated frame{'s' if frames > 1 else ''}"
    table = _table(
        title, "class", "objects", "recall", "prec.", "false", "AP 2 m", f"R@P{PRECISION:g}", "AOE", "moving"
    )
    for label, name in enumerate(evaluation.class_names):
        score, curve = evaluation.score(threshold, label), evaluation.curve(label)
        recall = curve.recall_at_precision().recall
        table.add_row(name, *_cells(score), *map(format_number, (curve.average_precision(), recall)), *_headings(score))
    table.add_section()
    score = evaluation.score(threshold)
    table.add_row("all", *_cells(score), format_number(evaluation.mean_ap()), "", *_headings(score), style="bold")
    return table


def _by_threshold(evaluation: FramesEvaluation) -> Table:
    seen = f"≥{WELL_SEEN} points"
    table = _table("all classes by score", "score", "objects", "recall", "prec.", "false", seen, "recall", "prec.")
    for threshold in evaluation.thresholds:
        score = evaluation.score(threshold)
        rates = (score.well_seen_recall, score.well_seen_precision)
        table.add_row(f"≥ {threshold:g}", *_cells(score), str(score.well_seen), *map(format_number, rates))
    return table


def _by_frame(evaluation: FramesEvaluation) -> Table:
    table = _table(
        f"frames, boxes of score ≥ {evaluation.threshold:g}", "frame", "boxes", "objects", "recall", "prec.", "false"
    )
    for number, frame in enumerate(evaluation.matches[:_FRAMES_SHOWN], start=1):
        table.add_row(f"{frame.scene[:24]} {number}", *_frame_cells(frame, evaluation.threshold))
    if len(evaluation.matches) > _FRAMES_SHOWN:
        table.add_row(f"and {len(evaluation.matches) - _FRAMES_SHOWN} more")
    return table


def _frame_cells(frame: FrameMatches, threshold: float) -> list[str]:
    scored = _cells(score_frames([frame], threshold)) if frame.annotated else ["–"] * 4
    return [str(count_boxes(frame, threshold)), *scored]


def _by_age(loop: LoopEvaluation) -> Table:
    title = f"boxes of score ≥ {loop.threshold:g} a frame by the age of the stream"
    columns = ("boxes", "remembered", "false", "recall")
    headings = [f"{memory}\n{column}" for memory in ("memory", "no memory") for column in columns]
    table = _table(title, "frame", *headings)
    for with_memory, without_memory in zip(loop.with_memory, loop.without_memory, strict=True):
        table.add_row(_ages(with_memory, loop.steps), *_age_cells(with_memory), *_age_cells(without_memory))
    return table


def _ages(age: StreamAge, steps: int) -> str:
    last = min(age.to_frame or steps, steps)
    return str(last) if age.from_frame == last else f"{age.from_frame} to {last}"


def _age_cells(age: StreamAge) -> list[str]:
    return [*map(_format_count, (age.boxes, age.remembered, age.false_boxes)), format_number(age.recall)]


def _cells(score: FrameScore) -> list[str]:
    rates = map(format_number, (score.recall, score.precision))
    return [str(score.objects), *rates, _format_count(score.false_per_frame)]


def _headings(score: FrameScore) -> list[str]:
    return [format_number(score.heading_error), format_number(score.heading_error_moving)]


def _format_count(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
