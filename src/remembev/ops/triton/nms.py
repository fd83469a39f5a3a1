"""``pick_best_first`` as one Triton kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from remembev.geometry.overlap import SLIVER


@triton.jit
def _edge(x0, y0, x1, y1, w, h):  # type: ignore[no-untyped-def]
    """Compute an edge's term of ``overlap.shared_area``: −∫ clamp(y, -h, h) dx over -w <= x <= w."""
    is_flat = tl.abs(x1 - x0) < 1e-6
    slope = (y1 - y0) / tl.where(is_flat, 1.0, x1 - x0)
    from_x, to_x = tl.minimum(tl.maximum(x0, -w), w), tl.minimum(tl.maximum(x1, -w), w)
    from_y, to_y = y0 + slope * (from_x - x0), y0 + slope * (to_x - x0)
    low, high = tl.minimum(from_y, to_y), tl.maximum(from_y, to_y)
    low_off_floor, high_off_floor = tl.maximum(low, -h), tl.maximum(high, -h)
    low_inside, high_inside = tl.minimum(low_off_floor, h), tl.minimum(high_off_floor, h)
    way, inside = high - low, high_inside - low_inside
    off_floor = high_off_floor - low_off_floor
    total = inside * (low_inside + high_inside) / 2 + h * ((off_floor - inside) - (way - off_floor))
    return tl.where(way > 0, total / tl.where(way > 0, way, 1.0), low_inside) * (from_x - to_x)


@triton.jit  # type: ignore[untyped-decorator]
def _pick_row(  # type: ignore[no-untyped-def]
    rects,  # [6, R, M]
    valid,  # [R, M] bool
    picked,  # [R, limit] filled with -1
    count,  # M
    limit,
    threshold,
    BLOCK: tl.constexpr,
):
    """Pick the best remaining box of a row and suppress the boxes that it overlaps, until none remains."""
    row, stride = tl.program_id(0), tl.num_programs(0) * count
    box = tl.arange(0, BLOCK)
    own, inside = rects + row * count, box < count
    x = tl.load(own + box, mask=inside, other=0.0)
    y = tl.load(own + stride + box, mask=inside, other=0.0)
    w = tl.load(own + 2 * stride + box, mask=inside, other=0.0)
    h = tl.load(own + 3 * stride + box, mask=inside, other=0.0)
    cos = tl.load(own + 4 * stride + box, mask=inside, other=0.0)
    sin = tl.load(own + 5 * stride + box, mask=inside, other=0.0)
    left = tl.load(valid + row * count + box, mask=inside, other=0) != 0
    best = tl.min(tl.where(left, box, count), axis=0)
    turn = 0
    while (turn < limit) & (best < count):
        tl.store(picked + row * limit + turn, best.to(tl.int64))
        right, up = tl.load(own + best) - x, tl.load(own + stride + best) - y
        half_length, half_width = tl.load(own + 2 * stride + best), tl.load(own + 3 * stride + best)
        best_cos, best_sin = tl.load(own + 4 * stride + best), tl.load(own + 5 * stride + best)
        centre_x, centre_y = right * cos + up * sin, up * cos - right * sin
        turned_cos, turned_sin = best_cos * cos + best_sin * sin, best_sin * cos - best_cos * sin
        along_x, along_y = half_length * turned_cos, half_length * turned_sin
        across_x, across_y = -half_width * turned_sin, half_width * turned_cos
        front_x, front_y, rear_x, rear_y = (
            centre_x + along_x,
            centre_y + along_y,
            centre_x - along_x,
            centre_y - along_y,
        )
        x0, y0, x1, y1 = front_x + across_x, front_y + across_y, rear_x + across_x, rear_y + across_y
        x2, y2, x3, y3 = rear_x - across_x, rear_y - across_y, front_x - across_x, front_y - across_y
        shared = _edge(x0, y0, x1, y1, w, h) + _edge(x1, y1, x2, y2, w, h)
        shared += _edge(x2, y2, x3, y3, w, h) + _edge(x3, y3, x0, y0, w, h)
        overlaps = shared * (1 + threshold) > threshold * 4 * (half_length * half_width + w * h)
        left = left & (box != best) & (overlaps == 0)
        best = tl.min(tl.where(left, box, count), axis=0)
        turn += 1


def pick_best_first_triton(rects: Tensor, valid: Tensor, threshold: float, limit: int) -> Tensor:
    """Rotated greedy NMS of rows, a program per row with the row's boxes in registers.

    Doesn't synchronise with the host, so that it can be part of a CUDA graph.

    Args:
        rects: ``rectangles`` [6, R, M] float32, best first.
        valid: True for boxes [R, M].
        threshold: Intersection over union above which a box is suppressed.
        limit: Boxes picked per row at most.

    Returns:
        Positions of the picked boxes [R, limit] int64, padded with -1.
    """
    rows, count = valid.shape
    picked = torch.full((rows, limit), -1, device=rects.device)
    block = triton.next_power_of_2(count)
    _pick_row[(rows,)](
        rects.contiguous(),
        valid.contiguous(),
        picked,
        count,
        limit,
        max(threshold, SLIVER),
        BLOCK=block,
        num_warps=min(max(block // 128, 1), 16),
    )
    return picked
