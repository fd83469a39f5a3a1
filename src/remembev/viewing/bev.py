"""Bird's-eye view of a frame: points, gate, ground truth, detections and tracks on matplotlib axes, forward up.

Uses neither pyplot nor global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Polygon
from numpy.typing import NDArray
from torch import Tensor

from remembev.files import atomic_write
from remembev.geometry import BEVGrid, bev_corners, invert_pose, transform_points
from remembev.models import Detections
from remembev.viewing import style
from remembev.viewing.views import FrameView, track_labels

HEIGHT_RANGE = (-2.2, 2.0)
"""Heights in the LiDAR frame, metres, between which points go from dark to bright."""

FILL_OPACITY = 0.3
"""Opacity of a detection's fill."""

NO_POINT_DASHES: Any = (0, (2.2, 1.6))
"""Line style of boxes without a point inside: hidden objects, remembered detections."""

_RING_RADII = (20, 40, 60, 80)
_SCALE_BAR_METRES = 10.0
_TAIL_LENGTH = 12
"""Number of latest positions of a track that are drawn."""
_MAX_POINT_PIXELS = 640
_GATE_KEY_METRES = 16
_EGO_OUTLINE = np.array([(-0.95, -2.4), (0.95, -2.4), (0.95, 1.6), (0.0, 2.6), (-0.95, 1.6)])


LEGEND: dict[str, Any] = {
    "frameon": False,
    "labelcolor": style.MUTED_TEXT,
    "handlelength": 1.8,
    "columnspacing": 1.4,
    "borderaxespad": 0.3,
}


def draw_frame(axes: Axes, view: FrameView, *, min_score: float = 0.25, gate_opacity: float = 1.0) -> None:
    """Clear the axes and draw a view; detections below ``min_score`` are left out."""
    _draw_background(axes, view)
    if view.gate is not None:
        _draw_gate(axes, view.gate, view.grid, gate_opacity)
    if view.points is not None:
        image = _point_image(view.points, view.grid, round(min(axes.bbox.width, _MAX_POINT_PIXELS)))
        axes.imshow(image, extent=_extent(view.grid), origin="lower", interpolation="nearest", zorder=2)
    if view.gt_boxes is not None:
        _draw_ground_truth(axes, view)
    if view.global_from_lidar is not None:
        _draw_tails(axes, view, view.global_from_lidar)
    _draw_detections(axes, view.shown_detections(min_score), view.class_names)


def save_frames(path: Path, views: Sequence[FrameView], *, panel: int = 950, min_score: float = 0.25) -> None:
    """Write frames side by side as one PNG with a legend; each panel is ``panel`` pixels wide."""
    margin, top, bottom = 0.025 * panel, 0.05 * panel, 0.1 * panel
    width = len(views) * (panel + margin) + margin
    height = panel + top + bottom
    dpi = 40 + 0.095 * panel
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor=style.BACKGROUND)
    for column, view in enumerate(views):
        left = margin + column * (panel + margin)
        axes = figure.add_axes((left / width, bottom / height, panel / width, panel / height))
        draw_frame(axes, view, min_score=min_score)
    draw_legend(figure, views[0].class_names)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_legend(figure: Figure, class_names: Sequence[str]) -> None:
    """Draw the legend along the bottom edge of a figure."""
    handles = legend_handles(class_names)
    figure.legend(handles=handles, loc="lower center", ncols=(len(handles) + 1) // 2, fontsize=7.5, **LEGEND)


def legend_handles(class_names: Sequence[str]) -> list[Line2D | Patch]:
    """Return the legend's entries: line styles, then class colours."""
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=style.TEXT, linewidth=1.6, label="detected"),
        Line2D([], [], color=style.TEXT, linewidth=1.6, linestyle=NO_POINT_DASHES, label="… without a point"),
        Line2D([], [], color=style.GROUND_TRUTH, linewidth=0.8, label="ground truth"),
        Line2D([], [], color=style.GROUND_TRUTH, linewidth=0.8, linestyle=NO_POINT_DASHES, label="… without a point"),
    ]
    for name in class_names:
        colour = style.class_colour(name)
        face = to_rgba(colour, FILL_OPACITY)
        handles.append(Patch(facecolor=face, edgecolor=colour, linewidth=1, label=name.replace("_", " ")))
    return handles


