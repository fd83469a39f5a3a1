"""Line charts for HTML pages: rows of panels with lines and bands, as one SVG."""

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

_MAX_MARKERS = 30
"""Lines with fewer points than this have markers."""


@dataclass(frozen=True)
class Line:
    """A line of a panel.

    Attributes:
        x: [N].
        y: [N], NaN for gaps.
        colour: Colour of the line.
        name: Name in the panel's legend; empty for none.
        band: Lower and upper edge [N] of a shaded band.
        raw: Unsmoothed values [N], drawn faintly behind the line.
    """

    x: Values
    y: Values
    colour: str
    name: str = ""
    band: tuple[Values, Values] | None = None
    raw: Values | None = None


@dataclass(frozen=True)
class Panel:
    """A panel of a chart.

    Attributes:
        title: Title of the panel.
        lines: Lines of the panel.
        x_label: Label of the x axis.
        x_ticks: Positions and labels of the x axis's ticks.
        y_min: Lower limit of the y axis.
        marks: Positions of dotted vertical lines on the x axis.
    """

    title: str
    lines: Sequence[Line]
    x_label: str = ""
    x_ticks: Mapping[float, str] | None = None
    y_min: float | None = None
    marks: Sequence[float] | Values = ()


def chart_svg(panels: Sequence[Panel], *, columns: int = 3, width: float = 10.5, row_height: float = 2.9) -> str:
    """Draw panels in rows of `columns` as SVG; sizes are in inches."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(width, row_height * rows), layout="constrained")
    figure.patch.set_alpha(0)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel)
    for axes in grid[len(panels) :]:
        axes.remove()
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "remembev"}):  # without a salt, clip names are random
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        axes.axvline(mark, color=style.MUTED_INK, linewidth=0.8, linestyle=":")
    for line in panel.lines:
        if line.band is not None:
            axes.fill_between(line.x, *line.band, color=line.colour, alpha=0.14, linewidth=0)
        if line.raw is not None:
            axes.plot(line.x, line.raw, color=line.colour, linewidth=0.7, alpha=0.25)
        marker = "o" if len(line.x) < _MAX_MARKERS else None
        axes.plot(line.x, line.y, color=line.colour, linewidth=1.6, marker=marker, markersize=3, label=line.name)
    style.style_axes(axes, panel.title, panel.x_label)
    if panel.x_ticks is not None:
        axes.set_xticks(list(panel.x_ticks), list(panel.x_ticks.values()))
    axes.set_ylim(bottom=panel.y_min)
    if sum(bool(line.name) for line in panel.lines) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=style.INK)
