"""Points sorted by pillar in fixed shapes: input of the one-pass pillar encoders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.geometry import BEVGrid


@dataclass(frozen=True)
class GroupedPoints:
    """Points of a batch sorted by pillar: S = B·P slots for the pillars of the samples, and one for ignored points.

    A pillar's points are in their original order; points beyond the maximum are replaced by its first point.
    """

    order: Tensor  # [B·N] int64, point at each position
    slot: Tensor  # [B·N] int64, slot of the pillar at each position
    start: Tensor  # [S + 1] int64, first position of a pillar
    count: Tensor  # [S + 1] int64, points that count; 0 in a slot without a pillar
    cell: Tensor  # [S + 1] int64, its cell among the B·H·W of the batch; B·H·W in a slot without a pillar


def group_points(
    points: Tensor,  # [B, N, ≥3] with x, y, z first, padded
    num_points: Tensor,  # [B] how many rows are real
    grid: BEVGrid,
    z_range: tuple[float, float],
    max_points: int | None = None,
    max_pillars: int | None = None,
) -> GroupedPoints:
    """Group the first ``max_points`` points of the first ``max_pillars`` pillars of each sample, like ``voxelise``.

    Pillars are in order of their first point.
    """
    batch, length = points.shape[:2]
    device = points.device
    cells, nowhere = batch * grid.height * grid.width, batch * length
    pillars = min(length, grid.height * grid.width, length if max_pillars is None else max_pillars)
    place = torch.arange(batch * length, device=device)

    row, column, inside = grid.cells(points)
    inside &= (points[..., 2] >= z_range[0]) & (points[..., 2] < z_range[1])
    inside &= torch.arange(length, device=device) < num_points[:, None]
    sample = torch.arange(batch, device=device)[:, None]
    cell = torch.where(inside, (sample * grid.height + row) * grid.width + column, cells).flatten()

    first = torch.full((cells + 1,), nowhere, device=device).scatter_reduce(0, cell, place, "amin")
    key, order = torch.where(inside.flatten(), first.gather(0, cell), nowhere).sort(stable=True)

    is_start = key == order
    sample = order // max(length, 1)
    in_sample = torch.zeros(batch, dtype=torch.int64, device=device).scatter_add(0, sample, is_start.long())
    number = is_start.cumsum(0) - 1 - (in_sample.cumsum(0) - in_sample).gather(0, sample)
    nothing = batch * pillars
    slot = torch.where((key < nowhere) & (number < pillars), sample * pillars + number, nothing)

    none = torch.zeros(nothing + 1, dtype=torch.int64, device=device)
    of_slot = (none + cells).scatter(0, slot, cell.gather(0, order))
    start = none.scatter(0, torch.where(is_start, slot, nothing), place)
    count = none.scatter_add(0, slot, torch.ones_like(slot))
    if max_points is not None:
        start_here = start.gather(0, slot)
        order = order.gather(0, torch.where(place - start_here < max_points, place, start_here))
        count = count.clamp(max=max_points)
    return GroupedPoints(order, slot, start, count, of_slot)
