"""Live view of a stream in the terminal: a bird's-eye view in braille dots over the gate, and counts beside it."""

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
from remembev.streaming import StreamState, coasting_tracks
from remembev.tracking import TrackerState
from remembev.viewing import style
from remembev.viewing.views import FrameView

REMEMBERED = "#ff3df5"
"""Colour of boxes without a point in the current sweep."""

_DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bits of a braille character's dots, rows from above, columns from the left (Unicode 10.0, block U+2800)."""
_BLANK = 0x2800
_MIN_HEIGHT = -1.4
"""Height in the LiDAR frame, metres, below which points belong to the road and are left out."""
_GATE_OPACITY = 0.5
"""Opacity of the gate's colour behind the dots."""
_GATE_STEPS = 16
_POINT_COLOUR = "#7d94b3"
_EGO_COLOUR = style.GROUND_TRUTH
_EGO_BOX = (0.0, 0.0, 0.0, 1.9, 4.6, 1.5, 0.0)
_TABLE_WIDTH = 48
_MIN_ROWS, _MAX_ROWS = 8, 48
_MAX_DOTS = 1000
"""Dots per edge of a box: an untrained model's box can be of any size."""


def terminal_frame(
    view: FrameView, state: StreamState, size: ConsoleDimensions, *, min_score: float = 0.25
) -> RenderableType:
    """Render a frame as text that fits a terminal: the scene as a square, forward up, and a table beside it.

    Args:
        view: The frame.
        state: The scene's state after this frame.
        size: Size of the terminal.
        min_score: Lowest score of detections that are shown.
    """
    rows = max(_MIN_ROWS, min(size.height - 1, (size.width - _TABLE_WIDTH) // 2, _MAX_ROWS))
    detections = view.shown_detections(min_score)
    table = Table.grid(padding=(0, 2))
    table.add_row(_picture(view, detections, rows), _summary(view, detections, state))
    return table


# ------------------------------------------------------------------------------------------------------------- picture


def _picture(view: FrameView, detections: Detections, rows: int) -> Text:
    """Draw points above the road, then boxes: solid outlines around observed, dotted ones around remembered objects."""
    grid = view.grid
    canvas = BEVGrid(grid.x_min, grid.y_min, grid.x_max, grid.y_max, 4 * rows, 4 * rows)
    dots = np.zeros((4 * rows, 4 * rows), dtype=np.bool_)
    colours = np.full((rows, 2 * rows), _POINT_COLOUR, dtype=object)
    if view.points is not None:
        above_road = view.points[view.points[:, 2] > _MIN_HEIGHT, :2].cpu()
        _set_dots(dots, colours, canvas, above_road, _POINT_COLOUR)
    labels, remembered = detections.labels.tolist(), detections.remembered.tolist()
    for box, label, is_remembered in zip(detections.boxes, labels, remembered, strict=True):
        colour = REMEMBERED if is_remembered else style.class_colour(view.class_names[label])
        _set_dots(dots, colours, canvas, _outline(box, canvas.cell_x * (2 if is_remembered else 0.5)), colour)
    _set_dots(dots, colours, canvas, _outline(torch.tensor(_EGO_BOX), canvas.cell_x / 2), _EGO_COLOUR)
    return _text(_braille(dots), colours, _gate_steps(view.gate, rows))


def _set_dots(dots: NDArray[np.bool_], colours: NDArray[np.object_], canvas: BEVGrid, xy: Tensor, colour: str) -> None:
    """Set the dots at positions [P, 2] and colour the characters that contain them."""
    row, column, inside = (tensor.numpy() for tensor in canvas.cells(xy))
    row, column = row[inside], column[inside]
    dots[row, column] = True
    colours[row // 4, column // 2] = colour


def _outline(box: Tensor, spacing: float) -> Tensor:
    """Return positions [P, 2] along the edges of a box [≥7], at most `spacing` metres apart."""
    corners = bev_corners(box)
    edges = corners.roll(-1, dims=0) - corners
    count = 1 + int((edges.norm(dim=1).max() / spacing).clamp(1, _MAX_DOTS))
    return (corners[:, None] + torch.arange(count)[:, None] / count * edges[:, None]).reshape(-1, 2)


def _braille(dots: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return code points [rows, columns] of dots [4 rows, 2 columns]; the last row of dots is on top."""
    height, width = dots.shape
    cells = dots[::-1].reshape(height // 4, 4, width // 2, 2)
    codes: NDArray[np.int64] = _BLANK + (cells * _DOT_BITS[:, None]).sum(axis=(1, 3))
    return codes


def _gate_steps(gate: Tensor | None, rows: int) -> NDArray[np.int64]:
    """Return the gate quantised to colour steps [rows, 2 rows], 0 for closed; the gate's last row is on top."""
    if gate is None:
        return np.zeros((rows, 2 * rows), dtype=np.int64)
    cells = F.interpolate(gate.float().cpu()[None, None], (rows, 2 * rows), mode="area")[0, 0].flip(0)
    return (cells * (_GATE_STEPS - 1)).round().long().numpy()


def _text(codes: NDArray[np.int64], colours: NDArray[np.object_], gate_steps: NDArray[np.int64]) -> Text:
    """Return coloured characters on the gate's colours; the last row of ``colours`` is on top, as that of the dots."""
    text = Text(no_wrap=True)
    for row_codes, row_colours, row_steps in zip(codes, colours[::-1], gate_steps, strict=True):
        for code, colour, step in zip(row_codes.tolist(), row_colours, row_steps.tolist(), strict=True):
            text.append(chr(code), _style(colour, step))
        text.append("\n")
    return text


@lru_cache(maxsize=1024)
def _style(colour: str, gate_step: int) -> Style:
    gate = np.array(style.GATE_COLOURS(gate_step / (_GATE_STEPS - 1))[:3])
    mixed = (1 - _GATE_OPACITY) * np.array(to_rgb(style.BACKGROUND)) + _GATE_OPACITY * gate
    red, green, blue = (255 * mixed).round().astype(int).tolist()
    return Style(color=colour, bgcolor=f"rgb({red},{green},{blue})")


# -------------------------------------------------------------------------------------------------------------- table


def _summary(view: FrameView, detections: Detections, state: StreamState) -> Group:
    counts = Table(box=None, padding=(0, 1), header_style=style.MUTED_TEXT)
    for heading in ("", "seen", "remembered"):
        counts.add_column(heading, justify="right" if heading else "left")
    for label, name in enumerate(view.class_names):
        remembered = detections.remembered[detections.labels == label]
        num_seen, num_remembered = int((~remembered).sum()), int(remembered.sum())
        counts.add_row(
            Text(f"━ {name.replace('_', ' ')}", style.class_colour(name)),
            str(num_seen or ""),
            Text(f"┄ {num_remembered}" if num_remembered else "", REMEMBERED),
        )
    open_share = "" if view.gate is None else f"gate lets through {float(view.gate.mean()):.0%}"
    memory = f"memory {state.nbytes / 2**20:.1f} MiB, {state.tokens:,} tokens"
    tracks = [] if state.tracker is None else [_tracks(view, detections, state.tracker)]
    return Group(
        Text(view.title, f"bold {style.TEXT}"),
        Text("" if view.seconds is None else f"{view.seconds:4.1f} s", style.MUTED_TEXT),
        "",
        counts,
        "",
        Text(open_share, style.TEXT),
        Text(memory, style.TEXT),
        *tracks,
    )


def _tracks(view: FrameView, detections: Detections, tracker: TrackerState) -> Text:
    """Return the number of tracks, and the ids of those that coast, by class."""
    text = Text(f"{len(tracker.tracks)} tracks, {int(tracker.next_id)} so far", style.TEXT)
    coasting = coasting_tracks(detections, view.class_names)
    return text.append(f"\ncoasting: {coasting}", REMEMBERED) if coasting else text
