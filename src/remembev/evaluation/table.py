"""An evaluation as one table for the terminal: a section a question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from remembev.evaluation.breakdowns import AtAge, Part, SinceSeen
from remembev.evaluation.result import Evaluation, Measures
from remembev.evaluation.scoring import score_table, shown

Rows = Iterable[Sequence[str]]

_TRACKS = {"unbounded": "all of the scene so far", "half_second": "the last half second"}


def evaluation_table(evaluation: Evaluation) -> Table:
    """The official score by class, then everything else in the same columns, each section with a head of its own."""
    table = score_table(evaluation.score)
    measures = evaluation.measures
    tracks = [[_TRACKS[name], shown(one.mean_ap), shown(one.nds)] for name, one in evaluation.tracks.items()]
    _section(table, ["memory of", "AP", "NDS"], tracks)
    parts = [[f"level {level}", *_shown_part(part)] for level, part in measures.visibility.items()]
    _section(table, ["visibility", "AP", "NDS", "objects"], parts)
    parts = [[_when(row), *_shown_part(row.part)] for row in measures.last_seen]
    _section(table, ["last well seen", "AP", "NDS", "objects"], parts)
    ages = [[_ages(row), *_shown_part(row.part), shown(row.recall)] for row in measures.age]
    _section(table, ["frame of the stream", "AP", "NDS", "objects", "recall"], ages)
    sets = [[name, *_shown_part(one.part)] for name, one in measures.sets.items()]
    if sets:
        _section(table, ["set of scenes", "AP", "NDS", "objects"], sets)
    _section(table, *_permanence(measures))
    flicker = measures.flicker
    values = (flicker.found_share, flicker.lost_per_track, flicker.mean_gap_s)
    _section(
        table,
        ["flicker", "found", "lost", "gap s", "tracks"],
        [["share, times a track", *(shown(value) for value in values), str(flicker.tracks)]],
    )
    _section(table, *_velocities(measures))
    return table


def _permanence(measures: Measures) -> tuple[list[str], Rows]:
    permanence = measures.permanence
    head = ["hidden, false boxes:", *(f"{count:g}" for count in permanence.false_boxes), "objects"]
    columns = (permanence.windows_s, permanence.recall, permanence.objects)
    return head, [
        [f"seen ≤ {window:g} s ago", *(shown(value) for value in recall), str(objects)]
        for window, recall, objects in zip(*columns, strict=True)
    ]


def _velocities(measures: Measures) -> tuple[list[str], Rows]:
    by_sight = measures.velocity_error_by_sight
    return ["velocity error, m/s", "all", *by_sight], [
        [name, shown(error), *(shown(of_sight[name]) for of_sight in by_sight.values())]
        for name, error in measures.velocity_error.items()
    ]


def _section(table: Table, head: Sequence[str], rows: Rows) -> None:
    table.add_section()
    table.add_row(*head, style="bold")
    for row in rows:
        table.add_row(*row)


def _shown_part(part: Part) -> list[str]:
    return [shown(part.score.mean_ap), shown(part.score.nds), str(part.objects)]


def _when(row: SinceSeen) -> str:
    if row.to_s == 0:
        return "now"
    return f"> {row.from_s:g} s ago or never" if row.to_s is None else f"{row.from_s:g} to {row.to_s:g} s ago"


def _ages(row: AtAge) -> str:
    return str(row.from_frame) if row.from_frame == row.to_frame else f"{row.from_frame} to {row.to_frame}"
