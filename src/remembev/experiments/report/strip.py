"""An object that goes out of sight, as a strip: crops from above, a row for each of two detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import Tensor

from remembev.data import Frame, NuScenesIndex
from remembev.experiments.report.episodes import DetectionsByToken, Episode, Matched
from remembev.geometry import bev_corners, relative_pose, transform_boxes
from remembev.viewing import style
from remembev.viewing.bev import FILL_OPACITY, HEIGHT_RANGE

Colour = str | tuple[float, float, float, float]

_COLUMNS = 7
_PANEL, _GAP, _LABEL, _FOOT = 1.6, 0.06, 0.3, 0.5
"""Inches: a crop, what is between two, the names at the left, the times below."""
_MARGIN_M = 7.0
_HALF_M = (9.0, 22.0)
"""Least and most of half a crop's side."""


@dataclass(frozen=True)
class StripRow:
    """One of the two detectors of a strip: its boxes, and which of them are on an object."""

    name: str
    colour: str
    detections: DetectionsByToken
    matched: Matched


@dataclass(frozen=True)
class _Shot:
    """A key frame in the coordinates of the strip, those of the frame in which the object was last seen."""

    number: int
    seconds: float
    frame: Frame
    strip_from_lidar: Tensor  # [4, 4] float64
    track: int

    @property
    def target(self) -> Tensor:
        """True for the object of the strip [M] bool, nowhere if it is not annotated."""
        return self.frame.track_ids == self.track

    @property
    def num_points(self) -> int | None:
        """LiDAR points on the object; None if it is not annotated."""
        return int(self.frame.num_points[self.target].sum()) if self.target.any() else None


def draw_strip(
    index: NuScenesIndex, episode: Episode, class_names: Sequence[str], rows: tuple[StripRow, StripRow]
) -> Figure:
    """Draw crops from above around the place where an object goes out of sight, a row for each of two detectors.

    White: ground truth, dashed without a point. Boxes: solid if observed, dashed if remembered. Dotted: line of sight.
    """
    start = index.load_annotations(episode.last_seen)
    shots = [_shot(index, number, class_names, start, episode.track) for number in shown_frames(index, episode)]
    path = torch.cat([shot.frame.boxes[shot.target, :2] for shot in shots])
    low, high = path.amin(dim=0), path.amax(dim=0)
    half = min(max(float((high - low).amax()) / 2 + _MARGIN_M, _HALF_M[0]), _HALF_M[1])
    x, y = ((low + high) / 2).tolist()
    size = _LABEL + len(shots) * (_PANEL + _GAP), 2 * (_PANEL + _GAP) + _FOOT
    figure = Figure(figsize=size, dpi=140, facecolor=style.BACKGROUND)
    for place, row in enumerate(rows):
        bottom = _FOOT + (1 - place) * (_PANEL + _GAP)
        figure.text(
            0.5 * _LABEL / size[0], (bottom + _PANEL / 2) / size[1], row.name, rotation=90, ha="center", va="center",
            fontsize=8, color=row.colour, fontweight="bold",
        )  # fmt: skip
        for column, shot in enumerate(shots):
            left = _LABEL + column * (_PANEL + _GAP)
            axes = figure.add_axes((left / size[0], bottom / size[1], _PANEL / size[0], _PANEL / size[1]))
            axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), xticks=[], yticks=[])
            _draw_street(axes, shot)
            _draw_detections(axes, shot, row, class_names)
            if place == len(rows) - 1:
                _write_time(axes, shot)
    return figure


def shown_frames(index: NuScenesIndex, episode: Episode) -> list[int]:
    """Return the key frames of a strip: one in which both find the object, some without a point, and those that follow.

    Frames without a point are evenly chosen; at least one follows them unless the scene ends.
    """
    hidden, room = episode.frames, _COLUMNS - 2
    if len(hidden) > room:
        hidden = tuple(hidden[round(place * (len(hidden) - 1) / (room - 1))] for place in range(room))
    after = range(hidden[-1] + 1, index.scene_frames(episode.scene).stop)
    return [episode.both_found, *hidden, *after[: _COLUMNS - 1 - len(hidden)]]


