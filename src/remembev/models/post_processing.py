"""From scored boxes to detections: score threshold, limits, and non-maximum suppression a class at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from remembev.config.schema import PostProcessingConfig
from remembev.geometry import nms_bev
from remembev.models.detections import Detections
from remembev.ops import rank_in_group


def select_candidates(scores: Tensor, post: PostProcessingConfig) -> tuple[Tensor, Tensor]:
    """Anchor and class, int64 [Q] each, of scores [N, K] high enough and among a class's best NMS_PRE_MAXSIZE."""
    anchors, classes = [], []
    for class_index, class_scores in enumerate(scores.unbind(dim=1)):
        (anchor,) = (class_scores >= post.SCORE_THRESH).nonzero(as_tuple=True)
        best = class_scores[anchor].topk(min(len(anchor), post.NMS_CONFIG.NMS_PRE_MAXSIZE)).indices
        anchors.append(anchor[best])
        classes.append(torch.full_like(best, class_index))
    return torch.cat(anchors), torch.cat(classes)


def suppress(candidates: Detections, post: PostProcessingConfig) -> Detections:
    """What non-maximum suppression leaves of the candidates, at most NMS_POST_MAXSIZE a class, best first."""
    kept = candidates[nms_bev(candidates.boxes, candidates.scores, candidates.labels, post.NMS_CONFIG.NMS_THRESH)]
    return kept[rank_in_group(kept.labels) < post.NMS_CONFIG.NMS_POST_MAXSIZE]
