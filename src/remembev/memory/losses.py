"""The loss of the occupancy: bootstrapped cross entropy and dice against scene_masks; ramps over the training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from remembev.config.schema import OccupancyLossConfig


def ramp(progress: float, start: float, end: float, during: tuple[float, float]) -> float:
    """What goes linearly from ``start`` to ``end`` while the progress of the training, 0 to 1, is in ``during``."""
    passed = min(max((progress - during[0]) / max(during[1] - during[0], 1e-9), 0.0), 1.0)
    return start + passed * (end - start)


def bootstrapped_cross_entropy(logits: Tensor, target: Tensor, share: float, positive_weight: float = 1.0) -> Tensor:
    """Mean binary cross entropy [] over the hardest ``share`` of each item's cells; both [B, 1, H, W].

    Occupied cells count ``positive_weight`` times.
    """
    weight = logits.new_tensor(positive_weight)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=weight).flatten(1)
    return losses.topk(max(1, int(share * losses.shape[1])), dim=1).values.mean()


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 − 2 |p ∩ y| / (|p| + |y|) [], smoothed by one cell and averaged over the items; both [B, 1, H, W]."""
    probability, target = logits.sigmoid().flatten(1), target.flatten(1)
    shared = (probability * target).sum(dim=1)
    return (1 - (2 * shared + 1) / (probability.sum(dim=1) + target.sum(dim=1) + 1)).mean()


def dilated(masks: Tensor, cells: int) -> Tensor:
    """Masks [B, 1, H, W] with everything in them widened by so many cells, corners included."""
    return F.max_pool2d(masks, 2 * cells + 1, stride=1, padding=cells)


def occupancy_loss(occ_logits: Tensor, scene_masks: Tensor, cfg: OccupancyLossConfig, progress: float) -> Tensor:
    """Weighted loss [] of occupancy logits [B, 1, H_m, W_m] against true masks of the same shape."""
    with torch.autocast(occ_logits.device.type, enabled=False):
        logits, target = occ_logits.float(), dilated(scene_masks.float(), cfg.DILATE)
        cross_entropy = bootstrapped_cross_entropy(
            logits, target, ramp(progress, 1.0, cfg.BOOTSTRAP_TOP, cfg.BOOTSTRAP_WARMUP), cfg.POSITIVE_WEIGHT
        )
        return cfg.WEIGHT * (cross_entropy + cfg.DICE * dice_loss(logits, target))
