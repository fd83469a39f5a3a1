"""Losses of the detection head, not reduced over anchors, and of remembered objects."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from remembev.config.schema import ObjectsConfig
from remembev.memory.objects import ObjectMemory


def sigmoid_focal_loss(logits: Tensor, is_class: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the focal loss −α_t (1 − p_t)^γ log p_t [...] of logits [...] (Lin et al., ICCV 2017, eq. 5)."""
    margin = torch.where(is_class, logits, -logits)  # p_t = σ(margin)
    weight = torch.where(is_class, alpha, 1 - alpha)
    return -weight * torch.sigmoid(-margin).pow(gamma) * F.logsigmoid(margin)


def weighted_l1_loss(errors: Tensor, code_weights: Tensor) -> Tensor:
    """Return the weighted sums [P] of the errors' [P, C] absolute values; NaN, of an unknown target, counts 0."""
    return (torch.where(errors.isnan(), 0.0, errors).abs() * code_weights).sum(dim=-1)


def presence_loss(
    objects: ObjectMemory, gt_boxes: Tensor, gt_labels: Tensor, known: Tensor, cfg: ObjectsConfig
) -> Tensor:
    """Return the weighted focal loss [] of the presence of remembered objects, over the number of those still there.

    It is the loss of the head's scores, so that the scores of remembered boxes and of found ones mean the same.

    An object is there if one of its class has its centre less than ``SAME_WITHIN`` metres from its own; if that is not
    ``known``, the remembered object doesn't count.

    Args:
        objects: Objects in the frame's coordinates, with their presence.
        gt_boxes: True boxes [B, M, 9].
        gt_labels: Their labels [B, M], -1 pads.
        known: True for objects that the model can know of [B, M] bool.
        cfg: The configuration's OBJECTS.
    """
    distance = (objects.boxes[:, :, None, :2] - gt_boxes[:, None, :, :2].float()).norm(dim=-1)
    near = (distance < cfg.SAME_WITHIN) & (objects.labels[..., None] == gt_labels[:, None]) & objects.valid[..., None]
    there = (near & known[:, None]).any(dim=2)
    counts = objects.valid & (there | ~near.any(dim=2))
    losses = sigmoid_focal_loss(objects.presence, there) * counts
    return cfg.LOSS_WEIGHT * losses.sum() / there.sum().clamp(min=1)
