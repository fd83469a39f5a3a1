"""Encoding of grouped points to the BEV map, a program per pillar."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from remembev.ops.grouping import GroupedPoints

_ROWS = 16
"""Points of a pillar that are encoded at a time."""


@triton.jit  # type: ignore[untyped-decorator]
def _encode_pillar(  # type: ignore[no-untyped-def]
    points,  # [B·N, 3 + F]
    order,  # [B·N]
    start,  # [S + 1]
    count,  # [S + 1]
    cell,  # [S + 1]
    centre,  # [S + 1, 3]
    of_point,  # [C, 3 + F or 4 + F]
    of_pillar,  # [C, 7]
    bev,  # [B·H·W, C]
    max_points,
    channels,
    COLUMNS: tl.constexpr,
    WITH_DISTANCE: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Encode a pillar: maximum of the points' terms, plus the pillar's term, ReLU, maximum with a padded row if any."""
    pillar = tl.program_id(0)
    size = tl.load(count + pillar)
    if size > 0:
        channel = tl.arange(0, CHANNELS)
        is_channel = channel < channels
        per_point: tl.constexpr = COLUMNS + 1 if WITH_DISTANCE else COLUMNS
        own = of_point + channel * per_point
        weight_x = tl.load(own, mask=is_channel, other=0.0)
        weight_y = tl.load(own + 1, mask=is_channel, other=0.0)
        weight_z = tl.load(own + 2, mask=is_channel, other=0.0)
        centre_x = tl.load(centre + pillar * 3)
        centre_y = tl.load(centre + pillar * 3 + 1)
        centre_z = tl.load(centre + pillar * 3 + 2)
        places = order + tl.load(start + pillar)

        best = tl.full((CHANNELS,), float("-inf"), tl.float32)
        sum_x = tl.zeros((ROWS,), tl.float32)
        sum_y = tl.zeros((ROWS,), tl.float32)
        sum_z = tl.zeros((ROWS,), tl.float32)
        for first in range(0, size, ROWS):
            row = first + tl.arange(0, ROWS)
            is_point = row < size
            point = points + tl.load(places + row, mask=is_point, other=0) * COLUMNS
            x = tl.load(point, mask=is_point, other=0.0)
            y = tl.load(point + 1, mask=is_point, other=0.0)
            z = tl.load(point + 2, mask=is_point, other=0.0)
            right = tl.where(is_point, x - centre_x, 0.0)
            ahead = tl.where(is_point, y - centre_y, 0.0)
            above = tl.where(is_point, z - centre_z, 0.0)
            sum_x += right
            sum_y += ahead
            sum_z += above
            encoded = right[:, None] * weight_x[None, :] + ahead[:, None] * weight_y[None, :]
            encoded += above[:, None] * weight_z[None, :]
            for column in tl.static_range(3, COLUMNS):
                feature = tl.load(point + column, mask=is_point, other=0.0)
                encoded += feature[:, None] * tl.load(own + column, mask=is_channel, other=0.0)[None, :]
            if WITH_DISTANCE:
                distance = tl.sqrt(x * x + y * y + z * z)
                encoded += distance[:, None] * tl.load(own + COLUMNS, mask=is_channel, other=0.0)[None, :]
            best = tl.maximum(best, tl.max(tl.where(is_point[:, None], encoded, float("-inf")), axis=0))

        own = of_pillar + channel * 7
        best += tl.load(own, mask=is_channel, other=0.0) * centre_x
        best += tl.load(own + 1, mask=is_channel, other=0.0) * centre_y
        best += tl.load(own + 2, mask=is_channel, other=0.0) * centre_z
        best -= tl.load(own + 3, mask=is_channel, other=0.0) * (tl.sum(sum_x, axis=0) / size)
        best -= tl.load(own + 4, mask=is_channel, other=0.0) * (tl.sum(sum_y, axis=0) / size)
        best -= tl.load(own + 5, mask=is_channel, other=0.0) * (tl.sum(sum_z, axis=0) / size)
        bias = tl.load(own + 6, mask=is_channel, other=0.0)
        best = tl.maximum(best + bias, tl.where(size < max_points, tl.maximum(bias, 0.0), 0.0))
        tl.store(bev + tl.load(cell + pillar) * channels + channel, best, mask=is_channel)


def encode_grouped_triton(
    bev: Tensor,  # [B·H·W + 1, C] zeros, the last row for ignored pillars
    points: Tensor,  # [B·N, 3 + F]
    grouped: GroupedPoints,
    centre: Tensor,  # [S + 1, 3]
    of_point: Tensor,  # [C, 3 + F or 4 + F]
    of_pillar: Tensor,  # [C, 7]
    max_points: int | None,
) -> Tensor:
    """Fill the map with the encoded pillars, as ``remembev.ops.pillars`` does in PyTorch."""
    channels = len(of_point)
    pillars = len(grouped.start) - 1
    if pillars == 0:
        return bev
    _encode_pillar[(pillars,)](
        points.contiguous(),
        grouped.order,
        grouped.start,
        grouped.count,
        grouped.cell,
        centre.contiguous(),
        of_point.contiguous(),
        of_pillar.contiguous(),
        bev,
        0 if max_points is None else max_points,
        channels,
        COLUMNS=points.shape[1],
        WITH_DISTANCE=of_point.shape[1] > points.shape[1],
        CHANNELS=triton.next_power_of_2(channels),
        ROWS=_ROWS,
        num_warps=2,
    )
    return bev
