"""Assignment of ground truth to anchors (OpenPCDet's ``AxisAlignedTargetAssigner``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.config.schema import AnchorConfig
from remembev.geometry import iou_aligned, nearest_aligned_bev, widen_boxes
from remembev.models.anchors import AnchorGrid

BACKGROUND = -1
IGNORED = -2


@dataclass(frozen=True)
class HeadTargets:
    """Targets of a head's N anchors; the P positive ones of all samples have a box."""

    labels: Tensor  # [B, N] int64: class within the head, BACKGROUND or IGNORED
    sample: Tensor  # [P] int64, sample of each positive anchor
    anchor: Tensor  # [P] int64, number of the anchor
    gt: Tensor  # [P] int64, row of the ground truth
    boxes: Tensor  # [P, 9] ground truth


class AxisAlignedTargetAssigner:
    """Matches ground truth to anchors class by class, by BEV overlap, both turned to the nearest axis."""

    def __init__(self, anchors: AnchorGrid, cfgs: Sequence[AnchorConfig], min_size: float = 0.0) -> None:
        """Match boxes and anchors as if they were at least ``min_size`` metres long and wide."""
        self.anchors, self.min_size = anchors, min_size
        self.thresholds = [(cfg.matched_threshold, cfg.unmatched_threshold) for cfg in cfgs]

    def assign(self, gt_boxes: Tensor, labels: Tensor) -> HeadTargets:
        """Assign ground truth [B, M, 9] with labels [B, M] within the head; other labels are ignored."""
        matches = torch.stack([self._match_sample(*sample) for sample in zip(gt_boxes, labels, strict=True)])
        sample, anchor = (matches >= 0).nonzero(as_tuple=True)
        gt = matches[sample, anchor]
        anchor_labels = matches.clone()
        anchor_labels[sample, anchor] = labels[sample, gt]
        return HeadTargets(anchor_labels, sample, anchor, gt, gt_boxes[sample, gt].float())

    def _match_sample(self, gt_boxes: Tensor, labels: Tensor) -> Tensor:
        """Return each anchor's row of the ground truth [M, 9], BACKGROUND or IGNORED: int64 [N]."""
        matches = labels.new_full((len(self.anchors),), BACKGROUND)
        for class_index, (matched, unmatched) in enumerate(self.thresholds):
            rows = (labels == class_index).nonzero()[:, 0]
            boxes = widen_boxes(gt_boxes[rows].float(), self.min_size)
            near = self.anchors.touching(class_index, boxes, self.min_size)
            if len(near):
                anchors = nearest_aligned_bev(widen_boxes(self.anchors.boxes(near), self.min_size))
                match = match_anchors(iou_aligned(anchors, nearest_aligned_bev(boxes)), matched, unmatched)
                matches[near] = torch.where(match >= 0, rows[match.clamp(min=0)], match)
        return matches


def match_anchors(overlap: Tensor, matched: float, unmatched: float) -> Tensor:
    """Return each anchor's box, BACKGROUND or IGNORED [N] int64, from overlaps [N, M ≥ 1].

    An anchor is assigned the box that it overlaps most if the overlap is at least ``matched``, or if the anchor has
    the highest overlap with some box; else it is background below ``unmatched``, and ignored from there on.
    """
    most, box = overlap.max(dim=1)
    most_of_box = overlap.amax(dim=0)
    is_best_of_a_box = ((overlap == most_of_box) & (most_of_box > 0)).any(dim=1)
    unassigned = torch.where(most < unmatched, BACKGROUND, IGNORED)
    return torch.where((most >= matched) | is_best_of_a_box, box, unassigned)
