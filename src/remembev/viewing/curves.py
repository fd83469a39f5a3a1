"""Training curves: reading the CSV that training leaves, and what of it is drawn, of one run or of several seeds."""

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
    """The columns of a run's ``metrics.csv`` along its column ``step``, by name.

    Raises DataError for a file that is missing or no such table.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        names = dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch"))
        return {name: curve for name in names if len((curve := _column(rows, name)).steps)}
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is no table of training curves: {error}") from error


def curves_svg(stages: Sequence[Curves]) -> str:
    """Three panels as SVG: total loss in training and validation, its parts, the learning rate.

    The stages of a training follow one another, their steps counted through.
    """
    starts = np.cumsum([0.0, *(_length(stage) for stage in stages)])
    panels: dict[str, list[str]] = {"loss": [], "its parts": [], "learning rate": []}
    for name in dict.fromkeys(name for stage in stages for name in stage):
        if name in ("train/loss", "val/loss"):
            panels["loss"].append(name)
        elif name.startswith("train/"):
            panels["its parts"].append(name)
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
    """Mean of smoothed curves as far as all of them have come, and the band from the lowest to the highest.

    Raises ValueError without a curve.
    """
    steps = runs[0].steps[runs[0].steps <= min(run.steps.max() for run in runs)]
    values = np.stack([np.interp(steps, run.steps, running_mean(run.values)) for run in runs])
    return Line(steps, values.mean(axis=0), colour, band=(values.min(axis=0), values.max(axis=0)))


def running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a window of a twentieth of the curve; the window shrinks towards both ends."""
    half = len(values) // 40
    total = np.concatenate(([0.0], np.cumsum(values)))
    centre = np.arange(len(values))
    reach = np.minimum(half, np.minimum(centre, len(values) - 1 - centre))
    mean: NDArray[np.float64] = (total[centre + reach + 1] - total[centre - reach]) / (2 * reach + 1)
    return mean


def _column(rows: list[dict[str, str]], name: str) -> Curve:
    filled = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
    table = np.array(filled, dtype=np.float64).reshape(-1, 2)
    return Curve(table[:, 0], table[:, 1])


def _length(stage: Curves) -> float:
    return max((float(curve.steps.max()) + 1 for curve in stage.values()), default=0.0)


def _lines(name: str, curves: Sequence[Curve | None], starts: NDArray[np.float64], colour: str) -> list[Line]:
    """A line for each stage that has the curve, one of them named."""
    lines = [
        Line(start + curve.steps, running_mean(curve.values), colour, behind=curve.values)
        for curve, start in zip(curves, starts, strict=False)
        if curve is not None
    ]
    return [*lines[:-1], replace(lines[-1], name=_label(name))]


def _label(name: str) -> str:
    """``train/cls_loss`` as cls, ``val/loss`` as validation."""
    totals = {"train/loss": "training", "val/loss": "validation"}
    return totals.get(name, name.rpartition("/")[2].removesuffix("_loss").replace("_", " "))
