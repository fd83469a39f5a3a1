"""Plain twins of the kernels: the formulas written out, slow and obvious, with the kernels' signatures.

Tests hold every back end to these; ``remembev bench`` times some of them as the plain way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from remembev.geometry import BEVGrid, iou_bev
from remembev.ops.memory_read import Positions
from remembev.ops.visibility import HEIGHTS, OFFSETS, SECTORS, SLOPES
from remembev.ops.voxelise import Pillars

NOTHING = -1
"""Stands for nothing among the tokens of a read."""


def voxelise(
    points: Tensor,  # [B, N, C]
    num_points: Tensor,  # [B]
    grid: BEVGrid,
    z_range: tuple[float, float],
    max_points: int,
    max_pillars: int,
) -> Pillars:
    """Group points into hard voxels by a loop over points."""
    rows: list[list[Tensor]] = []
    coords: list[tuple[int, int, int]] = []
    for sample in range(len(points)):
        pillars = _points_by_cell(points[sample, : num_points[sample]], grid, z_range)
        for cell, members in list(pillars.items())[:max_pillars]:
            coords.append((sample, *cell))
            rows.append(members[:max_points])
    padded = points.new_zeros(len(coords), max_points, points.shape[2])
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.stack(row)
    return Pillars(padded, torch.tensor([len(row) for row in rows]).long(), torch.tensor(coords).long().view(-1, 3))


def scatter_pillars(
    features: Tensor,  # [P, C]
    coords: Tensor,  # [P, 3]
    batch_size: int,
    grid: BEVGrid,
) -> Tensor:
    """Scatter pillars to a map [B, C, H, W] one by one."""
    bev = features.new_zeros(batch_size, features.shape[1], grid.height, grid.width)
    for feature, (sample, row, column) in zip(features, coords.tolist(), strict=True):
        bev[sample, :, row, column] = feature
    return bev


def encode_pillars(
    points: Tensor,  # [B, N, 3 + F]
    num_points: Tensor,  # [B]
    weight: Tensor,  # [C, 9 + F or 10 + F]
    bias: Tensor,  # [C]
    grid: BEVGrid,
    z_range: tuple[float, float],
    max_points: int | None,
    max_pillars: int | None,
) -> Tensor:
    """Encode pillar by pillar in float64: ReLU([x, y, z, features, xyz − mean, xyz − centre, ‖xyz‖] W + b)."""
    bev = torch.zeros(len(points), len(bias), grid.height, grid.width, dtype=torch.float64)
    for sample in range(len(points)):
        pillars = _points_by_cell(points[sample, : num_points[sample]].double(), grid, z_range)
        for (row, column), members in list(pillars.items())[:max_pillars]:
            rows = torch.stack(members[:max_points])
            xyz = rows[:, :3]
            x, y = grid.x_min + (column + 0.5) * grid.cell_x, grid.y_min + (row + 0.5) * grid.cell_y
            centre = torch.tensor([x, y, sum(z_range) / 2], dtype=torch.float64)
            inputs = torch.cat((rows, xyz - xyz.mean(dim=0), xyz - centre, xyz.norm(dim=1, keepdim=True)), dim=1)
            if max_points is not None and len(rows) < max_points:
                inputs = torch.cat((inputs, torch.zeros(1, inputs.shape[1])))
            outputs = inputs[:, : weight.shape[1]] @ weight.double().T + bias
            bev[sample, :, row, column] = outputs.relu().amax(dim=0)
    return bev


def read_memory(
    query_key: Tensor,  # [B, C_k, Q]
    selection: Tensor,  # [B, C_k, Q]
    key: Tensor,  # [B, C_k, N]
    shrinkage: Tensor,  # [B, 1, N]
    value: Tensor,  # [B, A, C_v, N]
    has_value: Tensor,  # [B, A, N] bool
    valid: Tensor,  # [B, N] bool
    *,
    top_k: int,
    positions: Positions | None = None,
    age: Tensor | None = None,  # [B, N]
    nothing: Tensor | None = None,  # []
) -> tuple[Tensor, Tensor, Tensor]:
    """Read one number at a time (XMem §3.2): S_ij = −s_i Σ_c e_cj (k_ci − q_cj)² / √C_k − ½ |p_i − p_j|² − age_i.

    Returns:
        Value [B, A, C_v, Q], nothing [B, A, Q] and usage [B, N], as in ``Readout``.
    """
    batch, key_dim, queries = query_key.shape
    agents, value_dim = value.shape[1:3]
    readout = torch.zeros(batch, agents, value_dim, queries, dtype=query_key.dtype)
    to_nothing = torch.ones(batch, agents, queries, dtype=query_key.dtype)
    usage = torch.zeros(batch, key.shape[2], dtype=query_key.dtype)
    k, q, e, s = key.tolist(), query_key.tolist(), selection.tolist(), shrinkage.tolist()

    def score(b: int, i: int, j: int) -> float:
        distance = sum(e[b][c][j] * (k[b][c][i] - q[b][c][j]) ** 2 for c in range(key_dim))
        similarity = -s[b][0][i] * distance / math.sqrt(key_dim)
        if positions is not None:
            similarity -= float((positions.token[b, :, i] - positions.query[b, :, j]).square().sum()) / 2
        return similarity if age is None else similarity - float(age[b, i])

    def softmax(scores: dict[int, float]) -> dict[int, float]:
        candidates = scores if nothing is None else {**scores, NOTHING: float(nothing)}
        powers = {i: math.exp(power - max(candidates.values())) for i, power in candidates.items()}
        return {i: power / sum(powers.values()) for i, power in powers.items() if i != NOTHING}

    for b in range(batch):
        for j in range(queries):
            for a in range(agents):
                scores = {i: score(b, i, j) for i in range(key.shape[2]) if valid[b, i] and has_value[b, a, i]}
                best = sorted(scores, key=lambda i: -scores[i])[:top_k]
                affinities = softmax({i: scores[i] for i in best})
                if affinities:
                    to_nothing[b, a, j] = 0.0 if nothing is None else 1 - sum(affinities.values())
                for i, weight in affinities.items():
                    readout[b, a, :, j] += weight * value[b, a, :, i]
                    usage[b, i] += weight if a == 0 else 0
    return readout, to_nothing, usage


def read_memory_dense(
    query_key: Tensor,  # [B, C_k, Q]
    selection: Tensor,  # [B, C_k, Q]
    key: Tensor,  # [B, C_k, N]
    shrinkage: Tensor,  # [B, 1, N]
    value: Tensor,  # [B, C_v, N]
    valid: Tensor,  # [B, N] bool
    *,
    top_k: int,
) -> Tensor:
    """Read values [B, C_v, Q] with the matrix of all similarities and a dense matrix of affinities (XMem §3.3).

    −s (Σ e k² − 2 Σ e q k + Σ e q²) / √C_k by its terms, of which two are matrix products.
    """
    own = selection.transpose(1, 2) @ key.square()
    cross = (selection * query_key).transpose(1, 2) @ key
    energy = (selection * query_key.square()).sum(dim=1)[:, :, None]
    scores = -(own - 2 * cross + energy) * shrinkage / math.sqrt(key.shape[1])
    scores = scores.masked_fill(~valid[:, None], -math.inf)
    best, tokens = scores.topk(top_k, dim=2)
    affinity = torch.zeros_like(scores).scatter_(2, tokens, best.softmax(dim=2))
    return value @ affinity.transpose(1, 2)


def nms_bev(
    boxes: Tensor,  # [N, ≥7]
    scores: Tensor,  # [N]
    labels: Tensor,  # [N]
    threshold: float,
    limit: int,
) -> Tensor:
    """Return the indices of the boxes that are kept, best first, class by class and box by box."""
    order = scores.argsort(descending=True, stable=True)
    kept = [order[:0]]
    for label in sorted(set(labels.tolist())):
        candidates = order[labels[order] == label]
        kept.append(candidates[greedy_nms(boxes[candidates], threshold)[:limit]])
    positions = order.argsort()
    stays = torch.cat(kept)
    return stays[positions[stays].argsort()]


def greedy_nms(
    boxes: Tensor,  # [N, ≥7], best first
    threshold: float,
) -> Tensor:
    """Return the indices of the boxes of a class that greedy NMS keeps."""
    left, kept = torch.arange(len(boxes), device=boxes.device), []
    while len(left):
        best, others = left[:1], left[1:]
        kept.append(best)
        left = others[iou_bev(boxes[best].expand(len(others), -1), boxes[others]) <= threshold]
    return torch.cat(kept) if kept else left


def rank_in_group(group: Tensor) -> Tensor:
    """Count the earlier elements of the same group, [N], one by one."""
    numbers = group.tolist()
    return torch.tensor([numbers[:index].count(number) for index, number in enumerate(numbers)]).long()


def argmax_in_group(
    values: Tensor,  # [N, C]
    group: Tensor,  # [N]
    groups: int,
) -> Tensor:
    """Find the row [G, C] of the largest value of each group and channel, the first of equals, one by one."""
    rows = [[row for row, number in enumerate(group.tolist()) if number == wanted] for wanted in range(groups)]
    best = [[max(own, key=lambda row, c=c: float(values[row, c])) for c in range(values.shape[1])] for own in rows]  # type: ignore[misc]
    return torch.tensor(best)


def _points_by_cell(points: Tensor, grid: BEVGrid, z_range: tuple[float, float]) -> dict[tuple[int, int], list[Tensor]]:
    """Group points [N, C] in range by the (row, column) of their cell, cells in order of their first point."""
    cells: dict[tuple[int, int], list[Tensor]] = {}
    for point in points:
        x, y, z = point[:3].tolist()
        if grid.x_min <= x < grid.x_max and grid.y_min <= y < grid.y_max and z_range[0] <= z < z_range[1]:
            cell = (int((y - grid.y_min) / grid.cell_y), int((x - grid.x_min) / grid.cell_x))
            cells.setdefault(cell, []).append(point)
    return cells


def ray_visibility(points: Tensor, num_points: Tensor, grid: BEVGrid) -> Tensor:
    """Look up the rays that cross each cell one by one."""
    lowest, highest, rows = SLOPES
    centres, margin = grid.centres(), max(grid.cell_x, grid.cell_y)
    shares = torch.zeros(len(points), 3, grid.height, grid.width)

    def ray(azimuth: Tensor, slope: Tensor) -> tuple[int, int]:
        sector = int((azimuth / (2 * math.pi) * SECTORS).floor()) % SECTORS
        return sector, int(((slope - lowest) / (highest - lowest) * rows).floor())

    for sample in range(len(points)):
        farthest: dict[tuple[int, int], float] = {}
        for x, y, z, _, age in points[sample, : num_points[sample]]:
            distance = (x**2 + y**2).sqrt()
            place = ray(torch.atan2(y, x), z / distance.clamp(min=1e-3))
            if age == 0 and 0 <= place[1] < rows:
                farthest[place] = max(farthest.get(place, 0.0), float(distance))
        for row in range(grid.height):
            for column in range(grid.width):
                x, y = centres[row, column]
                distance = (x**2 + y**2).sqrt()
                counts = [0, 0, 0]  # beyond, in the cell, before
                for offset in torch.linspace(*OFFSETS):
                    azimuth = torch.atan2(y, x) + offset * margin / distance.clamp(min=grid.cell_x)
                    for height in torch.linspace(*HEIGHTS):
                        length = farthest.get(ray(azimuth, height / distance.clamp(min=1e-3)), 0.0)
                        if length > 0:
                            kind = 0 if length > distance + margin else 2 if length < distance - margin else 1
                            counts[kind] += 1
                shares[sample, :, row, column] = torch.tensor(counts) / max(1, sum(counts))
    return shares
