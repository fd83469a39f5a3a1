"""A stream in the terminal: the scene from above in braille dots on the gate's heat, and what was found beside it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text
from torch import Tensor

from remembev.geometry import BEVGrid, bev_corners
from remembev.models import Detections
from remembev.streaming import StreamState
from remembev.viewing import style
from remembev.viewing.frame import FrameView

REMEMBERED = "#ff3df5"
"""Boxes in which there is no point now."""

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bits of a braille character's dots, rows from above, columns from the left (Unicode 10.0, block U+2800)."""
_BLANK = 0x2800
_STANDS_ABOVE = -1.4
"""Height in the LiDAR frame, metres, below which points are the road's and left out."""
_HEAT = 0.5
"""Share of the gate's colours in the ground that the dots are drawn on."""
_HEAT_STEPS = 16
_POINT = "#7d94b3"
_EGO = style.GROUND_TRUTH
_EGO_BOX = (0.0, 0.0, 0.0, 1.9, 4.6, 1.5, 0.0)
_BESIDE = 48
_FEWEST_ROWS, _MOST_ROWS = 8, 48
_MOST_DOTS = 1000


def terminal_frame(
    view: FrameView, state: StreamState, size: ConsoleDimensions, *, min_score: float = 0.25
) -> RenderableType:
    """A frame as text that fits a terminal: the scene as a square, forward up, and a table beside it.

    state  of the scene after this frame
    """
    rows = max(_FEWEST_ROWS, min(size.height - 1, (size.width - _BESIDE) // 2, _MOST_ROWS))
    found = Detections.empty() if view.detections is None else view.detections
    found = found[found.scores >= min_score].to("cpu")
    table = Table.grid(padding=(0, 2))
    table.add_row(_picture(view, found, rows), _facts(view, found, state))
    return table


# ------------------------------------------------------------------------------------------------------------- picture


def _picture(view: FrameView, found: Detections, rows: int) -> Text:
    """Points that stand, then boxes: whole outlines around what is seen, dotted ones around what is remembered."""
    grid = view.grid
    canvas = BEVGrid(grid.x_min, grid.y_min, grid.x_max, grid.y_max, 4 * rows, 4 * rows)
    dots = np.zeros((4 * rows, 4 * rows), dtype=np.bool_)
    colours = np.full((rows, 2 * rows), _POINT, dtype=object)
    if view.points is not None:
        _set(dots, colours, canvas, view.points[view.points[:, 2] > _STANDS_ABOVE, :2].cpu(), _POINT)
    for box, label, observed in zip(found.boxes, found.labels.tolist(), (~found.remembered).tolist(), strict=True):
        colour = style.class_colour(view.class_names[label]) if observed else REMEMBERED
        _set(dots, colours, canvas, _outline(box, canvas.cell_x * (0.5 if observed else 2)), colour)
    _set(dots, colours, canvas, _outline(torch.tensor(_EGO_BOX), canvas.cell_x / 2), _EGO)
    return _text(_braille(dots), colours, _heat(view.gate, rows))


def _set(dots: NDArray[np.bool_], colours: NDArray[np.object_], canvas: BEVGrid, places: Tensor, colour: str) -> None:
    """Set the dots at places [P, 2] and give the characters that they are in a colour."""
    row, column, inside = (tensor.numpy() for tensor in canvas.cells(places))
    row, column = row[inside], column[inside]
    dots[row, column] = True
    colours[row // 4, column // 2] = colour


def _outline(box: Tensor, spacing: float) -> Tensor:
    """Places [P, 2] along the edges of a box [≥7], so many metres apart."""
    corners = bev_corners(box)
    edges = corners.roll(-1, dims=0) - corners
    count = 1 + int((edges.norm(dim=1).max() / spacing).clamp(1, _MOST_DOTS))  # an untrained box may be of any size
    return (corners[:, None] + torch.arange(count)[:, None] / count * edges[:, None]).reshape(-1, 2)


def _braille(dots: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Code points [rows, columns] of dots [4 rows, 2 columns], turned so that the last row of dots is on top."""
    height, width = dots.shape
    cells = dots[::-1].reshape(height // 4, 4, width // 2, 2)
    codes: NDArray[np.int64] = _BLANK + (cells * _DOTS[:, None]).sum(axis=(1, 3))
    return codes


def _heat(gate: Tensor | None, rows: int) -> NDArray[np.int64]:
    """Steps [rows, 2 rows] of the gate's colours, 0 for closed, its first row last."""
    if gate is None:
        return np.zeros((rows, 2 * rows), dtype=np.int64)
    cells = F.interpolate(gate.float().cpu()[None, None], (rows, 2 * rows), mode="area")[0, 0].flip(0)
    return (cells * (_HEAT_STEPS - 1)).round().long().numpy()


def _text(codes: NDArray[np.int64], colours: NDArray[np.object_], heat: NDArray[np.int64]) -> Text:
    """Characters in their colours on their ground; ``colours`` has its first row last, as the dots had."""
    text = Text(no_wrap=True)
    for characters, row_colours, grounds in zip(codes, colours[::-1], heat, strict=True):
        for code, colour, ground in zip(characters.tolist(), row_colours, grounds.tolist(), strict=True):
            text.append(chr(code), _style(colour, ground))
        text.append("\n")
    return text


@lru_cache(maxsize=1024)
def _style(colour: str, ground: int) -> Style:
    heat = np.array(style.GATE_COLOURS(ground / (_HEAT_STEPS - 1))[:3])
    mixed = (1 - _HEAT) * np.array(to_rgb(style.BACKGROUND)) + _HEAT * heat
    red, green, blue = (255 * mixed).round().astype(int).tolist()
    return Style(color=colour, bgcolor=f"rgb({red},{green},{blue})")


# -------------------------------------------------------------------------------------------------------------- beside


def _facts(view: FrameView, found: Detections, state: StreamState) -> Group:
    counts = Table(box=None, padding=(0, 1), header_style=style.QUIET_TEXT)
    for heading in ("", "seen", "remembered"):
        counts.add_column(heading, justify="right" if heading else "left")
    for label, name in enumerate(view.class_names):
        remembered = found.remembered[found.labels == label]
        seen, hidden = int((~remembered).sum()), int(remembered.sum())
        counts.add_row(
            Text(f"━ {name.replace('_', ' ')}", style.class_colour(name)),
            str(seen or ""),
            Text(f"┄ {hidden}" if hidden else "", REMEMBERED),
        )
    open_share = "" if view.gate is None else f"gate lets through {float(view.gate.mean()):.0%}"
    memory = f"memory {state.nbytes / 2**20:.1f} MiB, {state.tokens:,} tokens"
    return Group(
        Text(view.title, f"bold {style.TEXT}"),
        Text("" if view.seconds is None else f"{view.seconds:4.1f} s", style.QUIET_TEXT),
        "",
        counts,
        "",
        Text(open_share, style.TEXT),
        Text(memory, style.TEXT),
    )
