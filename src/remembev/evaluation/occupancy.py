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


def score_occupancy(frames: Sequence[FrameObservability], occupancy: Sequence[Tensor], grid: BEVGrid) -> OccupancyScore:
    """The score of a detector over the frames of a split.

    occupancy   one [H_m, W_m] on ``grid`` a frame, or none at all where a detector has no occupancy
    """
    none = torch.zeros(0)
    cells = torch.cat([none.long(), *(observability_cells(frame, grid).flatten() for frame in frames if occupancy)])
    values = torch.cat([none, *(one.flatten() for one in occupancy)])
    free = values[cells == Observability.FREE]
    return OccupancyScore(
        auc_seen=roc_auc(values[cells == Observability.SEEN], free),
        auc_hidden=roc_auc(values[cells == Observability.HIDDEN], free),
        auc_unseen=roc_auc(values[cells == Observability.UNSEEN], free),
        occupancy_ap=average_precision(values[cells >= Observability.UNSEEN], free),
    )


def observability_cells(sighted: FrameObservability, grid: BEVGrid) -> Tensor:
    """The ``Observability`` of every cell of a grid, int64 [H, W]."""
    covered = rasterise_boxes(sighted.frame.boxes, grid) * sighted.sight[:, None, None]
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
