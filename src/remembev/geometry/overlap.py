"""Overlap of boxes seen from above: rotated rectangles exactly, axis-aligned ones cheaply."""

from __future__ import annotations

import torch
from torch import Tensor

from remembev.geometry.boxes import bev_corners

_FLAT = 1e-6


def _area_below(edge_from: Tensor, edge_to: Tensor, half: Tensor) -> Tensor:
    """Signed ∫ clamp(y, -h, h) dx along edges [..., 2] → [..., 2], over the part with -w <= x <= w; half is (w, h).

    With y linear in x the integral is (H(y1) - H(y0)) · dx / dy, where H is the antiderivative of the clamp:
    y² / 2 inside and h · |y| - h² / 2 outside, Huber's function.
    """
    w, h = half[..., 0], half[..., 1]
    x0, y0, x1, y1 = edge_from[..., 0], edge_from[..., 1], edge_to[..., 0], edge_to[..., 1]
    slope = (y1 - y0) / torch.where((x1 - x0).abs() < _FLAT, torch.ones_like(x0), x1 - x0)
    from_x, to_x = x0.clamp(-w, w), x1.clamp(-w, w)
    from_y, to_y = y0 + slope * (from_x - x0), y0 + slope * (to_x - x0)
    run, rise = to_x - from_x, to_y - from_y

    def huber(y: Tensor) -> Tensor:
        return torch.where(y.abs() <= h, y * y / 2, h * y.abs() - h * h / 2)

    is_flat = rise.abs() < _FLAT
    mean = (huber(to_y) - huber(from_y)) / torch.where(is_flat, torch.ones_like(rise), rise)
    return torch.where(is_flat, ((from_y + to_y) / 2).clamp(-h, h), mean) * run


def intersection_bev(first: Tensor, second: Tensor) -> Tensor:
    """Area in m², float64 [...], shared by rotated rectangles: boxes [..., ≥7] and [..., ≥7], pair by pair.

    Seen from the second box, the shared area is the integral over its length of the first one's extent across, clamped
    to the second's width: a sum over the first one's four edges in closed form, without any polygon clipping, sorting
    or special case for edges that coincide. Less than 1 mm² is rounding: boxes that are apart share exactly nothing.
    """
    first, second = first.double(), second.double()
    cos, sin = second[..., 6].cos()[..., None], second[..., 6].sin()[..., None]
    offset = bev_corners(first) - second[..., None, :2]
    corners = torch.stack(
        (offset[..., 0] * cos + offset[..., 1] * sin, offset[..., 1] * cos - offset[..., 0] * sin), dim=-1
    )
    edges = _area_below(corners, corners.roll(-1, dims=-2), second[..., None, 3:5] / 2)
    shared = -edges.sum(dim=-1)
    return torch.where(shared < _FLAT, 0.0, shared)


def iou_bev(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of rotated rectangles, pair by pair: boxes [..., ≥7] and [..., ≥7] to float64 [...]."""
    shared = intersection_bev(first, second)
    area_first = (first[..., 3] * first[..., 4]).double()
    area_second = (second[..., 3] * second[..., 4]).double()
    return shared / (area_first + area_second - shared).clamp(min=1e-9)


def pairwise_iou_bev(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every box of [N, ≥7] with every one of [M, ≥7]: float64 [N, M]."""
    return iou_bev(first[:, None], second[None, :])


def iou_aligned(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of axis-aligned rectangles (x1, y1, x2, y2): [N, 4] with [M, 4] to [N, M]."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    area_first = (first[:, 2:] - first[:, :2]).prod(dim=-1)[:, None]
    area_second = (second[:, 2:] - second[:, :2]).prod(dim=-1)[None, :]
    return shared / (area_first + area_second - shared).clamp(min=1e-9)
