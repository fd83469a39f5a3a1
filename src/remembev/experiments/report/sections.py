"""Tables and charts of a comparison's report, a function a section; HTML, a note if nothing was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from remembev.experiments.measures import COSTS, MAP, NDS, OCCUPANCY, TRACKING, Measure, scored
from remembev.experiments.report.runs import ComparisonRuns
from remembev.experiments.tables import by_measure, by_variant, colour, difference_table, name_cell, variant_table
from remembev.viewing.charts import Line, Panel, chart_svg
from remembev.viewing.curves import mean_line
from remembev.viewing.page import captioned, details, embedded_svg

Metrics = Mapping[str, Any]

_BAND = "Line: mean over the seeds. Band: from the lowest to the highest seed."
_SPREAD = "Mean ± standard deviation over the seeds; the best mean is bold."
_ERRORS = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")
_SHARES = {0.0: "0", 0.5: "0.5", 1.0: "1"}
_VISIBILITY = {"1": "0–40 %", "2": "40–60 %", "3": "60–80 %", "4": "80–100 %"}
_LOSSES = {
    "classes": "train/cls_loss",
    "boxes": "train/loc_loss",
    "occupancy of the memory": "train/occ_loss",
    "classes, validation": "val/cls_loss",
    "boxes, validation": "val/loc_loss",
}


# ------------------------------------------------------------------------------------------------------------- sections


def differences(runs: ComparisonRuns) -> str:
    """Return the differences of all variants to the first on every measure, a dot a seed."""
    results = runs.results
    if results.empty or len(results.variants) < 2:
        return ""
    text = (
        f"Every other variant less {escape(results.reference)}, paired by seed. Dots: one a seed, no difference in the "
        "middle, the largest difference of the row at the edges. Shaded: mean ± standard deviation. Coloured figures: "
        "better or worse by more than the spread."
    )
    return _section(f"Differences to {results.reference}", text, difference_table(results).to_html())


def official(runs: ComparisonRuns) -> str:
    """Return the official score in two tracks, and of every class."""
    score = [MAP, NDS, *(scored(name, "errors", name, better="lower", digits=2) for name in _ERRORS)]
    half = [scored("mAP", "tracks", "half_second", "mean_ap"), scored("NDS", "tracks", "half_second", "nds")]
    groups = {"": 1, "memory kept over each scene": len(score), "memory of the last 0.5 s": len(half)}
    classes = [scored(_plain(name), "class_ap", name) for name in runs.example("class_ap") or ()]
    return _by_variant(runs, [*score, *half], groups=groups) + _by_measure(runs, "AP by class", classes)


def scene_sets(runs: ComparisonRuns) -> str:
    """Return score and permanence on each set of scenes alone; nothing if the split has no sets."""
    sets = runs.example("sets")
    if not sets:
        return ""
    tables = [
        _by_measure(
            runs,
            measure.label,
            [scored(f"{_plain(name)}{_objects(part)}", "sets", name, *measure.path[1:]) for name, part in sets.items()],
        )
        for measure in (MAP, NDS, *runs.results.permanence[-1:])
    ]
    return _section("By set of scenes", "Each set is scored as the whole split is.", "".join(tables))


def precision_recall(runs: ComparisonRuns) -> str:
    """Return precision over recall of all variants, a panel a class."""
    classes = runs.example("precision_recall")
    if not classes:
        return _nothing("precision and recall")
    panels = [
        Panel(_plain(name), _lines(runs, curve["recall"], _reader("precision_recall", name, "precision")), "recall",
              _SHARES, y_min=0)
        for name, curve in classes.items()
    ]  # fmt: skip
    return _chart(runs, panels, f"Precision over recall at 2 m, a panel a class. {_BAND}", columns=5, row_height=2.0)


def visibility(runs: ComparisonRuns) -> str:
    """Return the official score of objects of each visibility level."""
    levels = runs.example("visibility")
    if not levels:
        return _nothing("visibility")
    measures = [
        scored(label, "visibility", level, key)
        for level in levels
        for label, key in (("mAP", "mean_ap"), ("NDS", "nds"))
    ]
    groups = {
        f"{_VISIBILITY.get(level, '')} visible<br><small>level {level}{_objects(part)}</small>": 2
        for level, part in levels.items()
    }
    return _by_variant(runs, measures, groups={"": 1, **groups})


def last_seen(runs: ComparisonRuns) -> str:
    """Return the official score of objects by the time since they were last well seen."""
    rows = runs.example("last_seen")
    if not rows:
        return _nothing("the time since objects were well seen")
    mean_ap, nds = (
        [scored(f"{_since(row)}{_objects(row)}", "last_seen", place, key) for place, row in enumerate(rows)]
        for key in ("mean_ap", "nds")
    )
    return _by_measure(runs, "mAP of objects last well seen", mean_ap) + details(
        "NDS by the time since objects were last well seen", _by_measure(runs, "NDS", nds)
    )


def permanence(runs: ComparisonRuns) -> str:
    """Return the recall of objects without a point by the time since they were well seen, by number of false boxes."""
    example = runs.example("permanence")
    if not example:
        return _nothing("permanence")
    windows, allowed = example["windows_s"], example["false_boxes"]
    ticks = {window: f"{window:g}" for window in windows}
    tables, panels = [], []
    for column, false_boxes in enumerate(allowed):
        at = f"{false_boxes:g} false box{'es' * (false_boxes != 1)} a frame"
        measures = [
            scored(f"{window:g} s ({objects:,} objects)", "permanence", "recall", row, column)
            for row, (window, objects) in enumerate(zip(windows, example["objects"], strict=True))
        ]
        tables.append(_by_measure(runs, f"well seen in the last …, at {at}", measures))
        lines = _lines(runs, windows, _reader("permanence", "recall", slice(None), column))
        panels.append(Panel(at, lines, "well seen in the last … s", ticks, y_min=0))
    caption = f"Recall of objects that have no point now, by how long ago they were well seen at most. {_BAND}"
    middle = len(allowed) // 2
    others = "".join(tables[:middle] + tables[middle + 1 :])
    return (
        _chart(runs, panels, caption, columns=len(panels))
        + tables[middle]
        + (details("at other numbers of false boxes", others) if others else "")
    )


def age(runs: ComparisonRuns) -> str:
    """Return score and recall against the age of the stream."""
    rows = runs.example("age")
    if not rows:
        return _nothing("the age of the stream")
    ticks = {float(place): _span(row["from_frame"], row["to_frame"]) for place, row in enumerate(rows)}
    panels = [
        Panel(title, _lines(runs, list(ticks), _reader("age", slice(None), key)), "key frame of the stream", ticks, 0)
        for title, key in (("mAP", "mean_ap"), ("NDS", "nds"), ("recall", "recall"))
    ]
    return _chart(runs, panels, f"From the first frame of a stream, when the memory is empty. {_BAND}")


def flicker(runs: ComparisonRuns) -> str:
    """Return how often a tracked object is lost and found again."""
    if not runs.example("flicker"):
        return _nothing("flicker")
    measures = [
        scored("times lost and found again a track", "flicker", "lost_per_track", better="lower"),
        scored("found again after … s", "flicker", "mean_gap_s", better="lower", digits=2),
        scored("found share of a track", "flicker", "found_share"),
        scored("tracks", "flicker", "tracks", better=None, digits=0),
    ]
    return _by_variant(runs, measures)


def velocity(runs: ComparisonRuns) -> str:
    """Return the velocity errors by class."""
    classes = runs.example("velocity_error") or {}
    measures = [scored(_plain(name), "velocity_error", name, better="lower", digits=2) for name in classes]
    return _by_measure(runs, "velocity error, m/s", measures) or _nothing("velocities")


def tracking(runs: ComparisonRuns) -> str:
    """Return the official tracking score; nothing without a tracker."""
    return _explained(runs, "Tracking", TRACKING)


def occupancy(runs: ComparisonRuns) -> str:
    """Return how well the occupancy of the memories tells objects from free cells; nothing without a memory."""
    return _explained(runs, "Occupancy", OCCUPANCY)


def costs(runs: ComparisonRuns) -> str:
    """Return parameters, time a frame and what training took."""
    return _by_variant(runs, runs.results.measured(COSTS), "Mean ± standard deviation over the seeds.")


def training(runs: ComparisonRuns) -> str:
    """Return losses in training and validation: those that all variants have, and that of the occupancy."""
    panels = [
        Panel(title, [mean_line(curves, colour(runs.results, name)) for name in runs.variants
                      if (curves := runs.curve(name, logged))], "step")
        for title, logged in _LOSSES.items()
    ]  # fmt: skip
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        return _nothing("training")
    return _chart(runs, panels, f"Losses of a clip, smoothed, as far as all seeds of a variant have come. {_BAND}")


def configurations(runs: ComparisonRuns) -> str:
    """Return what the variants are, the keys in which they differ, and each configuration as a whole."""
    return f'<div class="left">{variant_table(runs.results).to_html()}</div>' + "".join(
        details(f"configuration of {name}", f"<pre>{escape(text)}</pre>") for name, text in runs.configs.items()
    )


# --------------------------------------------------------------------------------------------------------------- tables


def _explained(runs: ComparisonRuns, title: str, measures: Sequence[Measure]) -> str:
    """Return a section with the measures of which a run has a value, and what each means; nothing without any."""
    measures = runs.results.measured(measures)
    if not measures:
        return ""
    text = "".join(f"<li>{measure.label}: {measure.what}</li>" for measure in measures)
    return _section(title, "", f"<ul>{text}</ul>{_by_variant(runs, measures)}")


def _by_variant(
    runs: ComparisonRuns, measures: Sequence[Measure], caption: str = _SPREAD, groups: Mapping[str, int] | None = None
) -> str:
    if runs.results.empty:
        return _nothing("the variants")
    return by_variant(runs.results, measures, caption, groups).to_html()


def _by_measure(runs: ComparisonRuns, head: str, measures: Sequence[Measure]) -> str:
    """Return the table; nothing without a measure."""
    if runs.results.empty or not measures:
        return ""
    return by_measure(runs.results, head, measures, _SPREAD).to_html()


def _section(title: str, text: str, body: str) -> str:
    """Return a section of the page, of text that may hold HTML."""
    return f"<section><h2>{escape(title)}</h2>{f'<p>{text}</p>' if text else ''}{body}</section>"


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
    return f'<p class="quiet">Nothing has been measured of {what} yet.</p>'


# --------------------------------------------------------------------------------------------------------------- charts


def _reader(*path: str | int | slice) -> Callable[[Metrics], Sequence[float | None] | None]:
    """Return a function that reads a path of a run's metrics; a slice goes on in each element of a list."""

    def read(value: Any, rest: Sequence[str | int | slice] = path) -> Any:
        for place, key in enumerate(rest):
            if isinstance(key, slice):
                return None if value is None else [read(element, rest[place + 1 :]) for element in value]
            value = None if value is None else value.get(key) if isinstance(key, str) else value[key]
        return value

    return read


