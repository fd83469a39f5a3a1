"""Scatter pillars to the BEV map."""

from __future__ import annotations

from torch import Tensor

from remembev.geometry import BEVGrid


def scatter_pillars(features: Tensor, coords: Tensor, batch_size: int, grid: BEVGrid) -> Tensor:
    """Scatter features [P, C] to (sample, row, column) [P, 3] of a zero map [B, C, H, W], channels last."""
    sample, row, column = coords.unbind(dim=1)
    bev = features.new_zeros(batch_size, grid.height, grid.width, features.shape[1])
    return bev.index_put((sample, row, column), features).permute(0, 3, 1, 2)
