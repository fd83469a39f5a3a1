"""Charts of a page: rows of panels with lines and the bands around them, as one SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from remembev.viewing import style

Values = NDArray[np.float64]

_FEW = 30
"""A line of fewer points than this shows where they are."""


@dataclass(frozen=True)
class Line:
    """A line of a panel: x [N] and y [N], NaN where there is nothing."""

    x: Values
    y: Values
    colour: str
    name: str = ""
    """Name in the panel's legend; without one it is not in it."""
    band: tuple[Values, Values] | None = None
    """Lower and upper edge [N] of what is shaded around it."""
    behind: Values | None = None
    """Values [N] drawn faintly behind it: what it is a smooth form of."""


@dataclass(frozen=True)
class Panel:
    """A panel of a chart."""

    title: str
    lines: Sequence[Line]
    x_label: str = ""
    x_ticks: Mapping[float, str] | None = None
    """Where the x axis has ticks, and what is written there."""
    y_from: float | None = None
    """Lower end of the y axis."""
    marks: Sequence[float] | Values = ()
    """Where on the x axis something begins."""


def chart_svg(panels: Sequence[Panel], *, columns: int = 3, width: float = 10.5, row_height: float = 2.9) -> str:
    """Panels in rows of so many columns as SVG; sizes in inches."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(width, row_height * rows), layout="constrained")
    figure.patch.set_alpha(0)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel)
    for axes in grid[len(panels) :]:
        axes.remove()
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "remembev"}):  # without a salt the names of clips are drawn by lot
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        axes.axvline(mark, color=style.QUIET, linewidth=0.8, linestyle=":")
    for line in panel.lines:
        if line.band is not None:
            axes.fill_between(line.x, *line.band, color=line.colour, alpha=0.14, linewidth=0)
        if line.behind is not None:
            axes.plot(line.x, line.behind, color=line.colour, linewidth=0.7, alpha=0.25)
        marker = "o" if len(line.x) < _FEW else None
        axes.plot(line.x, line.y, color=line.colour, linewidth=1.6, marker=marker, markersize=3, label=line.name)
    style.style_axes(axes, panel.title, panel.x_label)
    if panel.x_ticks is not None:
        axes.set_xticks(list(panel.x_ticks), list(panel.x_ticks.values()))
    axes.set_ylim(bottom=panel.y_from)
    if sum(bool(line.name) for line in panel.lines) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=style.INK)