def _lines(
    runs: ComparisonRuns, x: Sequence[float], read: Callable[[Metrics], Sequence[float | None] | None]
) -> list[Line]:
    """Return a line a variant with its band: what is read of every run's metrics, for each x."""
    lines = []
    for name in runs.variants:
        values = [row for metrics in runs.metrics(name) if (row := read(metrics))]
        if values:
            table = np.array(values, dtype=np.float64)
            middle, low, high = (over_runs(table) for over_runs in (_mean, np.fmin.reduce, np.fmax.reduce))
            lines.append(Line(np.array(x, dtype=np.float64), middle, colour(runs.results, name), band=(low, high)))
    return lines


def _mean(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean [N] over the runs [S, N] that have a value there, NaN where none has."""
    known = ~np.isnan(table)
    total: NDArray[np.float64] = np.where(known, table, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _chart(
    runs: ComparisonRuns, panels: Sequence[Panel], caption: str, columns: int = 3, row_height: float = 2.7
) -> str:
    """Return panels as a figure with the key to the variants' colours above it."""
    key = "".join(name_cell(runs.results, name).html for name in runs.variants)
    image = embedded_svg(chart_svg(panels, columns=columns, row_height=row_height), caption)
    return f'<p class="key">{key}</p>{captioned(image, caption)}'
