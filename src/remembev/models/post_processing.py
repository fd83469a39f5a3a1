"""Post-processing: score threshold, limits and NMS per class.

Two forms give the same boxes: one for a frame, whose cost depends on its candidates, and one for a batch in fixed
shapes, for exports and CUDA graphs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from remembev.config.schema import PostProcessingConfig
from remembev.models.detections import Detections, PaddedDetections
from remembev.ops import nms_bev, pick_best_first

_BLOCK = 64
"""Logits that are skipped together."""


def select_candidates(logits: Tensor, post: PostProcessingConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchor, class and score [Q] of the candidates among logits [N, K], class by class.

    These score SCORE_THRESH or more, at most NMS_PRE_MAXSIZE a class; of equal scores the lowest anchors come first.
    """
    number_of_classes, limit = logits.shape[1], post.NMS_CONFIG.NMS_PRE_MAXSIZE
    place, score = _high_scores(logits.flatten(), post.SCORE_THRESH)
    by_class = (place % number_of_classes).argsort(stable=True)
    place, score = place[by_class], score[by_class]
    anchor, class_index = place // number_of_classes, place % number_of_classes
    if len(score) <= limit:
        return anchor, class_index, score
    of_classes = [(class_index == k).nonzero()[:, 0] for k in range(number_of_classes)]
    rank = _rank(score, anchor)
    best = torch.cat([index[rank[index].topk(min(limit, len(index))).indices] for index in of_classes])
    return anchor[best], class_index[best], score[best]


def _high_scores(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return places, ascending, and scores [Q] of the logits [N] that score ``threshold`` or more.

    Almost all score less: most blocks are skipped by their highest logit, without computing a score.
    """
    blocks = logits.view(-1, math.gcd(len(logits), _BLOCK))
    low = blocks.amax(dim=1) < _lowest_logit(threshold)
    (high,) = low.logical_not().nonzero(as_tuple=True)  # a NaN doesn't skip its block
    scores = blocks[high].float().sigmoid()
    row, column = (scores >= threshold).nonzero().unbind(dim=1)
    return high[row] * blocks.shape[1] + column, scores[row, column]


def _lowest_logit(threshold: float) -> float:
    """Return a lower bound of the logits that score ``threshold`` or more, however float32 rounds."""
    share = min(threshold, 0.999)
    return math.log(share / (1 - share)) - 1e-3 if share > 0 else -math.inf


def suppress(candidates: Detections, post: PostProcessingConfig) -> Detections:
    """Run NMS per class; at most NMS_POST_MAXSIZE boxes a class stay, best first."""
    nms = post.NMS_CONFIG
    boxes, scores, labels = candidates.boxes, candidates.scores, candidates.labels
    return candidates[nms_bev(boxes, scores, labels, nms.NMS_THRESH, limit=nms.NMS_POST_MAXSIZE)]


def top_per_class(logits: Tensor, post: PostProcessingConfig) -> tuple[Tensor, Tensor]:
    """Return anchors and scores [B, K, NMS_PRE_MAXSIZE] of the best of each class, best first, from logits [B, N, K].

    With fewer anchors, scores of -1 pad.
    """
    scores = logits.float().sigmoid().transpose(1, 2)
    rank = _rank(scores, torch.arange(scores.shape[2], device=scores.device))
    anchor = rank.topk(min(post.NMS_CONFIG.NMS_PRE_MAXSIZE, scores.shape[2])).indices
    padding = (0, post.NMS_CONFIG.NMS_PRE_MAXSIZE - anchor.shape[2])
    return F.pad(anchor, padding), F.pad(scores.gather(2, anchor), padding, value=-1)


def suppress_padded(boxes: Tensor, scores: Tensor, labels: Tensor, post: PostProcessingConfig) -> PaddedDetections:
    """Run ``suppress`` in fixed shapes: C · NMS_POST_MAXSIZE boxes a frame.

    Args:
        boxes: Candidates of C classes [B, C, M, 9], best first.
        scores: Their scores [B, C, M].
        labels: Labels of the classes [C].
        post: The configuration's POST_PROCESSING.
    """
    limit = post.NMS_CONFIG.NMS_POST_MAXSIZE
    valid = scores >= post.SCORE_THRESH
    picked = pick_best_first(boxes.flatten(0, 1), valid.flatten(0, 1), post.NMS_CONFIG.NMS_THRESH, limit)
    picked = picked.view(*scores.shape[:2], limit)
    kept = scores.gather(2, picked.clamp(min=0)).masked_fill(picked < 0, -1).flatten(1)
    order = _rank(kept, torch.arange(kept.shape[1], device=kept.device)).topk(kept.shape[1]).indices
    kept = kept.gather(1, order)
    is_real = kept >= 0
    label_index = order // limit
    index = label_index * scores.shape[2] + picked.flatten(1).gather(1, order).clamp(min=0)
    return PaddedDetections(
        boxes.flatten(1, 2).gather(1, index[..., None].expand(-1, -1, boxes.shape[3])) * is_real[..., None],
        kept.clamp(min=0),
        labels[label_index].masked_fill(~is_real, -1),
        is_real.sum(dim=1),
    )


def _rank(score: Tensor, number: Tensor) -> Tensor:
    """Return float64 keys that sort by highest float32 score [...], then by lowest number [...].

    Neighbouring float32 differ by at least 2⁻²⁴ of themselves; a number below 2²⁰ takes off less.
    """
    return score.double() * (1 - number.double() * 2.0**-45)
