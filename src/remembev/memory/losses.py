"""Occupancy loss: bootstrapped cross entropy and dice against the true masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from remembev.config.schema import OccupancyLossConfig
from remembev.memory.masks import pool_masks


def occupancy_loss(occ_logits: Tensor, scene_masks: Tensor, cfg: OccupancyLossConfig, progress: float) -> Tensor:
    """Return the weighted loss [] of occupancy logits [B, 1, H_m, W_m] against true masks.

    Args:
        occ_logits: Predicted logits.
        scene_masks: True masks [B, 1, H, W] in {0, 1}, on any grid that H_m × W_m divides.
        cfg: The configuration's OCC_LOSS.
        progress: Share of the training that is done, 0 to 1.
    """
    with torch.autocast(occ_logits.device.type, enabled=False):
        logits, target = occ_logits.float(), pool_masks(scene_masks.float(), *occ_logits.shape[-2:])
        target = dilate(target, cfg.DILATE)
        hardest = ramp(progress, 1.0, cfg.BOOTSTRAP_TOP, cfg.BOOTSTRAP_WARMUP)
        cross_entropy = bootstrapped_cross_entropy(logits, target, hardest, cfg.POSITIVE_WEIGHT)
        return cfg.WEIGHT * (cross_entropy + cfg.DICE * dice_loss(logits, target))


def ramp(progress: float, start: float, end: float, during: tuple[float, float]) -> float:
    """Interpolate linearly from ``start`` to ``end`` while progress, 0 to 1, passes through ``during``."""
    passed = min(max((progress - during[0]) / max(during[1] - during[0], 1e-9), 0.0), 1.0)
    return start + passed * (end - start)


def bootstrapped_cross_entropy(logits: Tensor, target: Tensor, share: float, positive_weight: float = 1.0) -> Tensor:
    """Return the mean binary cross entropy [] over the hardest ``share`` of each item's cells; inputs [B, 1, H, W].

    Occupied cells count ``positive_weight`` times.
    """
    weight = logits.new_tensor(positive_weight)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=weight).flatten(1)
    return losses.topk(max(1, int(share * losses.shape[1])), dim=1).values.mean()


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 − 2 |p ∩ y| / (|p| + |y|) [], smoothed by one cell, averaged over items; inputs [B, 1, H, W]."""
    probability, target = logits.sigmoid().flatten(1), target.flatten(1)
    shared = (probability * target).sum(dim=1)
    return (1 - (2 * shared + 1) / (probability.sum(dim=1) + target.sum(dim=1) + 1)).mean()


def dilate(masks: Tensor, cells: int) -> Tensor:
    """Widen everything in masks [B, 1, H, W] by so many cells, corners included."""
    return F.max_pool2d(masks, 2 * cells + 1, stride=1, padding=cells)
