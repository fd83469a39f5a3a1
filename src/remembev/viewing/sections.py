"""Tables and charts of a comparison's report, a function a section; each is HTML, a note where nothing was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from remembev.experiments.seeds import Spread
from remembev.experiments.standings import COSTS, Measure
from remembev.viewing.charts import Line, Panel, chart_svg
from remembev.viewing.contest import MAP, NDS, Contest, scored
from remembev.viewing.curves import mean_line
from remembev.viewing.page import captioned, details, embedded_svg, signed, table

Metrics = Mapping[str, Any]

_BAND = "Line: mean over the seeds. Band: from the lowest to the highest seed."
_SPREAD = "Mean ± standard deviation over the seeds; the best mean is bold."
_ERRORS = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")
_SHARES = {0.0: "0", 0.5: "0.5", 1.0: "1"}
_VISIBILITY = {"1": "0–40 %", "2": "40–60 %", "3": "60–80 %", "4": "80–100 %"}
_LOSSES = {
    "classes": "train/cls_loss",
    "boxes": "train/loc_loss",
    "the memory's occupancy": "train/occ_loss",
    "classes, in validation": "val/cls_loss",
    "boxes, in validation": "val/loc_loss",
}


# ------------------------------------------------------------------------------------------------------------- sections


def official(contest: Contest) -> str:
    """The official score in two tracks, and of every class."""
    score = [MAP, NDS, *(scored(name, "errors", name, better="lower", digits=2) for name in _ERRORS)]
    half = [scored("mAP", "tracks", "half_second", "mean_ap"), scored("NDS", "tracks", "half_second", "nds")]
    groups = {"": 1, "memory kept over each scene": len(score), "nothing older than 0.5 s": len(half)}
    classes = [scored(_plain(one), "class_ap", one) for one in contest.example("class_ap") or ()]
    return _by_peer(contest, [*score, *half], groups=groups) + _by_measure(contest, "AP of a class", classes)


def difficulty_sets(contest: Contest) -> str:
    """Score and permanence on each set of scenes by itself; nothing where the split is of one kind."""
    found = contest.example("sets")
    if not found:
        return ""
    asked = (MAP, NDS, *contest.permanence[-1:])
    tables = [
        _by_measure(
            contest,
            measure.label,
            [scored(f"{_plain(one)}{_objects(part)}", "sets", one, *measure.path[1:]) for one, part in found.items()],
        )
        for measure in asked
    ]
    lead = "The scenes of each kind by themselves, scored as the whole split is."
    return f"<section><h2>By what makes it hard</h2><p>{lead}</p>{''.join(tables)}</section>"


def precision_recall(contest: Contest) -> str:
    """A panel a class: precision over recall of all peers."""
    classes = contest.example("precision_recall")
    if not classes:
        return _nothing("precision and recall")
    panels = []
    for one, curve in classes.items():
        read = _reading("precision_recall", one, "precision")
        panels.append(Panel(_plain(one), _lines(contest, curve["recall"], read), "recall", _SHARES, y_min=0))
    return _chart(contest, panels, f"Precision over recall at 2 m, a panel a class. {_BAND}", columns=5, row_height=2.0)


def visibility(contest: Contest) -> str:
    """The official score of objects of each visibility level."""
    found = contest.example("visibility")
    if not found:
        return _nothing("visibility")
    measures = [
        scored(label, "visibility", level, key)
        for level in found
        for label, key in (("mAP", "mean_ap"), ("NDS", "nds"))
    ]
    groups = {
        f"{_VISIBILITY.get(level, '')} visible<br><small>level {level}{_objects(one)}</small>": 2
        for level, one in found.items()
    }
    return _by_peer(contest, measures, groups={"": 1, **groups})


def last_seen(contest: Contest) -> str:
    """The official score of objects by how long ago they were last well seen."""
    found = contest.example("last_seen")
    if not found:
        return _nothing("how long ago objects were last well seen")
    labels = [_since(row) for row in found]
    measures = [
        scored(f"{label}{_objects(row)}", "last_seen", place, key)
        for key in ("mean_ap", "nds")
        for place, (label, row) in enumerate(zip(labels, found, strict=True))
    ]
    mean_ap, nds = measures[: len(found)], measures[len(found) :]
    return _by_measure(contest, "mAP of objects last well seen", mean_ap) + details(
        "NDS by how long ago they were last well seen", _by_measure(contest, "NDS", nds)
    )


def permanence(contest: Contest) -> str:
    """Recall of objects without a point by how long ago they were seen, at each number of false boxes."""
    found = contest.example("permanence")
    if not found:
        return _nothing("permanence")
    windows, allowed = found["windows_s"], found["false_boxes"]
    ticks = {window: f"{window:g}" for window in windows}
    tables, panels = [], []
    for column, false_boxes in enumerate(allowed):
        at = f"{false_boxes:g} false box{'es' * (false_boxes != 1)} a frame"
        measures = [
            scored(f"{window:g} s ({objects:,} objects)", "permanence", "recall", row, column)
            for row, (window, objects) in enumerate(zip(windows, found["objects"], strict=True))
        ]
        tables.append(_by_measure(contest, f"seen in the last … at {at}", measures))
        read = _reading("permanence", "recall", slice(None), column)
        panels.append(Panel(at, _lines(contest, windows, read), "seen in the last … s", ticks, y_min=0))
    caption = f"Recall of objects that have no point now, by how long ago they were seen at most. {_BAND}"
    middle = len(allowed) // 2
    others = "".join(tables[:middle] + tables[middle + 1 :])
    return (
        _chart(contest, panels, caption, columns=len(panels))
        + tables[middle]
        + (details("at other numbers of false boxes", others) if others else "")
    )


def age(contest: Contest) -> str:
    """Score and recall against the age of the stream."""
    found = contest.example("age")
    if not found:
        return _nothing("the age of the stream")
    ticks = {float(place): _span(row["from_frame"], row["to_frame"]) for place, row in enumerate(found)}
    panels = [
        Panel(
            title, _lines(contest, list(ticks), _reading("age", slice(None), key)), "key frame of the stream", ticks, 0
        )
        for title, key in (("mAP", "mean_ap"), ("NDS", "nds"), ("recall", "recall"))
    ]
    return _chart(contest, panels, f"From the first frame of a stream, when nothing is remembered yet. {_BAND}")


def flicker(contest: Contest) -> str:
    """How often a tracked object is lost and found again."""
    found = contest.example("flicker")
    if not found:
        return _nothing("flicker")
    measures = [
        scored("lost and found again, times a track", "flicker", "lost_per_track", better="lower"),
        scored("found again after … s", "flicker", "mean_gap_s", better="lower", digits=2),
        scored("found, share of a track", "flicker", "found_share"),
        scored("tracks", "flicker", "tracks", better=None, digits=0),
    ]
    return _by_peer(contest, measures)


def velocity(contest: Contest) -> str:
    """The error of velocities, by class."""
    found = contest.example("velocity_error") or {}
    measures = [scored(_plain(one), "velocity_error", one, better="lower", digits=2) for one in found]
    return _by_measure(contest, "velocity error, m/s", measures) or _nothing("velocities")


def costs(contest: Contest) -> str:
    """Parameters, and the time of a frame."""
    return _by_peer(contest, COSTS, "Mean ± standard deviation over the seeds.")


def training(contest: Contest) -> str:
    """Losses in training and in validation, those that peers share and that of the occupancy."""
    panels = [
        Panel(title, [mean_line(curves, contest.colour(peer)) for peer in contest.peers
                      if (curves := contest.curve(peer, logged))], "step")
        for title, logged in _LOSSES.items()
    ]  # fmt: skip
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        return _nothing("training")
    caption = f"Losses of a clip, smoothed, as far as all seeds of a peer have come. {_BAND}"
    return _chart(contest, panels, caption)


def configurations(contest: Contest) -> str:
    """In what the peers' configurations differ, and each as a whole."""
    changed = contest.standings.comparison["differences"]
    rows = [
        f"<tr><td>{name(contest, peer)}</td><td>{'<br>'.join(escape(one) for one in keys)}</td></tr>"
        for peer, keys in changed.items()
    ]
    first = contest.peers[0]
    return f'<div class="words">{table(("", f"differs from {name(contest, first)} in"), rows)}</div>' + "".join(
        details(f"configuration of {peer}", f"<pre>{escape(text)}</pre>") for peer, text in contest.configs.items()
    )


