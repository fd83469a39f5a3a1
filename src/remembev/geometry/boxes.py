"""Boxes (x, y, z, l, w, h, yaw, vx, vy): corners, containment, and moving them between frames.

Functions that need no velocity take boxes [..., 7] too; none changes its input.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BEV_SIGNS = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))


def wrap_angle(angle: Tensor) -> Tensor:
    """Wrap an angle in radians into [-π, π)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def bev_corners(boxes: Tensor) -> Tensor:
    """Return BEV corners [..., 4, 2], counter-clockwise, front left first."""
    signs = boxes.new_tensor(_BEV_SIGNS)
    local = signs * boxes[..., None, 3:5]
    cos, sin = boxes[..., 6].cos()[..., None], boxes[..., 6].sin()[..., None]
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return torch.stack((x, y), dim=-1) + boxes[..., None, :2]


def box_corners(boxes: Tensor) -> Tensor:
    """Return corners [..., 8, 3]: the bottom four counter-clockwise, then the top four."""
    flat = bev_corners(boxes)
    bottom = (boxes[..., 2] - boxes[..., 5] / 2)[..., None, None].expand(*flat.shape[:-1], 1)
    top = (boxes[..., 2] + boxes[..., 5] / 2)[..., None, None].expand(*flat.shape[:-1], 1)
    return torch.cat((torch.cat((flat, bottom), dim=-1), torch.cat((flat, top), dim=-1)), dim=-2)


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Return True where points [N, ≥3] lie in boxes [M, ≥7], faces included: bool [M, N]."""
    offset = points[None, :, :3] - boxes[:, None, :3]
    cos, sin = boxes[:, 6].cos()[:, None], boxes[:, 6].sin()[:, None]
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    half = boxes[:, None, 3:6] / 2
    return (along.abs() <= half[..., 0]) & (across.abs() <= half[..., 1]) & (offset[..., 2].abs() <= half[..., 2])


def nearest_aligned_bev(boxes: Tensor) -> Tensor:
    """Return rectangles [..., 4] (x1, y1, x2, y2) of boxes turned to the nearest axis."""
    lies_along_y = boxes[..., 6].sin().abs() > boxes[..., 6].cos().abs()
    length, width = boxes[..., 3], boxes[..., 4]
    half_x = torch.where(lies_along_y, width, length) / 2
    half_y = torch.where(lies_along_y, length, width) / 2
    x, y = boxes[..., 0], boxes[..., 1]
    return torch.stack((x - half_x, y - half_y, x + half_x, y + half_y), dim=-1)


def widen_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """Return boxes [..., ≥5] that are at least ``min_size`` metres long and wide."""
    return torch.cat((boxes[..., :3], boxes[..., 3:5].clamp(min=min_size), boxes[..., 5:]), dim=-1)


def transform_boxes(transform: Tensor, boxes: Tensor) -> Tensor:
    """Move boxes [..., M, 9] by similarities [..., 4, 4]: rigid motions, uniform scaling, mirroring, or a mix.

    Centres, sizes, headings and velocities all go along. A tilt turns the heading in the plane; what it would do to the
    box's own roll and pitch is dropped, since boxes stand upright.
    """
    linear = transform[..., :3, :3]
    row = linear.double().unbind(dim=-2)
    volume = (row[0] * torch.linalg.cross(row[1], row[2])).sum(dim=-1)
    scale = volume.abs().pow(1 / 3).to(boxes.dtype)[..., None, None]
    centre = boxes[..., :3] @ linear.transpose(-1, -2) + transform[..., None, :3, 3]
    yaw = boxes[..., 6:7]
    heading = torch.cat((yaw.cos(), yaw.sin()), dim=-1) @ linear[..., :2, :2].transpose(-1, -2)
    yaw = torch.atan2(heading[..., 1:], heading[..., :1])
    velocity = boxes[..., 7:9] @ linear[..., :2, :2].transpose(-1, -2)
    return torch.cat((centre, boxes[..., 3:6] * scale, yaw, velocity), dim=-1)
