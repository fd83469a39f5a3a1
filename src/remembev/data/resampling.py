"""Class-balanced resampling (CBGS) of clips."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_resampling(has_class: Tensor) -> Tensor:
    """Draw equally many items for each class, with replacement (Zhu et al., 2019, §3.1, as in OpenPCDet).

    Each class that occurs gets the same share of all (item, class) pairs, rounded down. Items have several classes, so
    that class frequencies get closer, not equal. Draws from torch's default generator.

    Args:
        has_class: True where item n has class k [N, K] bool.

    Returns:
        Numbers of the items [N'] int64.
    """
    members = [items for column in has_class.unbind(dim=1) if len(items := column.nonzero()[:, 0])]
    share = int(has_class.sum()) // max(1, len(members))
    drawn = [items[torch.randint(len(items), (share,))] for items in members]
    return torch.cat([torch.zeros(0, dtype=torch.int64), *drawn])