# --------------------------------------------------------------------------------------------------------------- tables


def name(contest: Contest, peer: str) -> str:
    """A peer's name in its colour."""
    return f'<span class="peer" style="--peer:{contest.colour(peer)}">{escape(peer)}</span>'


def cell(spread: Spread, digits: int = 3, *, sign: bool = False, best: bool = False) -> str:
    """Mean ± standard deviation as a cell of a table."""
    if spread.mean is None:
        return "<td>–</td>"
    value = signed(spread.mean, digits) if sign else f"{spread.mean:,.{digits}f}"
    around = "" if spread.sd is None or not digits else f" <small>± {spread.sd:.{digits}f}</small>"
    return f"<td>{f'<b>{value}</b>' if best else value}{around}</td>"


def _cells(contest: Contest, measure: Measure) -> dict[str, str]:
    """A measure's cell of every peer that was measured, the best one bold."""
    spreads = {peer: Spread.of(contest.standings.values(peer, measure)) for peer in contest.measured}
    known = {round(spread.mean, measure.digits) for spread in spreads.values() if spread.mean is not None}
    best = {"higher": max, "lower": min}[measure.better](known) if measure.better and len(known) > 1 else None
    return {
        peer: cell(spread, measure.digits, best=spread.mean is not None and round(spread.mean, measure.digits) == best)
        for peer, spread in spreads.items()
    }


