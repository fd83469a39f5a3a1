"""Training curves: read the CSV that training writes, and plot one run or the mean of several."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from remembev.errors import DataError
from remembev.viewing.charts import Line, Panel, chart_svg
from remembev.viewing.style import LINE_COLOURS

Curves = Mapping[str, "Curve"]


@dataclass(frozen=True)
class Curve:
    """One logged quantity: steps [S] and values [S]."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def read_curves(path: Path) -> dict[str, Curve]:
    """Read a run's ``metrics.csv``; return a curve over ``step`` per column.

    Raises:
        DataError: The file is missing or not such a table.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        names = dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch"))
        return {name: curve for name in names if len((curve := _column(rows, name)).steps)}
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not a table of training curves: {error}") from error


def curves_svg(stages: Sequence[Curves]) -> str:
    """Plot total loss, loss components and learning rate as SVG; the stages of a training follow each other in x."""
    starts = np.cumsum([0.0, *(_length(stage) for stage in stages)])
    panels: dict[str, list[str]] = {"loss": [], "loss components": [], "learning rate": []}
    for name in dict.fromkeys(name for stage in stages for name in stage):
        if name in ("train/loss", "val/loss"):
            panels["loss"].append(name)
        elif name.startswith("train/"):
            panels["loss components"].append(name)
        elif name.lower().startswith("lr"):
            panels["learning rate"].append(name)
    return chart_svg(
        [
            Panel(
                title,
                [
                    line
                    for name, colour in zip(names, LINE_COLOURS, strict=False)
                    for line in _lines(name, [stage.get(name) for stage in stages], starts, colour)
                ],
                "step",
                marks=starts[1:-1],
            )
            for title, names in panels.items()
        ]
    )


def mean_line(runs: Sequence[Curve], colour: str) -> Line:
    """Return the mean of smoothed runs up to the last step of the shortest, with a band from minimum to maximum."""
    steps = runs[0].steps[runs[0].steps <= min(run.steps.max() for run in runs)]
    values = np.stack([np.interp(steps, run.steps, running_mean(run.values)) for run in runs])
    return Line(steps, values.mean(axis=0), colour, band=(values.min(axis=0), values.max(axis=0)))


def running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over a window of 1/20 of the curve; the window shrinks towards both ends."""
    half = len(values) // 40
    total = np.concatenate(([0.0], np.cumsum(values)))
    centre = np.arange(len(values))
    reach = np.minimum(half, np.minimum(centre, len(values) - 1 - centre))
    mean: NDArray[np.float64] = (total[centre + reach + 1] - total[centre - reach]) / (2 * reach + 1)
    return mean


def _column(rows: list[dict[str, str]], name: str) -> Curve:
    logged = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
    table = np.array(logged, dtype=np.float64).reshape(-1, 2)
    return Curve(table[:, 0], table[:, 1])


def _length(stage: Curves) -> float:
    return max((float(curve.steps.max()) + 1 for curve in stage.values()), default=0.0)


def _lines(name: str, curves: Sequence[Curve | None], starts: NDArray[np.float64], colour: str) -> list[Line]:
    """Return a line for each stage that has the curve; only the last has a name."""
    lines = [
        Line(start + curve.steps, running_mean(curve.values), colour, raw=curve.values)
        for curve, start in zip(curves, starts, strict=False)
        if curve is not None
    ]
    return [*lines[:-1], replace(lines[-1], name=_label(name))]


def _label(name: str) -> str:
    """Return the legend's name of a column: ``cls`` for ``train/cls_loss``, ``validation`` for ``val/loss``."""
    totals = {"train/loss": "training", "val/loss": "validation"}
    return totals.get(name, name.rpartition("/")[2].removesuffix("_loss").replace("_", " "))
