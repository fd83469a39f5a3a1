"""What the steps of a long stream take, as a picture: time, memory of the process, size of the state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from remembev.files import atomic_write
from remembev.streaming import StreamCurve
from remembev.viewing import style

_POINTS = 100
"""Points of each curve: of 10,000 steps each is the median of 100."""
_COLOURS = ("#4cc9f0", "#ffc15e", "#8d99ae")


def write_stream_plot(path: Path, curve: StreamCurve, title: str) -> None:
    """``draw_stream`` as a PNG; a file that is there is replaced whole."""
    with atomic_write(path) as temporary:
        draw_stream(curve, title).savefig(temporary, dpi=120)


def draw_stream(curve: StreamCurve, title: str) -> Figure:
    """Three panels over the number of the frame, all from zero on; the windows that are compared are shaded."""
    figure = Figure(figsize=(9, 7.5), layout="constrained", facecolor=style.BACKGROUND)
    time, memory, state = figure.subplots(3, 1, sharex=True)
    steps = curve.steps
    times = {"on the clock": steps["wall_s"], "one early step done again": steps["control_s"], "CPU": steps["cpu_s"]}
    _draw(time, {name: 1e3 * seconds for name, seconds in times.items()}, "ms a step")
    _draw(memory, {"process": steps["resident_bytes"] / 2**20}, "memory, MiB")
    _draw(state, {"state": steps["state_bytes"] / 2**20}, "state, MiB")
    if steps["tokens"].any():
        _draw(state.twinx(), {"tokens": steps["tokens"]}, "tokens held", second=True)
    for axes in (time, memory, state):
        for window in curve.windows:
            axes.axvspan(window.start, window.stop, color=style.MUTED_LINE, alpha=0.5, linewidth=0, zorder=0)
    state.set_xlabel("frame", color=style.MUTED_TEXT)
    time.set_title(title, loc="left", color=style.TEXT, fontsize=11)
    return figure


def _draw(axes: Axes, values: dict[str, NDArray[np.float64]], label: str, *, second: bool = False) -> None:
    """Curves of some quantities; a second scale in a panel has its own colour and runs below the first."""
    colours, room, legend = (_COLOURS[1:], 1.8, "lower right") if second else (_COLOURS, 1.3, "upper right")
    lines = [
        axes.plot(*_medians(value), color=colour, linewidth=1.5, label=name)[0]
        for (name, value), colour in zip(values.items(), colours, strict=False)
    ]
    axes.set_ylim(0, room * max(float(np.nanmax(line.get_ydata())) for line in lines) or 1)
    axes.set_ylabel(label, color=style.MUTED_TEXT)
    axes.set_facecolor(style.BACKGROUND)
    axes.tick_params(colors=style.MUTED_TEXT, length=0)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    for spine in axes.spines.values():
        spine.set_color(style.MUTED_LINE)
    axes.legend(frameon=False, labelcolor=style.TEXT, loc=legend, ncols=2)


def _medians(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle frame and median of each stretch of the stream."""
    stretches = np.array_split(values, min(_POINTS, len(values)))
    middles = np.cumsum([len(stretch) for stretch in stretches]) - np.array([len(stretch) / 2 for stretch in stretches])
    return middles, np.array([np.median(stretch) for stretch in stretches])
