"""Which box finds which object: the greedy one-to-one matching of the nuScenes devkit, on matrices.

Found is an object whose class a box has, whose centre is less than ``NEAR`` away, and which no better box has found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from remembev.evaluation.observability import FrameObservability
from remembev.models import Detections

NEAR = 2.0
"""Metres between the centres of a box and an object of its class below which the box is not false."""


def match_greedily(distance: NDArray[np.float64], limit: float) -> NDArray[np.int64]:
    """The object [P] that each box finds, -1 for none, of distances [P, G] with the best box first.

    Each takes the nearest one that no box before it has taken, the first of several, if it is nearer than ``limit``.
    """
    found = np.full(len(distance), -1)
    left = np.where(distance < limit, distance, np.inf)
    for row in np.flatnonzero((left < np.inf).any(axis=1)):
        column = left[row].argmin()
        if left[row, column] < np.inf:
            found[row] = column
            left[:, column] = np.inf
    return found


@dataclass(frozen=True)
class MatchedFrame:
    """The objects of a frame, M of them, with the score and the velocity of the box that finds each."""

    observability: FrameObservability
    found_at: Tensor  # [M] float64 score, -inf where no box finds it
    velocity_error: Tensor  # [M] m/s, NaN where no box finds it
    false: Tensor  # [F] float64 scores of the false boxes: near no object of their class, in sight or out of it


def match_frame(observability: FrameObservability, found: Detections) -> MatchedFrame:
    """Match the boxes of a frame with all its objects, those out of sight too; labels have to mean the same in both."""
    found = found[found.scores.argsort(descending=True, stable=True)]
    truth = observability.frame
    distance = torch.cdist(found.boxes[:, :2].double(), truth.boxes[:, :2].double())
    distance[found.labels[:, None] != truth.labels] = math.inf
    column = torch.from_numpy(match_greedily(distance.numpy(), NEAR))
    box = torch.nonzero(column >= 0)[:, 0]
    scores = found.scores.double()
    found_at = torch.full((len(truth.labels),), -math.inf, dtype=torch.float64)
    found_at[column[box]] = scores[box]
    velocity_error = torch.full((len(truth.labels),), math.nan)
    velocity_error[column[box]] = (found.velocities[box] - truth.boxes[column[box], 7:9]).norm(dim=1)
    return MatchedFrame(observability, found_at, velocity_error, scores[~(distance < NEAR).any(dim=1)])


def score_at(matched: Sequence[MatchedFrame], false_boxes: float) -> float:
    """The score above which there are at most so many false boxes a frame; -inf if that is so for all there are."""
    scores = torch.cat([torch.zeros(0, dtype=torch.float64), *(one.false for one in matched)])
    return score_allowing(scores, int(false_boxes * len(matched)))


def score_allowing(scores: Tensor, allowed: int) -> float:
    """The score that at most ``allowed`` of ``scores`` [N] are above: the lowest there is, -inf if all may be."""
    return -math.inf if len(scores) <= allowed else float(scores.sort(descending=True).values[allowed])
