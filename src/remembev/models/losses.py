"""Losses of the detection head, not reduced over anchors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sigmoid_focal_loss(logits: Tensor, is_class: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the focal loss −α_t (1 − p_t)^γ log p_t [...] of logits [...] (Lin et al., ICCV 2017, eq. 5)."""
    margin = torch.where(is_class, logits, -logits)  # p_t = σ(margin)
    weight = torch.where(is_class, alpha, 1 - alpha)
    return -weight * torch.sigmoid(-margin).pow(gamma) * F.logsigmoid(margin)


def weighted_l1_loss(errors: Tensor, code_weights: Tensor) -> Tensor:
    """Return the weighted sums [P] of the errors' [P, C] absolute values; NaN, of an unknown target, counts 0."""
    return (torch.where(errors.isnan(), 0.0, errors).abs() * code_weights).sum(dim=-1)
