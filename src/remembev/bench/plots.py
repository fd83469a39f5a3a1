"""Plots of the measurements: a long stream, and training steps by clip length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from remembev.bench.stream import StreamCurve
from remembev.bench.train import StepCost
from remembev.files import atomic_write
from remembev.viewing import style

_POINTS = 100
"""Points of a stream's curve; each is the median of its share of the steps."""
_COLOURS = ("#4cc9f0", "#ffc15e", "#8d99ae")


def write_plot(path: Path, figure: Figure) -> None:
    """Write a figure as PNG; an existing file is replaced atomically."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def draw_stream(curve: StreamCurve, title: str) -> Figure:
    """Draw time, process memory and state size over the frames of a stream; shade the windows that are compared."""
    figure = Figure(figsize=(9, 7.5), layout="constrained", facecolor=style.BACKGROUND)
    time, memory, state = figure.subplots(3, 1, sharex=True)
    steps = curve.steps
    times = {"wall clock": steps["wall_s"], "control step": steps["control_s"], "CPU": steps["cpu_s"]}
    _draw_medians(time, {name: 1e3 * seconds for name, seconds in times.items()}, "ms per step")
    _draw_medians(memory, {"process": steps["resident_bytes"] / 2**20}, "memory, MiB")
    _draw_medians(state, {"state": steps["state_bytes"] / 2**20}, "state, MiB")
    if steps["tokens"].any():
        _draw_medians(state.twinx(), {"tokens": steps["tokens"]}, "tokens", second=True)
    for axes in (time, memory, state):
        for window in curve.windows:
            axes.axvspan(window.start, window.stop, color=style.MUTED_LINE, alpha=0.5, linewidth=0, zorder=0)
    state.set_xlabel("frame", color=style.MUTED_TEXT)
    time.set_title(title, loc="left", color=style.TEXT, fontsize=11)
    return figure


def draw_training(costs: Sequence[StepCost], title: str) -> Figure:
    """Draw peak memory and time of a training step over the clip length, a line per way to train."""
    figure = Figure(figsize=(9, 3.8), layout="constrained", facecolor=style.BACKGROUND)
    figure.suptitle(title, x=0.01, ha="left", color=style.TEXT, fontsize=11)
    memory, time = figure.subplots(1, 2)
    mebibytes = [None if cost.peak_bytes is None else cost.peak_bytes / 2**20 for cost in costs]
    _draw_lengths(memory, costs, mebibytes, "peak memory, MiB")
    _draw_lengths(time, costs, [cost.seconds for cost in costs], "seconds per step")
    memory.legend(frameon=False, labelcolor=style.TEXT)
    return figure


def _draw_medians(axes: Axes, values: dict[str, NDArray[np.float64]], label: str, *, second: bool = False) -> None:
    """Draw curves from zero on; a second scale has its own colour and runs below the first."""
    colours, room, legend = (_COLOURS[1:], 1.8, "lower right") if second else (_COLOURS, 1.3, "upper right")
    lines = [
        axes.plot(*_medians(value), color=colour, linewidth=1.5, label=name)[0]
        for (name, value), colour in zip(values.items(), colours, strict=False)
    ]
    axes.set_ylim(0, room * max(float(np.nanmax(line.get_ydata())) for line in lines) or 1)
    _style(axes, label)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, labelcolor=style.TEXT, loc=legend, ncols=2)


def _draw_lengths(axes: Axes, costs: Sequence[StepCost], values: Sequence[float | None], label: str) -> None:
    for way, colour in zip(dict.fromkeys(cost.way for cost in costs), _COLOURS, strict=True):
        points = [(cost.length, value) for cost, value in zip(costs, values, strict=True)
                  if cost.way == way and value is not None]  # fmt: skip
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.5, marker="o", markersize=4, label=way)
    axes.set_xticks(sorted({cost.length for cost in costs}))
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.set_xlabel("frames per clip", color=style.MUTED_TEXT)
    _style(axes, label)


def _style(axes: Axes, label: str) -> None:
    axes.set_ylabel(label, color=style.MUTED_TEXT)
    axes.set_facecolor(style.BACKGROUND)
    axes.tick_params(colors=style.MUTED_TEXT, length=0)
    axes.yaxis.set_major_formatter("{x:,g}")
    for spine in axes.spines.values():
        spine.set_color(style.MUTED_LINE)


def _medians(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle frame and the median of each stretch of the stream."""
    stretches = np.array_split(values, min(_POINTS, len(values)))
    middles = np.cumsum([len(stretch) for stretch in stretches]) - np.array([len(stretch) / 2 for stretch in stretches])
    return middles, np.array([np.median(stretch) for stretch in stretches])