def _shot(index: NuScenesIndex, number: int, class_names: Sequence[str], start: Frame, track: int) -> _Shot:
    """Return a key frame in the coordinates of another, ``start``."""
    frame = index.load_frame(number, class_names)
    start_from_frame = relative_pose(start.global_from_lidar, frame.global_from_lidar)
    return _Shot(number, frame.timestamp - start.timestamp, frame.moved(start_from_frame), start_from_frame, track)


def _draw_street(axes: Axes, shot: _Shot) -> None:
    """Draw points, ground truth, and the line of sight to the object."""
    axes.set_facecolor(style.BACKGROUND)
    for spine in axes.spines.values():
        spine.set_color(style.MUTED_LINE)
    low, high = HEIGHT_RANGE
    x, y, z = shot.frame.points[:, :3].T.numpy()
    shade = np.clip((z - low) / (high - low), 0, 1)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    near = (left < x) & (x < right) & (bottom < y) & (y < top)
    axes.scatter(x[near], y[near], s=28 / (right - left), c=style.HEIGHT_COLOURS(shade[near]), linewidths=0, zorder=1)
    boxes, target = shot.frame.boxes, shot.target
    _outline(axes, boxes[~target], to_rgba(style.GROUND_TRUTH, 0.35), width=0.6)
    _outline(axes, boxes[target], style.GROUND_TRUTH, width=1.3, dashed=shot.num_points == 0)
    for centre in boxes[target, :2]:
        sight = torch.stack((shot.strip_from_lidar[:2, 3], centre)).T.tolist()
        axes.plot(*sight, color=style.MUTED_TEXT, linewidth=0.6, linestyle=(0, (1, 3)), zorder=2)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _draw_detections(axes: Axes, shot: _Shot, row: StripRow, class_names: Sequence[str]) -> None:
    """Draw the boxes of one detector above its threshold, and the score of the one on the object."""
    detections = row.detections[shot.frame.sample_token]
    detections = detections[detections.scores > row.matched.threshold]
    detections = replace(detections, boxes=transform_boxes(shot.strip_from_lidar, detections.boxes.double()).float())
    for label, name in enumerate(class_names):
        for remembered in (False, True):
            chosen = (detections.labels == label) & (detections.remembered == remembered)
            colour = style.class_colour(name)
            _outline(axes, detections.boxes[chosen], colour, width=1.1, dashed=remembered, fill=FILL_OPACITY)
    if shot.num_points is not None:
        score = row.matched.scores[shot.number].get(shot.track)
        text, colour = ("no box", style.MUTED_TEXT) if score is None else (f"{score:.2f}", style.DETECTED)
        axes.text(0.04, 0.96, text, va="top", fontsize=6.5, color=colour, transform=axes.transAxes, zorder=6)


def _outline(
    axes: Axes, boxes: Tensor, colour: Colour, *, width: float, dashed: bool = False, fill: float = 0.0
) -> None:
    """Draw outlines of boxes."""
    corners = list(bev_corners(boxes).numpy())
    lines: dict[str, Any] = {"linewidths": width, "linestyles": (0, (2, 1.6)) if dashed else "solid"}
    face = to_rgba(colour, fill)
    axes.add_collection(PolyCollection(corners, facecolors=face, edgecolors=colour, zorder=3 + (fill > 0), **lines))


def _write_time(axes: Axes, shot: _Shot) -> None:
    """Write the seconds since the object was last seen, and its points."""
    count = shot.num_points
    points = "not annotated" if count is None else f"{count or 'no'} point{'s' * (count != 1)}"
    below: dict[str, Any] = {"ha": "center", "va": "top", "transform": axes.transAxes}
    axes.text(0.5, -0.05, f"{shot.seconds:+.1f} s".replace("-", "−"), color=style.TEXT, fontsize=8, **below)
    axes.text(0.5, -0.17, points, color=style.MUTED_TEXT, fontsize=7, **below)
