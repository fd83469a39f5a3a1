"""What a training step takes against the length of its clip, as a picture: peak memory and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from remembev.files import atomic_write
from remembev.training.bench import StepCost
from remembev.viewing import style

_COLOURS = ("#4cc9f0", "#ffc15e", "#ff5d8f")


def write_training_plot(path: Path, costs: Sequence[StepCost], title: str) -> None:
    """``draw_training`` as a PNG; a file that is there is replaced whole."""
    with atomic_write(path) as temporary:
        draw_training(costs, title).savefig(temporary, dpi=120)


def draw_training(costs: Sequence[StepCost], title: str) -> Figure:
    """Two panels over the length of the clip, from zero on: a line for each way to train."""
    figure = Figure(figsize=(9, 3.8), layout="constrained", facecolor=style.BACKGROUND)
    figure.suptitle(title, x=0.01, ha="left", color=style.TEXT, fontsize=11)
    memory, time = figure.subplots(1, 2)
    _draw(memory, costs, lambda cost: None if cost.peak_bytes is None else cost.peak_bytes / 2**20, "peak memory, MiB")
    _draw(time, costs, lambda cost: cost.seconds, "seconds a step")
    memory.legend(frameon=False, labelcolor=style.TEXT)
    return figure


def _draw(axes: Axes, costs: Sequence[StepCost], measure: Callable[[StepCost], float | None], label: str) -> None:
    ways = dict.fromkeys(cost.way for cost in costs)
    for way, colour in zip(ways, _COLOURS, strict=True):
        found = [(cost.length, value) for cost in costs if cost.way == way and (value := measure(cost)) is not None]
        axes.plot(*zip(*found, strict=True), color=colour, linewidth=1.5, marker="o", markersize=4, label=way)
    axes.set_xticks(sorted({cost.length for cost in costs}))
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.set_xlabel("frames of a clip", color=style.MUTED_TEXT)
    axes.set_ylabel(label, color=style.MUTED_TEXT)
    axes.set_facecolor(style.BACKGROUND)
    axes.tick_params(colors=style.MUTED_TEXT, length=0)
    axes.yaxis.set_major_formatter("{x:,g}")
    for spine in axes.spines.values():
        spine.set_color(style.MUTED_LINE)
