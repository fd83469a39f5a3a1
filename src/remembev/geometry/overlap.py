"""BEV overlap of boxes: exact for rotated rectangles, cheap for axis-aligned ones."""

from __future__ import annotations

import torch
from torch import Tensor

SLIVER = 1e-6
"""Areas in m², and shares of two boxes' area, that count as rounding."""


def rectangles(boxes: Tensor) -> Tensor:
    """Return BEV rectangles [6, ...] (x, y, half length, half width, cosine, sine) of boxes [..., ≥7]."""
    x, y, _, length, width, _, yaw = boxes[..., :7].unbind(dim=-1)
    return torch.stack((x, y, length / 2, width / 2, yaw.cos(), yaw.sin()))


def _mean_clamped(start: Tensor, end: Tensor, limit: Tensor) -> Tensor:
    """Return the mean of clamp(y, -limit, limit) as y goes from ``start`` to ``end``.

    The interval is split at the limits and each part adds its share, so that nothing cancels on short intervals.
    """
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    low_off_floor, high_off_floor = torch.maximum(low, -limit), torch.maximum(high, -limit)
    low_inside, high_inside = torch.minimum(low_off_floor, limit), torch.minimum(high_off_floor, limit)
    way, inside = high - low, high_inside - low_inside
    off_floor = high_off_floor - low_off_floor
    below, above = way - off_floor, off_floor - inside
    total = inside * (low_inside + high_inside) / 2 + limit * (above - below)
    return torch.where(way > 0, total / torch.where(way > 0, way, 1.0), low_inside)


def _corners(centre: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """Return one coordinate of a rectangle's corners [5, ...], counter-clockwise and closed, from its half axes."""
    front, rear = centre + along, centre - along
    first = front + across
    return torch.stack((first, rear + across, rear - across, front - across, first))


def shared_area(first: Tensor, second: Tensor) -> Tensor:
    """Return the area in m² [...] that ``rectangles`` [6, ...] and [6, ...] share, pair by pair.

    In the frame of the second rectangle it is the integral over its length of the first one's extent, clamped to the
    second's width: a sum over the first one's four edges in closed form (Green's theorem), without polygon clipping,
    sorting or special cases for coinciding edges.
    """
    own_x, own_y, half_length, half_width, cos, sin = first.unbind()
    other_x, other_y, w, h, other_cos, other_sin = second.unbind()
    right, up = own_x - other_x, own_y - other_y
    centre_x, centre_y = right * other_cos + up * other_sin, up * other_cos - right * other_sin
    turned_cos, turned_sin = cos * other_cos + sin * other_sin, sin * other_cos - cos * other_sin
    along_x, along_y = half_length * turned_cos, half_length * turned_sin
    across_x, across_y = -half_width * turned_sin, half_width * turned_cos

    x = _corners(centre_x, along_x, across_x)
    y = _corners(centre_y, along_y, across_y)
    x0, x1, y0, y1 = x[:-1], x[1:], y[:-1], y[1:]
    slope = (y1 - y0) / torch.where((x1 - x0).abs() < SLIVER, 1.0, x1 - x0)
    from_x, to_x = (torch.minimum(torch.maximum(end, -w), w) for end in (x0, x1))
    from_y, to_y = y0 + slope * (from_x - x0), y0 + slope * (to_x - x0)
    return (_mean_clamped(from_y, to_y, h) * (from_x - to_x)).sum(dim=0)


def overlap_more(first: Tensor, second: Tensor, threshold: float) -> Tensor:
    """Return True where the intersection over union of ``rectangles`` [6, ...] is above ``threshold``: bool [...].

    Overlaps below a millionth of the boxes are rounding: boxes that only touch do not overlap.
    """
    threshold = max(threshold, SLIVER)
    areas = 4 * (first[2] * first[3] + second[2] * second[3])
    return shared_area(first, second) * (1 + threshold) > threshold * areas


def intersection_bev(first: Tensor, second: Tensor) -> Tensor:
    """Return the BEV intersection in m², float64 [...], of boxes [..., ≥7] and [..., ≥7], pair by pair.

    Areas below 1 mm² are rounding and become 0.
    """
    shared = shared_area(rectangles(first.double()), rectangles(second.double()))
    return torch.where(shared < SLIVER, 0.0, shared)


def iou_bev(first: Tensor, second: Tensor) -> Tensor:
    """Return the BEV intersection over union, float64 [...], of boxes [..., ≥7] and [..., ≥7], pair by pair."""
    shared = intersection_bev(first, second)
    area_first = (first[..., 3] * first[..., 4]).double()
    area_second = (second[..., 3] * second[..., 4]).double()
    return shared / (area_first + area_second - shared).clamp(min=1e-9)


def pairwise_iou_bev(first: Tensor, second: Tensor) -> Tensor:
    """Return the BEV intersection over union of all pairs of boxes [N, ≥7] and [M, ≥7]: float64 [N, M]."""
    return iou_bev(first[:, None], second[None, :])


def iou_aligned(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union [N, M] of axis-aligned rectangles (x1, y1, x2, y2) [N, 4] and [M, 4]."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    area_first = (first[:, 2:] - first[:, :2]).prod(dim=-1)[:, None]
    area_second = (second[:, 2:] - second[:, :2]).prod(dim=-1)[None, :]
    return shared / (area_first + area_second - shared).clamp(min=1e-9)
