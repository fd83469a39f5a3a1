"""Points to pillars: the pillar of each point, and pillars with a fixed number of points. Deterministic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.geometry import BEVGrid
from remembev.ops.rank import rank_in_group


@dataclass(frozen=True)
class PillarAssignment:
    """The Q real points in range and their P pillars, numbered by first appearance, sample after sample."""

    points: Tensor  # [Q, C] the points, in their order
    pillar: Tensor  # [Q] int64, number of each point's pillar
    coords: Tensor  # [P, 3] int64, (sample, row, column) of each pillar


@dataclass(frozen=True)
class Pillars:
    """P pillars of at most S points each."""

    points: Tensor  # [P, S, C] padded with zeros
    num_points: Tensor  # [P] int64, points among the S rows
    coords: Tensor  # [P, 3] int64, (sample, row, column)


def assign_pillars(
    points: Tensor,  # [B, N, C] with x, y, z first, padded
    num_points: Tensor,  # [B] how many rows are real
    grid: BEVGrid,
    z_range: tuple[float, float],
) -> PillarAssignment:
    """Assign every real point with x, y on the grid and z in [z_min, z_max) to its pillar; drop other points."""
    batch, length = points.shape[:2]
    row, column, inside = grid.cells(points)
    is_real = torch.arange(length, device=points.device) < num_points[:, None]
    inside &= is_real & (points[..., 2] >= z_range[0]) & (points[..., 2] < z_range[1])
    sample = torch.arange(batch, device=points.device)[:, None]
    cell = ((sample * grid.height + row) * grid.width + column)[inside]

    order = torch.arange(len(cell), device=points.device)
    first_point = order.new_full((batch * grid.height * grid.width,), len(cell))
    first_point.scatter_reduce_(0, cell, order, "amin")
    is_first = first_point[cell] == order
    occupied = cell[is_first]
    number = torch.empty_like(first_point)
    number[occupied] = torch.arange(len(occupied), device=points.device)

    coords = torch.stack(
        (
            occupied // (grid.height * grid.width),
            occupied // grid.width % grid.height,
            occupied % grid.width,
        ),
        dim=1,
    )
    return PillarAssignment(points[inside], number[cell], coords)


def voxelise(
    points: Tensor,  # [B, N, C] with x, y, z first, padded
    num_points: Tensor,  # [B] how many rows are real
    grid: BEVGrid,
    z_range: tuple[float, float],
    max_points: int,
    max_pillars: int,
) -> Pillars:
    """Return hard voxels: the first ``max_pillars`` pillars of each sample, with their first ``max_points`` points."""
    assigned = assign_pillars(points, num_points, grid, z_range)
    pillar_rank = rank_in_group(assigned.coords[:, 0])
    is_kept = pillar_rank < max_pillars
    point_rank = rank_in_group(assigned.pillar)
    fits = is_kept[assigned.pillar] & (point_rank < max_points)

    coords = assigned.coords[is_kept]
    renumbered = is_kept.cumsum(0) - 1
    pillar = renumbered[assigned.pillar[fits]]
    padded = points.new_zeros(len(coords), max_points, points.shape[-1])
    padded[pillar, point_rank[fits]] = assigned.points[fits]
    return Pillars(padded, torch.bincount(pillar, minlength=len(coords)), coords)
