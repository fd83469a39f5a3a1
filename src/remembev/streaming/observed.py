"""Whether a box is observed or remembered: whether the current sweep has a point inside."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from remembev.data.points import near_rectangles, outlines
from remembev.geometry import points_in_boxes

MARGIN = 0.4
"""Metres by which a box is widened on each side. Centres that a detector finds are off by some decimetres, as wide as a
cone is, and LiDAR returns come from an object's skin; with more, what stands in front observes what is hidden."""
GROUND = 0.1
"""Metres above a box's bottom below which points don't count: they are the road's, wherever the box stands."""


def boxes_with_points(boxes: Tensor, points: Tensor) -> Tensor:
    """Which boxes [K, ≥7] a point [N, 5] of the current sweep (age 0) observes: bool [K], on the CPU.

    A thin sample of the points settles most boxes that hold any; all points are looked at for the boxes left over.
    """
    tested = _tested(boxes)
    held = torch.zeros(len(boxes), dtype=torch.bool)
    for step in (16, 1):
        left = torch.nonzero(~held)[:, 0]
        held[left] = _contain_any(tested[left], points[::step])
    return held


def _tested(boxes: Tensor) -> Tensor:
    """The boxes wider by the margin, and without what is next to the ground."""
    centre = torch.stack((boxes[:, 0], boxes[:, 1], boxes[:, 2] + GROUND / 2), dim=1)
    size = torch.stack((boxes[:, 3] + 2 * MARGIN, boxes[:, 4] + 2 * MARGIN, boxes[:, 5] - GROUND), dim=1)
    return torch.cat((centre, size, boxes[:, 6:7]), dim=1)


def _contain_any(boxes: Tensor, points: Tensor) -> Tensor:
    """Which boxes [K, 7] hold one of the points [N, 5] that are of age 0; only those near a box are looked at."""
    if not len(boxes) or not len(points):
        return torch.zeros(len(boxes), dtype=torch.bool)
    x, y, _, _, age = points.unbind(dim=1)
    low, high = points[:, :2].aminmax(dim=0)
    there = [corner.clamp(low, high) for corner in outlines(boxes)]  # a box may be as big as its decoder likes
    near = np.flatnonzero(near_rectangles(x, y, *there) & (age == 0).numpy())
    return points_in_boxes(points[near], boxes).any(dim=1)