def _extent(grid: BEVGrid) -> tuple[float, float, float, float]:
    return grid.x_min, grid.x_max, grid.y_min, grid.y_max


def _draw_background(axes: Axes, view: FrameView) -> None:
    """Draw range rings, the ego car, a scale bar, title and time."""
    grid = view.grid
    axes.clear()
    axes.set(xlim=(grid.x_min, grid.x_max), ylim=(grid.y_min, grid.y_max), aspect="equal", xticks=[], yticks=[])
    axes.set_facecolor(style.BACKGROUND)
    for spine in axes.spines.values():
        spine.set_color(style.MUTED_LINE)
    for radius in (radius for radius in _RING_RADII if radius <= grid.y_max):
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=style.MUTED_LINE, linewidth=0.7, zorder=1.5))
        axes.text(
            0.6,
            radius - 0.6,
            f"{radius} m",
            color=style.MUTED_TEXT,
            fontsize=0.85 * _small_print(axes),
            va="top",
            zorder=6,
        )
    axes.add_patch(Polygon(_EGO_OUTLINE, facecolor=style.TEXT, edgecolor=style.BACKGROUND, linewidth=0.6, zorder=6))
    right, bottom = grid.x_max - 4, grid.y_min + 4
    axes.plot((right - _SCALE_BAR_METRES, right), (bottom, bottom), color=style.TEXT, linewidth=1.5, zorder=6)
    label: dict[str, Any] = {"color": style.TEXT, "fontsize": _small_print(axes), "ha": "center", "zorder": 6}
    axes.text(right - _SCALE_BAR_METRES / 2, bottom + 1, f"{_SCALE_BAR_METRES:g} m", **label)
    axes.set_title(view.title, loc="left", color=style.TEXT, fontsize=9, pad=5)
    if view.seconds is not None:
        axes.set_title(f"{view.seconds:4.1f} s", loc="right", color=style.MUTED_TEXT, fontsize=9, pad=5)


def _small_print(axes: Axes) -> float:
    """Return the font size of small print: 7 points, less on axes so narrow that labels would overlap."""
    figure = axes.get_figure()
    assert figure is not None
    return 7 * min(1.0, axes.bbox.width / figure.dpi / 3.4)


def _draw_gate(axes: Axes, gate: Tensor, grid: BEVGrid, opacity: float) -> None:
    """Draw the gate as a heat map on the fixed scale 0..1, and the key to that scale."""
    heat: dict[str, Any] = {"cmap": style.GATE_COLOURS, "vmin": 0, "vmax": 1, "origin": "lower", "alpha": opacity}
    axes.imshow(gate.numpy(force=True), extent=_extent(grid), interpolation="bilinear", zorder=1, **heat)
    left, bottom = grid.x_min + 4, grid.y_min + 4
    right = left + _GATE_KEY_METRES
    axes.imshow(np.linspace(0, 1, 64)[None], extent=(left, right, bottom - 0.5, bottom + 0.5), zorder=6, **heat)
    label: dict[str, Any] = {"color": style.TEXT, "fontsize": _small_print(axes), "zorder": 6}
    axes.text(left, bottom + 1, "closed", **label)
    axes.text(right, bottom + 1, "open", ha="right", **label)


def _point_image(points: Tensor, grid: BEVGrid, pixels: int) -> NDArray[np.float32]:
    """Rasterise points as RGBA [pixels, pixels, 4]; each pixel has the colour of its highest point."""
    canvas = BEVGrid(grid.x_min, grid.y_min, grid.x_max, grid.y_max, pixels, pixels)
    row, column, inside = (tensor.numpy(force=True) for tensor in canvas.cells(points))
    height = points[:, 2].numpy(force=True)[inside]
    low, high = HEIGHT_RANGE
    order = height.argsort(kind="stable")
    colours = style.HEIGHT_COLOURS(np.clip((height[order] - low) / (high - low), 0, 1))
    image = np.zeros((pixels, pixels, 4), dtype=np.float32)
    image[row[inside][order], column[inside][order]] = colours
    return image


