"""Non-maximum suppression of rotated boxes, a class at a time, without a loop over boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from remembev.geometry.overlap import iou_bev


def _near_pairs(boxes: Tensor, index: Tensor) -> Tensor:
    """Pairs, int64 [2, P], earlier before later, of the boxes at ``index`` [K] whose circumscribed circles meet."""
    centre, radius = boxes[index, :2], boxes[index, 3:5].norm(dim=-1) / 2
    distance = torch.cdist(centre, centre, compute_mode="donot_use_mm_for_euclid_dist")
    near = distance < radius[:, None] + radius[None, :]
    return index[near.triu(diagonal=1).nonzero()].T


def _overlapping_pairs(boxes: Tensor, labels: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Pairs (i, j), i before j and of one class, that overlap by more than ``threshold``: two int64 [P]."""
    pairs = [_near_pairs(boxes, (labels == label).nonzero()[:, 0]) for label in torch.unique(labels)]
    earlier, later = torch.cat([labels.new_zeros(2, 0), *pairs], dim=1)
    overlapping = iou_bev(boxes[earlier], boxes[later]) > threshold
    return earlier[overlapping], later[overlapping]


def nms_bev(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Indices [K] of the boxes [N, ≥7] that greedy suppression keeps, best score first; classes ignore each other.

    A box goes if a better one of its class that stays overlaps it by more than ``threshold``. Greedy suppression is the
    only fixed point of that rule: repeating the rule for all boxes at once reaches it, in as many rounds as the longest
    chain of boxes that suppress one another.
    """
    order = scores.argsort(descending=True, stable=True)
    better, worse = _overlapping_pairs(boxes[order].float(), labels[order], threshold)
    kept = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:
        suppressed = torch.zeros_like(kept)
        suppressed[worse[kept[better]]] = True
        if torch.equal(~suppressed, kept):
            return order[kept]
        kept = ~suppressed
