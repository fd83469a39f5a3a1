"""Points to the BEV map in one pass: a one-layer pillar feature network without padding, for inference.

Shapes are static and nothing synchronises, so that the pass can be exported and captured in a CUDA graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from remembev.geometry import BEVGrid
from remembev.ops.dispatch import runs_triton
from remembev.ops.grouping import GroupedPoints, group_points

_CHUNK = 2**14
"""Points that are encoded at a time, so that their features stay in the cache."""


def encode_pillars(
    points: Tensor,  # [B, N, 3 + F] x, y, z and F features of a point, padded
    num_points: Tensor,  # [B] how many rows are real
    weight: Tensor,  # [C, 9 + F], or [C, 10 + F] with the distance ‖xyz‖ last
    bias: Tensor,  # [C]
    grid: BEVGrid,
    z_range: tuple[float, float],
    max_points: int | None,
    max_pillars: int | None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Encode pillars with one layer (PointPillars §2.1) in eval mode: ReLU, then maximum over the points.

    With d = xyz − centre the layer is (W_xyz + W_mean + W_centre) d + W_rest (intensity, age, …) per point, plus
    W_xyz centre − W_mean mean(d) + bias per pillar, which commutes with the maximum. Both terms stay small where the
    map is large, so that nothing cancels.

    Args:
        points: Padded points [B, N, 3 + F].
        num_points: Real points [B].
        weight: Linear layer with folded normalisation, on x, y, z, the F features, the offset to the mean of the
            pillar's points (3) and to the centre of its cell (3).
        bias: Bias [C].
        grid: Grid of pillars.
        z_range: Lowest and highest z in m.
        max_points: First points that count in a pillar; a pillar with fewer also takes the maximum with ReLU(bias), the
            value of a padded row, like ``PillarVFE``. None: all points count, like ``DynPillarVFE``.
        max_pillars: First pillars that count in a sample.
        dtype: Of the map; earlier results have the points' type, at least float32.

    Returns:
        BEV map [B, C, H, W], channels last, zeros outside pillars.

    Raises:
        ValueError: If a gradient is required, or weight has another shape.
    """
    columns = points.shape[-1]
    if weight.shape[1] not in (columns + 6, columns + 7):
        raise ValueError(f"weight: expected [C, {columns + 6}] or [C, {columns + 7}], got {list(weight.shape)}")
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (points, weight, bias)):
        raise ValueError("encode_pillars is for inference: it has no gradient")
    grouped = group_points(points, num_points, grid, z_range, max_points, max_pillars)
    xyz, features, mean, centre, distance = weight.tensor_split((3, columns, columns + 3, columns + 6), dim=1)
    of_point = torch.cat((xyz + mean + centre, features, distance), dim=1)
    of_pillar = torch.cat((xyz, mean, bias[:, None]), dim=1)
    cells, encode = len(points) * grid.height * grid.width, _encode_grouped
    if runs_triton(points):
        from remembev.ops.triton.pillars import encode_grouped_triton as encode
    blank = points.new_zeros(cells + 1, len(bias), dtype=dtype)
    bev = encode(
        blank, points.flatten(0, 1), grouped, _centres(grouped.cell, grid, z_range), of_point, of_pillar, max_points
    )
    return bev[:cells].view(len(points), grid.height, grid.width, len(bias)).permute(0, 3, 1, 2)


def _encode_grouped(
    bev: Tensor,  # [B·H·W + 1, C] zeros, the last row for ignored pillars
    points: Tensor,  # [B·N, 3 + F]
    grouped: GroupedPoints,
    centre: Tensor,  # [S + 1, 3]
    of_point: Tensor,  # [C, 3 + F or 4 + F]
    of_pillar: Tensor,  # [C, 7]
    max_points: int | None,
) -> Tensor:
    """Fill the map: weights of d, features and ‖xyz‖ per point, of centre, −mean(d) and 1 per pillar."""
    slot, count = grouped.slot, grouped.count[:, None]
    rows = points.index_select(0, grouped.order)
    offset = rows[:, :3] - centre.index_select(0, slot)
    inputs = [offset, rows[:, 3:]]
    if of_point.shape[1] > points.shape[1]:
        inputs.append(rows[:, :3].norm(dim=1, keepdim=True))
    features = _largest(torch.cat(inputs, dim=1), of_point, grouped)

    rank = torch.arange(len(rows), device=points.device) - grouped.start.gather(0, slot)
    counts = rank < grouped.count.gather(0, slot)
    mean = torch.zeros_like(centre).index_add(0, slot, offset * counts[:, None]) / count.clamp(min=1)
    features.addmm_(torch.cat((centre, -mean, torch.ones_like(mean[:, :1])), dim=1), of_pillar.T).relu_()
    if max_points is not None:
        features = torch.where(count < max_points, features.maximum(of_pillar[:, -1].relu()), features)
    return bev.index_copy_(0, grouped.cell[:-1], features[:-1].to(bev.dtype))


def _centres(cell: Tensor, grid: BEVGrid, z_range: tuple[float, float]) -> Tensor:
    """Return the centres [..., 3] of pillars from their cells [...] in the batch."""
    x = (cell % grid.width + 0.5) * grid.cell_x + grid.x_min
    y = (cell // grid.width % grid.height + 0.5) * grid.cell_y + grid.y_min
    return torch.stack((x, y, torch.full_like(x, sum(z_range) / 2)), dim=-1)


def _largest(inputs: Tensor, weight: Tensor, grouped: GroupedPoints) -> Tensor:
    """Return the maximum [S + 1, C] of inputs [B·N, F] × weight [C, F] over each slot's points; −∞ without points."""
    channels = len(weight)
    best = inputs.new_full((len(grouped.cell), channels), -torch.inf)
    for start in range(0, len(inputs), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        best.scatter_reduce_(0, grouped.slot[chunk, None].expand(-1, channels), inputs[chunk] @ weight.T, "amax")
    return best
