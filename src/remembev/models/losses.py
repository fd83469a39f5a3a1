"""Losses of the detection head, not reduced over anchors, and of remembered objects."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from remembev.config.schema import ObjectsConfig
from remembev.memory.objects import FoundObjects, ObjectMemory, are_same


def sigmoid_focal_loss(logits: Tensor, is_class: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the focal loss −α_t (1 − p_t)^γ log p_t [...] of logits [...] (Lin et al., ICCV 2017, eq. 5)."""
    margin = torch.where(is_class, logits, -logits)  # p_t = σ(margin)
    weight = torch.where(is_class, alpha, 1 - alpha)
    return -weight * torch.sigmoid(-margin).pow(gamma) * F.logsigmoid(margin)


def weighted_l1_loss(errors: Tensor, code_weights: Tensor) -> Tensor:
    """Return the weighted sums [P] of the errors' [P, C] absolute values; NaN, of an unknown target, counts 0."""
    return (torch.where(errors.isnan(), 0.0, errors).abs() * code_weights).sum(dim=-1)


def presence_loss(
    objects: ObjectMemory, found: FoundObjects, gt_boxes: Tensor, gt_labels: Tensor, known: Tensor, cfg: ObjectsConfig
) -> Tensor:
    """Return the weighted focal loss [] of the presence of remembered objects, over the number of those still there.

    It is the loss of the head's scores, so that the scores of remembered boxes and of found ones mean the same.

    An object is there if one of its class has its centre less than ``SAME_WITHIN`` metres from its own, and from that
    of no box that the frame shows: it would be a second box of it. Objects that the frame shows don't count, and
    neither do those near one that is not ``known``.

    Args:
        objects: Objects in the frame's coordinates, with their presence.
        found: What the frame shows.
        gt_boxes: True boxes [B, M, 9].
        gt_labels: Their labels [B, M], -1 pads.
        known: True for objects that the model can know of [B, M] bool.
        cfg: The configuration's OBJECTS.
    """
    near = _near(objects, gt_boxes, gt_labels, cfg.SAME_WITHIN)
    is_found = (_near(found, gt_boxes, gt_labels, cfg.SAME_WITHIN) & (found.scores >= cfg.MIN_SCORE)[..., None]).any(
        dim=1
    )
    unseen = objects.valid & ~are_same(objects, found, cfg).any(dim=1)
    there = unseen & (near & (known & ~is_found)[:, None]).any(dim=2)
    counts = unseen & (there | ~(near & ~known[:, None]).any(dim=2))
    losses = sigmoid_focal_loss(objects.presence, there) * counts
    return cfg.LOSS_WEIGHT * losses.sum() / there.sum().clamp(min=1)


def _near(boxes: ObjectMemory | FoundObjects, gt_boxes: Tensor, gt_labels: Tensor, metres: float) -> Tensor:
    """Return True for boxes [B, N] and true boxes [B, M] of one class whose centres are nearer: bool [B, N, M]."""
    distance = (boxes.boxes[:, :, None, :2].float() - gt_boxes[:, None, :, :2].float()).norm(dim=-1)
    return (distance < metres) & (boxes.labels[..., None] == gt_labels[:, None]) & (gt_labels >= 0)[:, None]