def _by_peer(
    contest: Contest, measures: Sequence[Measure], caption: str = _SPREAD, groups: Mapping[str, int] | None = None
) -> str:
    """A table with a row a peer and a column a measure."""
    if not contest.measured:
        return _nothing("the trained peers")
    columns = [_cells(contest, measure) for measure in measures]
    rows = [
        f"<tr><td>{name(contest, peer)}</td>{''.join(column[peer] for column in columns)}</tr>"
        for peer in contest.measured
    ]
    return table(("", *(escape(measure.label) for measure in measures)), rows, caption, groups=groups)


def _by_measure(contest: Contest, head: str, measures: Sequence[Measure], caption: str = _SPREAD) -> str:
    """A table with a row a measure and a column a peer; nothing without a measure."""
    if not contest.measured or not measures:
        return ""
    rows = [
        f"<tr><td>{escape(measure.label)}</td>{''.join(_cells(contest, measure).values())}</tr>" for measure in measures
    ]
    return table((escape(head), *(name(contest, peer) for peer in contest.measured)), rows, caption)


def _since(row: Metrics) -> str:
    start, end = row["from_s"], row["to_s"]
    if end is None:
        return "longer ago, or never"
    return f"{start:g} to {end:g} s ago" if end else "now"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def _objects(row: Metrics) -> str:
    return f" ({row['objects']:,} objects)" if row.get("objects") is not None else ""


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _nothing(what: str) -> str:
    return f'<p class="quiet">Nothing is known of {what} yet.</p>'


# --------------------------------------------------------------------------------------------------------------- charts


def _reading(*path: str | int | slice) -> Callable[[Metrics], Sequence[float | None] | None]:
    """What stands under a path in a run's metrics; a slice takes all of a list and goes on in each of them."""

    def read(found: Any, rest: Sequence[str | int | slice] = path) -> Any:
        for place, key in enumerate(rest):
            if isinstance(key, slice):
                return [read(one, rest[place + 1 :]) for one in found]
            found = None if found is None else found.get(key) if isinstance(key, str) else found[key]
        return found

    return read


def _lines(
    contest: Contest, x: Sequence[float], read: Callable[[Metrics], Sequence[float | None] | None]
) -> list[Line]:
    """A line a peer with its band: what is read of every run's metrics, for each x."""
    lines = []
    for peer in contest.measured:
        values = [found for metrics in contest.metrics(peer).values() if (found := read(metrics))]
        if values:
            runs = np.array(values, dtype=np.float64)
            middle, low, high = (over_runs(runs) for over_runs in (_mean, np.fmin.reduce, np.fmax.reduce))
            lines.append(Line(np.array(x, dtype=np.float64), middle, contest.colour(peer), band=(low, high)))
    return lines


def _mean(runs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean [N] over the runs [S, N] that have a value there, NaN where none has."""
    known = ~np.isnan(runs)
    total: NDArray[np.float64] = np.where(known, runs, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _chart(contest: Contest, panels: Sequence[Panel], caption: str, columns: int = 3, row_height: float = 2.7) -> str:
    """Panels as a figure with the key to the peers' colours above it."""
    key = "".join(name(contest, peer) for peer in contest.peers)
    image = embedded_svg(chart_svg(panels, columns=columns, row_height=row_height), caption)
    return f'<p class="key">{key}</p>{captioned(image, caption)}'
