"""Visibility of BEV cells: what the rays of a turn say about the space above each."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from remembev.geometry.grid import BEVGrid

VISIBILITY_CHANNELS = 3
SECTORS = 720
"""Sectors of azimuth of the range image, half a degree each."""
SLOPES = (-0.7, 0.3, 50)
"""Lowest and highest z over range of the range image, and its rows."""
HEIGHTS = (-1.5, -0.3, 6)
"""Lowest and highest of the heights in metres, relative to the sensor, at which a ray crosses a cell, and their number:
where cars and people are."""
OFFSETS = (-1 / 3, 1 / 3, 3)
"""First and last of the places beside a cell's centre, in cells, at which a ray crosses it, and their number."""


def ray_visibility(points: Tensor, num_points: Tensor, grid: BEVGrid) -> Tensor:
    """Return the shares [B, 3, H, W] of rays that end beyond each cell, in it, and before it; 0 without a ray.

    The points of the present turn make a range image: for each sector of azimuth and row of slopes the farthest range.
    A cell looks up the rays that cross it at ``OFFSETS`` beside its centre and at ``HEIGHTS``.

    Args:
        points: [B, N, 5] x, y, z, intensity, age (0 for the present turn), in the coordinates of the sensor.
        num_points: Real rows [B].
        grid: The grid of the cells.
    """
    image = range_image(points, num_points)
    centres = grid.centres(device=points.device).flatten(0, 1)
    distance = centres.norm(dim=-1)[:, None, None]
    beside = torch.linspace(*OFFSETS, device=points.device)[:, None] * max(grid.cell_x, grid.cell_y)
    azimuth = torch.atan2(centres[:, 1], centres[:, 0])[:, None, None] + beside / distance.clamp(min=grid.cell_x)
    row = _row(torch.linspace(*HEIGHTS, device=points.device) / distance.clamp(min=1e-3))
    is_row = (row >= 0) & (row < SLOPES[2])
    rays = image.flatten(1)[:, _sector(azimuth) * SLOPES[2] + row.clamp(0, SLOPES[2] - 1)]  # [B, H·W, 3, 6]
    crosses = (rays > 0) & is_row
    margin = max(grid.cell_x, grid.cell_y)
    beyond, before = rays > distance + margin, rays < distance - margin
    kinds = torch.stack((crosses & beyond, crosses & ~beyond & ~before, crosses & before), dim=1)
    shares = kinds.sum(dim=(3, 4)) / crosses.sum(dim=(2, 3)).clamp(min=1)[:, None]
    return shares.view(len(points), VISIBILITY_CHANNELS, grid.height, grid.width)


def range_image(points: Tensor, num_points: Tensor) -> Tensor:
    """Return the farthest range [B, SECTORS, rows] in metres of the present turn's points; 0 without a point.

    See ``ray_visibility`` for the arguments.
    """
    distance = points[..., :2].norm(dim=-1)
    row = _row(points[..., 2] / distance.clamp(min=1e-3))
    real = torch.arange(points.shape[1], device=points.device) < num_points[:, None]
    real = real & (points[..., 4] == 0) & (row >= 0) & (row < SLOPES[2])
    place = _sector(torch.atan2(points[..., 1], points[..., 0])) * SLOPES[2] + row.clamp(0, SLOPES[2] - 1)
    image = distance.new_zeros(len(points), SECTORS * SLOPES[2])
    return image.scatter_reduce(1, place, distance * real, "amax").view(-1, SECTORS, SLOPES[2])


def _sector(azimuth: Tensor) -> Tensor:
    return (azimuth / (2 * math.pi) * SECTORS).floor().long() % SECTORS


def _row(slope: Tensor) -> Tensor:
    lowest, highest, rows = SLOPES
    return ((slope - lowest) / (highest - lowest) * rows).floor().long()
