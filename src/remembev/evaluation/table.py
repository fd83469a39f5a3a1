"""An evaluation as one table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from remembev.evaluation.breakdowns import AgeScore, LastSeenScore, SubsetScore
from remembev.evaluation.result import Evaluation, Measures
from remembev.evaluation.scoring import format_number, score_table

Rows = Iterable[Sequence[str]]

_TRACKS = {"unbounded": "whole scene", "half_second": "last half second"}


def evaluation_table(evaluation: Evaluation) -> Table:
    """Return the official score by class, then a section with its own heading for each measure."""
    table = score_table(evaluation.score)
    measures = evaluation.measures
    rows = [
        [_TRACKS[name], format_number(score.mean_ap), format_number(score.nds)]
        for name, score in evaluation.tracks.items()
    ]
    _add_section(table, ["memory", "AP", "NDS"], rows)
    rows = [[f"level {level}", *_subset_cells(subset)] for level, subset in measures.visibility.items()]
    _add_section(table, ["visibility", "AP", "NDS", "objects"], rows)
    rows = [[_last_seen(row), *_subset_cells(row.subset)] for row in measures.last_seen]
    _add_section(table, ["last well seen", "AP", "NDS", "objects"], rows)
    rows = [[_age(row), *_subset_cells(row.subset), format_number(row.recall)] for row in measures.age]
    _add_section(table, ["frame of the stream", "AP", "NDS", "objects", "recall"], rows)
    rows = [[name, *_subset_cells(score.subset)] for name, score in measures.sets.items()]
    if rows:
        _add_section(table, ["set of scenes", "AP", "NDS", "objects"], rows)
    _add_section(table, *_permanence(measures))
    flicker = measures.flicker
    values = (flicker.found_share, flicker.lost_per_track, flicker.mean_gap_s)
    _add_section(
        table,
        ["flicker", "found", "lost", "gap s", "tracks"],
        [["share, times per track", *map(format_number, values), str(flicker.tracks)]],
    )
    _add_section(table, *_velocity_errors(measures))
    if measures.occupancy is not None:
        occupancy = measures.occupancy
        areas = (occupancy.auc_seen, occupancy.auc_hidden, occupancy.auc_unseen, occupancy.occupancy_ap)
        _add_section(
            table,
            ["occupancy", "seen", "hidden", "unseen", "AP"],
            [["ROC AUC", *map(format_number, areas)]],
        )
    return table


def _permanence(measures: Measures) -> tuple[list[str], Rows]:
    permanence = measures.permanence
    heading = ["hidden, false boxes:", *(f"{count:g}" for count in permanence.false_boxes), "objects"]
    columns = (permanence.windows_s, permanence.recall, permanence.objects)
    return heading, [
        [f"seen ≤ {window:g} s ago", *map(format_number, recall), str(objects)]
        for window, recall, objects in zip(*columns, strict=True)
    ]


def _velocity_errors(measures: Measures) -> tuple[list[str], Rows]:
    by_level = measures.velocity_error_by_level
    return ["velocity error, m/s", "all", *by_level], [
        [name, format_number(error), *(format_number(errors[name]) for errors in by_level.values())]
        for name, error in measures.velocity_error.items()
    ]


def _add_section(table: Table, heading: Sequence[str], rows: Rows) -> None:
    table.add_section()
    table.add_row(*heading, style="bold")
    for row in rows:
        table.add_row(*row)


def _subset_cells(subset: SubsetScore) -> list[str]:
    return [format_number(subset.score.mean_ap), format_number(subset.score.nds), str(subset.objects)]


def _last_seen(row: LastSeenScore) -> str:
    if row.to_s == 0:
        return "now"
    return f"> {row.from_s:g} s ago or never" if row.to_s is None else f"{row.from_s:g} to {row.to_s:g} s ago"


def _age(row: AgeScore) -> str:
    return str(row.from_frame) if row.from_frame == row.to_frame else f"{row.from_frame} to {row.to_frame}"
