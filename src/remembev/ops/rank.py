"""Ranks within groups, without a loop over the groups."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_in_group(group: Tensor) -> Tensor:
    """How many elements before each one are of the same group: int64 [N] from group numbers [N], 0 or more each."""
    order = group.argsort(stable=True)
    size = torch.bincount(group)
    start = size.cumsum(0) - size
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(group), device=group.device) - start[group[order]]
    return rank
