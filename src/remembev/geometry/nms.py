"""Non-maximum suppression of rotated boxes, a class at a time, without a loop over boxes: in two forms of one rule.

A box goes if a better one of its class that stays overlaps it by more than a threshold. ``nms_bev`` takes any number of
boxes, and its cost goes with that number; ``pick_best_first`` has fixed shapes, for exported programs and CUDA graphs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from remembev.geometry.overlap import overlap_more, rectangles

_TILE = 512
"""Boxes that are compared with one another at a time: what they suppress is never compared again."""


def nms_bev(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, limit: int) -> Tensor:
    """Indices [K] of the boxes [N, ≥7] that greedy suppression keeps, best score first; classes ignore each other.

    scores     [N]; of equal ones the earlier is the better
    labels     [N] int64, 0 or more
    threshold  intersection over union, seen from above, above which the worse of two boxes of a class goes
    limit      boxes that are kept of a class, at most: its best ones
    """
    order = scores.argsort(descending=True, stable=True)
    rects, labels = rectangles(boxes[order].float()), labels[order]
    kept, left = order.new_empty(0), torch.arange(len(order), device=order.device)
    while len(left):
        tile, left = left[:_TILE], left[_TILE:]
        pairs = _overlapping_pairs(rects, labels, tile, tile, threshold)
        new = tile[_stays(len(tile), *pairs[:, pairs[0] < pairs[1]])]
        kept = torch.cat((kept, new))
        if len(left):
            left = left[torch.bincount(labels[kept], minlength=int(labels.max()) + 1)[labels[left]] < limit]
            _, suppressed = _overlapping_pairs(rects, labels, new, left, threshold)
            left = left[torch.ones_like(left, dtype=torch.bool).index_fill(0, suppressed, False)]
    return order[kept[_rank_in_class(labels[kept]) < limit]]


def _overlapping_pairs(rects: Tensor, labels: Tensor, first: Tensor, second: Tensor, threshold: float) -> Tensor:
    """Pairs, int64 [2, P], of positions in ``first`` and ``second`` whose boxes are of one class and overlap."""
    centre, radius = rects[:2], rects[2:4].norm(dim=0)
    distance_squared = (centre[:, first, None] - centre[:, None, second]).square_().sum(dim=0)
    circles_meet = distance_squared < (radius[first, None] + radius[second]).square_()
    pairs = (circles_meet & (labels[first, None] == labels[second])).nonzero().T
    return pairs[:, overlap_more(rects[:, first[pairs[0]]], rects[:, second[pairs[1]]], threshold)]


def _stays(count: int, better: Tensor, worse: Tensor) -> Tensor:
    """Which of ``count`` boxes stay, bool, where ``better`` [P] ones overlap ``worse`` [P] ones.

    What stays is the only fixed point of the rule: applied to all boxes at once, again and again, the rule reaches it
    in as many rounds as the longest chain of boxes that suppress one another.
    """
    stays = torch.ones(count, dtype=torch.bool, device=better.device)
    while True:
        again = torch.ones_like(stays).index_fill(0, worse[stays[better]], False)
        if torch.equal(again, stays):
            return stays
        stays = again


def _rank_in_class(labels: Tensor) -> Tensor:
    """How many of labels [K] before each one are equal to it: int64 [K]."""
    equal = labels[:, None] == torch.arange(int(labels.max()) + 1 if len(labels) else 0, device=labels.device)
    return equal.cumsum(dim=0).gather(1, labels[:, None])[:, 0] - 1


def pick_best_first(boxes: Tensor, valid: Tensor, threshold: float, limit: int) -> Tensor:
    """Positions [R, limit] int64 of the boxes that greedy suppression keeps of each of R rows, best first, -1 pads.

    boxes  [R, M, ≥7], the best of a row first; rows, a class each, ignore each other
    valid  [R, M] bool: the others are no boxes

    All rows go in lock step: each picks the best box it has left and strikes out what that overlaps, until nothing is
    left or ``limit`` are picked. That looks at no more than ``limit`` pairs a box, and its one loop can be exported. On
    a GPU it is one kernel that nobody waits for.
    """
    if boxes.is_cuda and not torch.compiler.is_compiling():
        from remembev.geometry.triton_nms import pick_best_first_triton

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
