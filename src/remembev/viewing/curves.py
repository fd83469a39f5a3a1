"""Training curves: reading the CSV that training leaves, and drawing losses and learning rate as one SVG."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from remembev.errors import DataError

Curves = Mapping[str, "Curve"]

_INK, _QUIET, _RULE = "#1d2430", "#6b7686", "#dfe4ea"
_COLOURS = ("#2b6cb0", "#d9622b", "#7b4bb7", "#2f855a", "#b83280", "#8a6d1f")


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


def curves_svg(curves: Curves) -> str:
    """Three panels as SVG: total loss in training and validation, its parts, the learning rate."""
    totals = {name: curve for name, curve in curves.items() if name in ("train/loss", "val/loss")}
    rates = {name: curve for name, curve in curves.items() if name.lower().startswith("lr")}
    parts = {name: curve for name, curve in curves.items() if name.startswith("train/") and name not in totals}
    figure = Figure(figsize=(10.5, 2.9), layout="constrained")
    figure.patch.set_alpha(0)
    panels = figure.subplots(1, 3)
    for axes, title, shown in zip(
        panels, ("loss of a clip", "its parts", "learning rate"), (totals, parts, rates), strict=True
    ):
        _draw_panel(axes, title, shown)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _column(rows: list[dict[str, str]], name: str) -> Curve:
    filled = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
    table = np.array(filled, dtype=np.float64).reshape(-1, 2)
    return Curve(table[:, 0], table[:, 1])


def _draw_panel(axes: Axes, title: str, curves: Curves) -> None:
    for (name, curve), colour in zip(curves.items(), _COLOURS, strict=False):
        smooth = _running_mean(curve.values)
        axes.plot(curve.steps, curve.values, color=colour, linewidth=0.7, alpha=0.25)
        marker = "o" if len(curve.steps) < 30 else None
        axes.plot(curve.steps, smooth, color=colour, linewidth=1.6, marker=marker, markersize=3, label=_label(name))
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel("step", fontsize=8, color=_QUIET)
    axes.tick_params(labelsize=8, colors=_QUIET, length=0)
    axes.grid(color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.yaxis.set_major_formatter("{x:g}")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_RULE)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK)


def _label(name: str) -> str:
    """``train/cls_loss`` as cls, ``val/loss`` as validation."""
    totals = {"train/loss": "training", "val/loss": "validation"}
    return totals.get(name, name.rpartition("/")[2].removesuffix("_loss").replace("_", " "))


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a window of a twentieth of the curve; the window shrinks towards both ends."""
    half = len(values) // 40
    total = np.concatenate(([0.0], np.cumsum(values)))
    centre = np.arange(len(values))
    reach = np.minimum(half, np.minimum(centre, len(values) - 1 - centre))
    mean: NDArray[np.float64] = (total[centre + reach + 1] - total[centre - reach]) / (2 * reach + 1)
    return mean
