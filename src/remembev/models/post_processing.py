"""From scores to detections: score threshold, limits, and non-maximum suppression a class at a time.

Twice, with the same boxes: for one frame, at a cost that goes with its candidates, and for a batch in fixed shapes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from remembev.config.schema import PostProcessingConfig
from remembev.geometry import nms_bev, pick_best_first
from remembev.models.detections import Detections, PaddedDetections

_BLOCK = 64
"""Logits that are passed over together."""


def select_candidates(logits: Tensor, post: PostProcessingConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Anchor, class and score [Q] each, class by class, of what scores high enough among logits [N, K].

    Of a class it is the best NMS_PRE_MAXSIZE at most; of equal scores those of the lowest anchors.
    """
    number_of_classes, limit = logits.shape[1], post.NMS_CONFIG.NMS_PRE_MAXSIZE
    place, score = _high_scores(logits.flatten(), post.SCORE_THRESH)
    by_class = (place % number_of_classes).argsort(stable=True)
    place, score = place[by_class], score[by_class]
    anchor, class_index = place // number_of_classes, place % number_of_classes
    if len(score) <= limit:
        return anchor, class_index, score
    of_classes = [(class_index == k).nonzero()[:, 0] for k in range(number_of_classes)]
    rating = _rating(score, anchor)
    best = torch.cat([index[rating[index].topk(min(limit, len(index))).indices] for index in of_classes])
    return anchor[best], class_index[best], score[best]


def _high_scores(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Places, in order, and scores [Q] of the scores of ``threshold`` or more among logits [N].

    Almost all are lower: most blocks are passed over for their highest logit, without a score of it being worked out.
    """
    blocks = logits.view(-1, math.gcd(len(logits), _BLOCK))
    hopeless = blocks.amax(dim=1) < _lowest_logit(threshold)
    (promising,) = hopeless.logical_not().nonzero(as_tuple=True)  # NaN hides nothing
    scores = blocks[promising].float().sigmoid()
    row, column = (scores >= threshold).nonzero().unbind(dim=1)
    return promising[row] * blocks.shape[1] + column, scores[row, column]


def _lowest_logit(threshold: float) -> float:
    """A logit that no score of ``threshold`` or more lies below, however float32 rounds."""
    share = min(threshold, 0.999)
    return math.log(share / (1 - share)) - 1e-3 if share > 0 else -math.inf


def suppress(candidates: Detections, post: PostProcessingConfig) -> Detections:
    """What non-maximum suppression leaves of the candidates, at most NMS_POST_MAXSIZE a class, best first."""
    nms = post.NMS_CONFIG
    boxes, scores, labels = candidates.boxes, candidates.scores, candidates.labels
    return candidates[nms_bev(boxes, scores, labels, nms.NMS_THRESH, limit=nms.NMS_POST_MAXSIZE)]


def best_of_classes(logits: Tensor, post: PostProcessingConfig) -> tuple[Tensor, Tensor]:
    """Anchors and scores [B, K, NMS_PRE_MAXSIZE] of the best of each class, best first, from logits [B, N, K].

    Where there are fewer anchors, scores of -1 pad.
    """
    scores = logits.float().sigmoid().transpose(1, 2)
    rating = _rating(scores, torch.arange(scores.shape[2], device=scores.device))
    anchor = rating.topk(min(post.NMS_CONFIG.NMS_PRE_MAXSIZE, scores.shape[2])).indices
    padding = (0, post.NMS_CONFIG.NMS_PRE_MAXSIZE - anchor.shape[2])
    return F.pad(anchor, padding), F.pad(scores.gather(2, anchor), padding, value=-1)


def suppress_padded(boxes: Tensor, scores: Tensor, labels: Tensor, post: PostProcessingConfig) -> PaddedDetections:
    """``suppress`` in fixed shapes: C · NMS_POST_MAXSIZE boxes of each frame.

    boxes, scores  [B, C, M, 9] and [B, C, M], the best of each class first
    labels         [C] of the classes
    """
    limit = post.NMS_CONFIG.NMS_POST_MAXSIZE
    valid = scores >= post.SCORE_THRESH
    picked = pick_best_first(boxes.flatten(0, 1), valid.flatten(0, 1), post.NMS_CONFIG.NMS_THRESH, limit)
    picked = picked.view(*scores.shape[:2], limit)
    kept = scores.gather(2, picked.clamp(min=0)).masked_fill(picked < 0, -1).flatten(1)
    order = _rating(kept, torch.arange(kept.shape[1], device=kept.device)).topk(kept.shape[1]).indices
    kept = kept.gather(1, order)
    found = kept >= 0
    label_index = order // limit
    index = label_index * scores.shape[2] + picked.flatten(1).gather(1, order).clamp(min=0)
    return PaddedDetections(
        boxes.flatten(1, 2).gather(1, index[..., None].expand(-1, -1, boxes.shape[3])) * found[..., None],
        kept.clamp(min=0),
        labels[label_index].masked_fill(~found, -1),
        found.sum(dim=1),
    )


def _rating(score: Tensor, number: Tensor) -> Tensor:
    """Float64 by which the best come first: of the highest float32 score [...], then of the lowest number [...].

    Neighbouring float32 are at least 2⁻²⁴ of themselves apart: what a number below 2²⁰ takes off is less.
    """
    return score.double() * (1 - number.double() * 2.0**-45)
