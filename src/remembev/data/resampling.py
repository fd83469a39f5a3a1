"""Class-balanced resampling (CBGS) of clips."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_resampling(holds: Tensor) -> Tensor:
    """Numbers [N'] int64 of items, drawn as often for each class (Zhu et al., 2019, §3.1, as in OpenPCDet).

    holds  [N, K] bool: which items hold which classes

    Of all pairs of an item and a class that it holds, each class that occurs gets an equal share, rounded down: that
    many items that hold it, drawn with replacement from torch's default generator. Since an item that is drawn for one
    class may hold others, classes come nearer to each other, not to equality.
    """
    members = [items for column in holds.unbind(dim=1) if len(items := column.nonzero()[:, 0])]
    share = int(holds.sum()) // max(1, len(members))
    drawn = [items[torch.randint(len(items), (share,))] for items in members]
    return torch.cat([torch.zeros(0, dtype=torch.int64), *drawn])
