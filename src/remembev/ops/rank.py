"""Ranks and maxima within groups, without a loop over the groups."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_in_group(group: Tensor) -> Tensor:
    """Count the earlier elements of the same group: int64 [N] from group numbers [N], each at least 0."""
    order = group.argsort(stable=True)
    size = torch.bincount(group)
    start = size.cumsum(0) - size
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(group), device=group.device) - start[group[order]]
    return rank


def argmax_in_group(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the row of the largest value of each group and channel, the first of equals: int64 [G, C].

    A channel with a NaN in a group gets the group's first row.

    Args:
        values: [N, C].
        group: Group of each row [N]; every group has a row.
        groups: Number of groups G.
    """
    channels = values.shape[1]
    largest = values.new_full((groups, channels), -torch.inf)
    largest.scatter_reduce_(0, group[:, None].expand_as(values), values, "amax")
    row, channel = (~(values < largest[group])).nonzero(as_tuple=True)
    first = row.new_full((groups * channels,), len(values))
    return first.scatter_reduce_(0, group[row] * channels + channel, row, "amin").view(groups, channels)
