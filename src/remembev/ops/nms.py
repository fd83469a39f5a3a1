"""Rotated NMS per class without a loop over boxes, in two forms of one rule.

A box is suppressed if a better box of its class that is kept overlaps it by more than a threshold. ``nms_bev`` has
dynamic shapes; ``pick_best_first`` has fixed shapes, for exported programs and CUDA graphs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from remembev.geometry.overlap import overlap_more, rectangles
from remembev.ops.dispatch import runs_triton

_TILE = 128
"""Boxes of a class that are compared at a time; boxes that they suppress are not compared again."""


def nms_bev(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, limit: int) -> Tensor:
    """Rotated greedy NMS per class.

    Args:
        boxes: [N, ≥7].
        scores: [N]; of equal scores the earlier box is the better one.
        labels: [N] int64, at least 0; classes ignore each other.
        threshold: BEV intersection over union above which the worse of two boxes is suppressed.
        limit: Boxes that are kept of a class, its best ones.

    Returns:
        Indices [K] of the boxes that are kept, best score first.
    """
    order = scores.argsort(descending=True, stable=True)
    nobody = len(order)
    rects = rectangles(boxes[order].float())
    left = _by_class(labels[order])
    kept = left[:, :0]
    while left.shape[1]:
        tile, left = left[:, :_TILE], left[:, _TILE:]
        tile = _without(tile, _suppressed(nobody, *_overlapping_pairs(rects, tile, tile, threshold)), nobody)
        kept = torch.cat((kept, tile), dim=1)
        if left.shape[1]:
            is_full = (kept < nobody).sum(dim=1, keepdim=True) >= limit
            tile, left = _narrowed(tile, nobody), _narrowed(left.masked_fill(is_full, nobody), nobody)
            _, suppressed = _overlapping_pairs(rects, tile, left, threshold)
            left = _narrowed(_without(left, suppressed, nobody), nobody)
    kept = kept.sort(dim=1).values[:, :limit].flatten().sort().values
    return order[kept[kept < nobody]]


def _by_class(labels: Tensor) -> Tensor:
    """Return positions [C, M] in labels [N], a row per class in order; N pads."""
    ranks = (labels[:, None] == torch.arange(int(labels.max()) + 1 if len(labels) else 0, device=labels.device)).cumsum(
        0
    )
    rank = ranks.gather(1, labels[:, None])[:, 0] - 1
    rows = labels.new_full((ranks.shape[1], int(rank.max()) + 1 if len(labels) else 0), len(labels))
    rows[labels, rank] = torch.arange(len(labels), device=labels.device)
    return rows


def _without(rows: Tensor, positions: Tensor, nobody: int) -> Tensor:
    """Replace some positions in ``rows`` [C, M] by ``nobody``."""
    stays = torch.ones(nobody + 1, dtype=torch.bool, device=rows.device).index_fill_(0, positions, False)
    return torch.where(stays[rows], rows, nobody)


def _narrowed(rows: Tensor, nobody: int) -> Tensor:
    """Sort the positions of each row and drop the columns that only pad."""
    width = int((rows < nobody).sum(dim=1).max())
    return rows.sort(dim=1).values[:, :width]


def _overlapping_pairs(rects: Tensor, first: Tensor, second: Tensor, threshold: float) -> Tensor:
    """Return overlapping pairs [2, P] of a position in ``first`` [C, F] and a later one in a row of ``second`` [C, S].

    Only pairs whose circumscribed circles meet get an exact area of their ``rects`` [6, N]. Position N, which pads, and
    boxes with NaN have no circle.
    """
    circles = F.pad(torch.stack((*rects[:2], torch.hypot(*rects[2:4]))), (0, 1), value=torch.nan)
    one, other = circles[:, first, None], circles[:, second][:, :, None]
    circles_meet = (one[:2] - other[:2]).square_().sum(dim=0) < (one[2] + other[2]).square_()
    row, column, other_column = circles_meet.nonzero().unbind(dim=1)
    pairs = torch.stack((first[row, column], second[row, other_column]))
    pairs = pairs[:, pairs[0] < pairs[1]]
    return pairs[:, overlap_more(rects[:, pairs[0]], rects[:, pairs[1]], threshold)]


def _suppressed(count: int, better: Tensor, worse: Tensor) -> Tensor:
    """Return the suppressed ones of ``count`` boxes, int64, given pairs of a ``better`` [P] and a ``worse`` [P] box.

    The result is the only fixed point of the rule. Applied to all boxes at once, the rule reaches it in as many rounds
    as the longest chain of boxes that suppress one another.
    """
    goes = torch.zeros(count, dtype=torch.bool, device=better.device)
    while True:
        suppressed = worse[~goes[better]]
        again = torch.zeros_like(goes).index_fill_(0, suppressed, True)
        if torch.equal(again, goes):
            return suppressed
        goes = again


def pick_best_first(boxes: Tensor, valid: Tensor, threshold: float, limit: int) -> Tensor:
    """Rotated greedy NMS of R rows, with fixed shapes.

    All rows run in lock step: each picks its best remaining box and suppresses what that overlaps, until no box remains
    or ``limit`` are picked. The loop can be exported; on a GPU it is one kernel without synchronisation.

    Args:
        boxes: [R, M, ≥7], best first; rows ignore each other.
        valid: [R, M] bool, False for padding.
        threshold: BEV intersection over union above which the worse of two boxes is suppressed.
        limit: Boxes that are kept of a row.

    Returns:
        Positions [R, limit] int64 in the rows, best first; -1 pads.
    """
    if runs_triton(boxes):
        from remembev.ops.triton.nms import pick_best_first_triton

        return pick_best_first_triton(rectangles(boxes.float()), valid, threshold, limit)
    (where,) = valid.flatten().nonzero(as_tuple=True)
    row = where // valid.shape[1]
    rects = rectangles(boxes.flatten(0, 1)[where].float())
    position = torch.arange(where.shape[0], device=boxes.device)
    none = valid.numel()
    nothing = torch.full((len(boxes),), none, device=boxes.device)
    turns = torch.arange(limit, device=boxes.device)

    def goes_on(turn: Tensor, left: Tensor, picked: Tensor) -> Tensor:
        return left.any() & (turn < limit)

    def pick(turn: Tensor, left: Tensor, picked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        best = nothing.scatter_reduce(0, row, torch.where(left, position, none), "amin")
        of_row = best[row]
        struck = overlap_more(rects[:, of_row.clamp(max=left.shape[0] - 1)], rects, threshold) | (position == of_row)
        picked = torch.where((turns == turn) & (best < none)[:, None], best[:, None], picked)
        return turn + 1, left & ~struck, picked

    nobody = torch.full((len(boxes), limit), -1, device=boxes.device)
    state = (turns.new_zeros(()), torch.ones_like(where, dtype=torch.bool), nobody)
    if torch.compiler.is_compiling():
        _, _, picked = torch.while_loop(goes_on, pick, state)  # type: ignore[no-untyped-call]
    else:
        while goes_on(*state):
            state = pick(*state)
        picked = state[2]
    return torch.where(picked < 0, picked, F.pad(where % valid.shape[1], (0, 1))[picked])
