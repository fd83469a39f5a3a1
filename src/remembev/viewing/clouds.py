"""A picture that holds simulated clouds against real ones: from above, and their distributions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from remembev.data.cloud_stats import AT_SENSOR, AnnotatedCloud
from remembev.geometry import bev_corners
from remembev.viewing import style

_REACH = 50.0
_NAMES = ("real", "simulated")


def save_cloud_comparison(path: Path, real: Sequence[AnnotatedCloud], simulated: Sequence[AnnotatedCloud]) -> None:
    """Draw the first cloud of each side from above, coloured by intensity, over histograms of all of them.

    Args:
        path: Picture to write.
        real: Recorded clouds, at least one.
        simulated: Simulated clouds, at least one.
    """
    figure = Figure(figsize=(13.0, 11.0), layout="constrained")
    axes = figure.subplot_mosaic([["real", "real", "real", "simulated", "simulated", "simulated"],
                                  ["range", "range", "height", "height", "intensity", "intensity"]],
                                 height_ratios=[2.2, 1.0])  # fmt: skip
    for name, clouds in zip(_NAMES, (real, simulated), strict=True):
        _draw_from_above(axes[name], clouds[0], name)
    sides = [_returns(clouds) for clouds in (real, simulated)]
    columns = {
        "range": ("range, m: share of the returns", 0, np.linspace(0, 100, 51)),
        "height": ("height above the sensor, m", 1, np.linspace(-3, 12, 61)),
        "intensity": ("intensity", 2, np.linspace(0, 120, 41)),
    }
    for key, (title, column, bins) in columns.items():
        style.style_axes(axes[key], title)
        axes[key].set_yscale("log")
        for name, returns, colour in zip(_NAMES, sides, style.LINE_COLOURS, strict=False):
            weights = np.full(len(returns), 1 / max(len(returns), 1))
            axes[key].hist(
                returns[:, column], bins.tolist(), weights=weights, histtype="step", color=colour, label=name
            )
        axes[key].legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=90)


def _returns(clouds: Sequence[AnnotatedCloud]) -> NDArray[np.float64]:
    """Return range, height and intensity [N, 3] of all returns that are not at the sensor."""
    points = np.concatenate([cloud.points.double().numpy() for cloud in clouds])
    points = points[(np.abs(points[:, :2]) >= AT_SENSOR).any(axis=1)]
    return np.stack((np.linalg.norm(points[:, :3], axis=1), points[:, 2], points[:, 3]), axis=1)


def _draw_from_above(axes: Axes, cloud: AnnotatedCloud, title: str) -> None:
    style.style_axes(axes, f"{title}: {len(cloud.points):,} rows, {len(cloud.boxes)} objects")
    points = cloud.points.numpy()
    axes.scatter(points[:, 0], points[:, 1], s=0.6, c=points[:, 3], cmap="viridis", vmin=0, vmax=80, linewidths=0)
    for corners in bev_corners(cloud.boxes[:, :7]).numpy():
        axes.fill(*corners.T, fill=False, edgecolor=style.LINE_COLOURS[1], linewidth=0.7)
    axes.set(xlim=(-_REACH, _REACH), ylim=(-_REACH, _REACH), aspect="equal")
