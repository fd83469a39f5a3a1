"""Non-maximum suppression of rotated boxes, a class at a time, without a loop over boxes: in two forms of one rule.

A box goes if a better one of its class that stays overlaps it by more than a threshold. ``nms_bev`` takes any number of
boxes, and its cost goes with that number; ``pick_best_first`` has fixed shapes, for exported programs and CUDA graphs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from remembev.geometry.overlap import overlap_more, rectangles
from remembev.ops.dispatch import runs_triton

_TILE = 128
"""Boxes of a class that are compared with one another at a time: what they suppress is never compared again."""


def nms_bev(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, limit: int) -> Tensor:
    """Indices [K] of the boxes [N, ≥7] that greedy suppression keeps, best score first; classes ignore each other.

    scores     [N]; of equal ones the earlier is the better
    labels     [N] int64, 0 or more
    threshold  intersection over union, seen from above, above which the worse of two boxes of a class goes
    limit      boxes that are kept of a class, at most: its best ones
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
    """Positions [C, M] in labels [N], a row for each class from 0 on, in order; N pads."""
    ranks = (labels[:, None] == torch.arange(int(labels.max()) + 1 if len(labels) else 0, device=labels.device)).cumsum(
        0
    )
    rank = ranks.gather(1, labels[:, None])[:, 0] - 1
    rows = labels.new_full((ranks.shape[1], int(rank.max()) + 1 if len(labels) else 0), len(labels))
    rows[labels, rank] = torch.arange(len(labels), device=labels.device)
    return rows


def _without(rows: Tensor, positions: Tensor, nobody: int) -> Tensor:
    """``rows`` [C, M] of positions, with ``nobody`` in place of some of them."""
    stays = torch.ones(nobody + 1, dtype=torch.bool, device=rows.device).index_fill_(0, positions, False)
    return torch.where(stays[rows], rows, nobody)


def _narrowed(rows: Tensor, nobody: int) -> Tensor:
    """The same positions in order, in no more columns than they need."""
    width = int((rows < nobody).sum(dim=1).max())
    return rows.sort(dim=1).values[:, :width]


def _overlapping_pairs(rects: Tensor, first: Tensor, second: Tensor, threshold: float) -> Tensor:
    """Pairs, int64 [2, P], of a position in ``first`` [C, F] and a later one in the same row of ``second`` [C, S].

    Those whose ``rects`` [6, N] overlap by more than the threshold. Exact areas are for those alone that come near: at
    N, which pads, and where a number is NaN, no circle is around a box.
    """
    circles = F.pad(torch.stack((*rects[:2], torch.hypot(*rects[2:4]))), (0, 1), value=torch.nan)
    one, other = circles[:, first, None], circles[:, second][:, :, None]
    circles_meet = (one[:2] - other[:2]).square_().sum(dim=0) < (one[2] + other[2]).square_()
    row, column, other_column = circles_meet.nonzero().unbind(dim=1)
    pairs = torch.stack((first[row, column], second[row, other_column]))
    pairs = pairs[:, pairs[0] < pairs[1]]
    return pairs[:, overlap_more(rects[:, pairs[0]], rects[:, pairs[1]], threshold)]


def _suppressed(count: int, better: Tensor, worse: Tensor) -> Tensor:
    """Which of ``count`` boxes go, int64, where ``better`` [P] ones overlap ``worse`` [P] ones.

    What stays is the only fixed point of the rule: applied to all boxes at once, again and again, the rule reaches it
    in as many rounds as the longest chain of boxes that suppress one another.
    """
    goes = torch.zeros(count, dtype=torch.bool, device=better.device)
    while True:
        suppressed = worse[~goes[better]]
        again = torch.zeros_like(goes).index_fill_(0, suppressed, True)
        if torch.equal(again, goes):
            return suppressed
        goes = again


def pick_best_first(boxes: Tensor, valid: Tensor, threshold: float, limit: int) -> Tensor:
    """Positions [R, limit] int64 of the boxes that greedy suppression keeps of each of R rows, best first, -1 pads.

    boxes  [R, M, ≥7], the best of a row first; rows, a class each, ignore each other
    valid  [R, M] bool: the others are no boxes

    All rows go in lock step: each picks the best box it has left and strikes out what that overlaps, until nothing is
    left or ``limit`` are picked. That looks at no more than ``limit`` pairs a box, and its one loop can be exported. On
    a GPU it is one kernel that nobody waits for.
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