def _draw_ground_truth(axes: Axes, view: FrameView) -> None:
    assert view.gt_boxes is not None
    valid = torch.ones(len(view.gt_boxes), dtype=torch.bool) if view.gt_labels is None else view.gt_labels >= 0
    boxes = view.gt_boxes[valid].cpu()
    hidden = torch.zeros(len(boxes), dtype=torch.bool) if view.gt_num_points is None else view.gt_num_points[valid] == 0
    for mask, line_style in ((~hidden, "solid"), (hidden, NO_POINT_DASHES)):
        outlines = [*_outlines(boxes[mask]), *_headings(boxes[mask])]
        axes.add_collection(
            LineCollection(outlines, colors=style.GROUND_TRUTH, linewidths=0.7, linestyles=line_style, zorder=3),
            autolim=False,
        )


def _draw_tails(axes: Axes, view: FrameView, global_from_lidar: Tensor) -> None:
    """Draw the past positions of tracked objects in the frame's coordinates, fading with age."""
    lidar_from_global = invert_pose(global_from_lidar)
    for track in view.tracks:
        path = transform_points(lidar_from_global, track.path[-_TAIL_LENGTH:])[:, :2]
        segments = list(torch.stack((path[:-1], path[1:]), dim=1).numpy())
        colour = style.class_colour(view.class_names[track.label])
        opacities = np.linspace(0.15, 0.9, _TAIL_LENGTH)[_TAIL_LENGTH - len(segments) :]
        fading = [to_rgba(colour, opacity) for opacity in opacities]
        axes.add_collection(LineCollection(segments, colors=fading, linewidths=1.6, zorder=3.5), autolim=False)


def _draw_detections(axes: Axes, detections: Detections, class_names: Sequence[str]) -> None:
    """Draw boxes in their class colours; those without a point inside are dashed and unfilled."""
    if not len(detections):
        return
    boxes, observed = detections.boxes, (~detections.remembered).tolist()
    colours = [style.class_colour(class_names[label]) for label in detections.labels.tolist()]
    opacities = [min(1.0, 0.55 + 0.6 * score) for score in detections.scores.tolist()]
    edges = [to_rgba(colour, opacity) for colour, opacity in zip(colours, opacities, strict=True)]
    faces = [to_rgba(colour, FILL_OPACITY * filled) for colour, filled in zip(colours, observed, strict=True)]
    lines: dict[str, Any] = {
        "linewidths": 1.3,
        "linestyles": ["solid" if has_point else NO_POINT_DASHES for has_point in observed],
        "zorder": 4,
    }
    axes.add_collection(PolyCollection(_outlines(boxes), facecolors=faces, edgecolors=edges, **lines), autolim=False)
    axes.add_collection(LineCollection(_headings(boxes), colors=edges, **lines), autolim=False)
    labels: dict[str, Any] = {"fontsize": 0.8 * _small_print(axes), "clip_on": True, "zorder": 5}
    for text, x, y, colour in zip(track_labels(detections), *boxes[:, :2].T.tolist(), colours, strict=True):
        if text:
            axes.text(x + 1, y + 1, text, color=colour, **labels)
    moving = boxes[:, 7:9].norm(dim=-1) > 0.5
    arrows = boxes[moving].numpy()
    if len(arrows):
        axes.quiver(
            *(arrows[:, column] for column in (0, 1, 7, 8)),
            color=[edge for edge, moves in zip(edges, moving.tolist(), strict=True) if moves],
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.0035,
            headwidth=3.5,
            headlength=4,
            headaxislength=3.5,
            zorder=5,
        )


def _outlines(boxes: Tensor) -> list[NDArray[np.float32]]:
    """Return closed outlines of boxes in BEV: [5, 2] each."""
    corners = bev_corners(boxes)
    return list(torch.cat((corners, corners[:, :1]), dim=1).numpy())


def _headings(boxes: Tensor) -> list[NDArray[np.float32]]:
    """Return lines from the centre of each box to the middle of its front: [2, 2] each."""
    front = bev_corners(boxes)[:, (0, 3)].mean(dim=1)
    return list(torch.stack((boxes[:, :2], front), dim=1).numpy())
