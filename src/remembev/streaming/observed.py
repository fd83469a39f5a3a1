"""Observed and remembered boxes: an observed box has a point of the current sweep inside."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from remembev.data.points import near_rectangles, outlines
from remembev.geometry import points_in_boxes

MARGIN = 0.4
"""Metres by which a box is widened on each side: detected centres are off by some decimetres, and LiDAR returns come
from an object's surface. With a larger margin, points on an occluder would count for the hidden object."""
GROUND = 0.1
"""Metres above a box's bottom below which points are ignored as the road's."""


def boxes_with_points(boxes: Tensor, points: Tensor) -> Tensor:
    """Return True for each of the boxes [K, ≥7] with a point [N, 5] of the current sweep (age 0) inside: bool [K].

    Every 16th point settles most boxes; all points are only tested against the remaining ones.
    """
    widened = _widened(boxes)
    has_point = torch.zeros(len(boxes), dtype=torch.bool)
    for step in (16, 1):
        left = torch.nonzero(~has_point)[:, 0]
        has_point[left] = _contain_any(widened[left], points[::step])
    return has_point


def _widened(boxes: Tensor) -> Tensor:
    """Widen boxes by the margin, and raise their bottom above the ground."""
    centre = torch.stack((boxes[:, 0], boxes[:, 1], boxes[:, 2] + GROUND / 2), dim=1)
    size = torch.stack((boxes[:, 3] + 2 * MARGIN, boxes[:, 4] + 2 * MARGIN, boxes[:, 5] - GROUND), dim=1)
    return torch.cat((centre, size, boxes[:, 6:7]), dim=1)


def _contain_any(boxes: Tensor, points: Tensor) -> Tensor:
    """Return True for boxes [K, 7] with a point [N, 5] of age 0 inside; only points near a box are tested."""
    if not len(boxes) or not len(points):
        return torch.zeros(len(boxes), dtype=torch.bool)
    x, y, _, _, age = points.unbind(dim=1)
    low, high = points[:, :2].aminmax(dim=0)
    corners = [corner.clamp(low, high) for corner in outlines(boxes)]  # a box may be as big as its decoder likes
    near = np.flatnonzero(near_rectangles(x, y, *corners) & (age == 0).numpy())
    return points_in_boxes(points[near], boxes).any(dim=1)
