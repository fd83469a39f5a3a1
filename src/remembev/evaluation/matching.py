"""Matching of boxes with objects, greedy and one-to-one, as in the nuScenes devkit.

A box matches an object of its class whose centre is less than ``MATCH_METRES`` away and that no better box matches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.data import Frame
from remembev.evaluation.observability import FrameObservability
from remembev.models import Detections
from remembev.tracking import match_greedily

MATCH_METRES = 2.0
"""Distance between the centres of a box and an object of its class below which the box is no false positive."""


def class_distances(detections: Detections, frame: Frame) -> Tensor:
    """Return BEV centre distances [K, M] float64 in metres of boxes from objects; inf between different classes."""
    distance = torch.cdist(detections.boxes[:, :2].double(), frame.boxes[:, :2].double())
    distance[detections.labels[:, None] != frame.labels] = math.inf
    return distance


@dataclass(frozen=True)
class MatchedFrame:
    """The M objects of a frame, each with the box that matches it, and the F false positives."""

    observability: FrameObservability
    scores: Tensor  # [M] float64, of the matching boxes; -inf for an object without one
    velocity_errors: Tensor  # [M] m/s, of the matching boxes; NaN for an object without one
    false_positives: Tensor  # [F] float64, scores of the boxes with no object of their class near, hidden or not


def match_frame(observability: FrameObservability, detections: Detections) -> MatchedFrame:
    """Match the boxes of a frame with all its objects, hidden ones included; labels of both mean the same classes."""
    detections = detections[detections.scores.argsort(descending=True, stable=True)]
    truth = observability.frame
    distance = class_distances(detections, truth)
    match = torch.from_numpy(match_greedily(distance.numpy(), MATCH_METRES))
    box = torch.nonzero(match >= 0)[:, 0]
    box_scores = detections.scores.double()
    scores = torch.full((len(truth.labels),), -math.inf, dtype=torch.float64)
    scores[match[box]] = box_scores[box]
    velocity_errors = torch.full((len(truth.labels),), math.nan)
    velocity_errors[match[box]] = (detections.velocities[box] - truth.boxes[match[box], 7:9]).norm(dim=1)
    is_false = ~(distance < MATCH_METRES).any(dim=1)
    return MatchedFrame(observability, scores, velocity_errors, box_scores[is_false])


def threshold_at(matched: Sequence[MatchedFrame], false_boxes: float) -> float:
    """Return the score above which there are at most ``false_boxes`` false positives a frame; -inf if all may count."""
    scores = torch.cat([torch.zeros(0, dtype=torch.float64), *(frame.false_positives for frame in matched)])
    return threshold_allowing(scores, int(false_boxes * len(matched)))


def threshold_allowing(scores: Tensor, allowed: int) -> float:
    """Return the lowest of ``scores`` [N] that at most ``allowed`` of them exceed; -inf if all may count."""
    return -math.inf if len(scores) <= allowed else float(scores.sort(descending=True).values[allowed])
