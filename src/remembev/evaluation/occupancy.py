"""How well the occupancy that the memory gives knows of objects in sight and out of sight.

nuScenes scores no object without a point. Here every cell of a frame has the ``Observability`` of the object in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.evaluation.observability import FrameObservability, Observability
from remembev.geometry import BEVGrid, rasterise_boxes


@dataclass(frozen=True)
class OccupancyScore:
    """How well occupancy tells cells of objects from free ones; NaN where there is nothing to tell by."""

    auc_seen: float
    """ROC AUC, cells of seen objects against free ones."""
    auc_hidden: float
    """The same for hidden objects."""
    auc_unseen: float
    """The same for objects that no frame has shown yet: what can be known without having seen them."""
    occupancy_ap: float
    """Average precision, cells of all objects against free ones."""


def score_occupancy(
    frames: Sequence[FrameObservability], occupancy: Sequence[Tensor], grid: BEVGrid
) -> OccupancyScore | None:
    """Return the score of a detector's occupancy over the frames of a split; None for a detector without one.

    Args:
        frames: The objects of every frame.
        occupancy: One [H_m, W_m] on ``grid`` a frame, or none at all.
        grid: The memory's grid.
    """
    if not occupancy:
        return None
    cells = torch.cat([observability_cells(frame, grid).flatten() for frame in frames])
    values = torch.cat([values.flatten() for values in occupancy])
    free = values[cells == Observability.FREE]
    return OccupancyScore(
        auc_seen=roc_auc(values[cells == Observability.SEEN], free),
        auc_hidden=roc_auc(values[cells == Observability.HIDDEN], free),
        auc_unseen=roc_auc(values[cells == Observability.UNSEEN], free),
        occupancy_ap=average_precision(values[cells >= Observability.UNSEEN], free),
    )


def observability_cells(sighted: FrameObservability, grid: BEVGrid) -> Tensor:
    """The ``Observability`` of every cell of a grid, int64 [H, W]."""
    covered = rasterise_boxes(sighted.frame.boxes, grid) * sighted.level[:, None, None]
    return torch.cat((covered, covered.new_zeros(1, grid.height, grid.width))).amax(dim=0)


def roc_auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive [P] scores above a negative [N], equal ones counted half; NaN without a pair."""
    if not len(positive) or not len(negative):
        return math.nan
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive, right=False)
    not_above = torch.searchsorted(ordered, positive, right=True)
    return float((below + not_above).sum()) / (2 * len(positive) * len(negative))


def average_precision(positive: Tensor, negative: Tensor) -> float:
    """Area under the precision-recall curve as steps, equal scores entering together; NaN without a positive."""
    if not len(positive):
        return math.nan
    hits = len(positive) - torch.searchsorted(positive.sort().values, positive)
    false = len(negative) - torch.searchsorted(negative.sort().values, positive)
    return float((hits.double() / (hits + false)).mean())
