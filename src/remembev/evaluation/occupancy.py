"""Scores of the memory's occupancy: separation of objects from free space, by the objects' observability.

The official score ignores objects without a point; here every cell has the ``Observability`` of the object in it.
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
    """Scores of an occupancy; NaN without cells to compare.

    Attributes:
        auc_seen: ROC AUC of cells of well seen objects against free cells.
        auc_hidden: ROC AUC of cells of hidden objects against free cells.
        auc_unseen: ROC AUC of cells of objects that never had a point: a control, what can be guessed.
        occupancy_ap: Average precision of cells of all objects in range against free cells.
    """

    auc_seen: float
    auc_hidden: float
    auc_unseen: float
    occupancy_ap: float


def score_occupancy(
    frames: Sequence[FrameObservability], occupancy: Sequence[Tensor], grid: BEVGrid
) -> OccupancyScore | None:
    """Return the score of a detector's occupancy over the frames of a split; None for a detector without one.

    Args:
        frames: The objects of every frame.
        occupancy: One [H_m, W_m] on ``grid`` per frame, or none at all.
        grid: The memory's grid.
    """
    if not occupancy:
        return None
    pairs = [(values, observability_cells(frame, grid)) for frame, values in zip(frames, occupancy, strict=True)]

    def at(level: Observability) -> Tensor:
        return torch.cat([values[levels == level] for values, levels in pairs])

    free = at(Observability.FREE)
    objects = torch.cat([values[levels >= Observability.UNSEEN] for values, levels in pairs])
    return OccupancyScore(
        auc_seen=roc_auc(at(Observability.SEEN), free),
        auc_hidden=roc_auc(at(Observability.HIDDEN), free),
        auc_unseen=roc_auc(at(Observability.UNSEEN), free),
        occupancy_ap=average_precision(objects, free),
    )


def observability_cells(frame: FrameObservability, grid: BEVGrid) -> Tensor:
    """Return the ``Observability`` of every cell of a grid, int8 [H, W]."""
    levels = rasterise_boxes(frame.frame.boxes, grid) * frame.level[:, None, None]
    return torch.cat((levels, levels.new_zeros(1, grid.height, grid.width))).amax(dim=0).to(torch.int8)


def roc_auc(positive: Tensor, negative: Tensor) -> float:
    """Return the probability that a positive [P] scores above a negative [N], ties half; NaN without a pair."""
    if not len(positive) or not len(negative):
        return math.nan
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive, right=False)
    not_above = torch.searchsorted(ordered, positive, right=True)
    return float((below + not_above).sum()) / (2 * len(positive) * len(negative))


def average_precision(positive: Tensor, negative: Tensor) -> float:
    """Return the area under the precision-recall curve in steps, ties together; NaN without a positive."""
    if not len(positive):
        return math.nan
    hits = len(positive) - torch.searchsorted(positive.sort().values, positive)
    false_positives = len(negative) - torch.searchsorted(negative.sort().values, positive)
    return float((hits.double() / (hits + false_positives)).mean())
