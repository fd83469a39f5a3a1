"""Recall, precision and false boxes of single annotated frames, with the matching of the nuScenes devkit.

An object counts with a LiDAR point and its centre in the model's range, a box with its centre in that range. A box that
matches no counted object of its class within ``MATCH_METRES`` is false, a second box on an object too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from remembev.data import Frame
from remembev.data.frame import centred_within
from remembev.evaluation.matching import MATCH_METRES, class_distances
from remembev.evaluation.observability import WELL_SEEN
from remembev.evaluation.scoring import nan_to_none
from remembev.models import Detections
from remembev.tracking import match_greedily

MOVING_SPEED = 1.0
"""Annotated speed in m/s above which an object counts as moving."""
PRECISION = 0.85
"""Precision at which the recall of a class is reported."""
_MIN_RECALL, _MIN_PRECISION = 0.1, 0.1
"""The devkit's average precision leaves out recalls and precisions below."""
_HEADING_PERIOD = {"barrier": math.pi, "traffic_cone": math.nan}
"""A barrier has no front, a cone no heading."""


@dataclass(frozen=True)
class FrameMatches:
    """The K boxes of a frame that count, best first, matched with the M objects that count.

    Attributes:
        scene: Name of the scene.
        sample_token: Of the frame.
        annotated: False if nothing is known of the objects.
        scores: [K] float64.
        labels: [K].
        match: [K], index of the object that each box matches, -1 for none.
        heading_errors: [K] rad, NaN for a box without a match or a class without a heading.
        remembered_scores: [R] float64, of the boxes in range without a point of the current turn inside, whether they
            count or not.
        object_labels: [M].
        object_points: [M], LiDAR points inside.
        object_speeds: [M] m/s, 0 if unknown.
    """

    scene: str
    sample_token: str
    annotated: bool
    scores: Tensor
    labels: Tensor
    match: Tensor
    heading_errors: Tensor
    remembered_scores: Tensor
    object_labels: Tensor
    object_points: Tensor
    object_speeds: Tensor


def match_in_range(
    frame: Frame,
    detections: Detections,
    class_names: Sequence[str],
    point_cloud_range: Sequence[float],
    *,
    scene: str,
    annotated: bool,
    remembered: bool,
) -> FrameMatches:
    """Match the boxes of a frame in range with its objects in range that have a LiDAR point.

    Args:
        frame: The frame.
        detections: Its boxes.
        class_names: The classes that labels of both index.
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) of the model; z is not looked at.
        scene: Name of the scene.
        annotated: False if nothing is known of the objects.
        remembered: Boxes without a point of the current turn inside count too.
    """
    detections = detections[detections.scores.argsort(descending=True, stable=True)]
    detections = detections[centred_within(detections.boxes, point_cloud_range)]
    remembered_scores = detections.scores[detections.remembered].double()
    detections = detections if remembered else detections[~detections.remembered]
    frame = frame.select_objects(centred_within(frame.boxes, point_cloud_range) & (frame.num_points > 0))
    match = torch.from_numpy(match_greedily(class_distances(detections, frame).numpy(), MATCH_METRES))
    hit = match >= 0
    heading_errors = torch.full((len(match),), math.nan, dtype=torch.float64)
    difference = detections.boxes[hit, 6].double() - frame.boxes[match[hit], 6].double()
    periods = torch.tensor([_HEADING_PERIOD.get(name, 2 * math.pi) for name in class_names], dtype=torch.float64)
    heading_errors[hit] = _heading_error(difference, periods[detections.labels[hit]])
    return FrameMatches(
        scene=scene,
        sample_token=frame.sample_token,
        annotated=annotated,
        scores=detections.scores.double(),
        labels=detections.labels,
        match=match,
        heading_errors=heading_errors,
        remembered_scores=remembered_scores,
        object_labels=frame.labels,
        object_points=frame.num_points,
        object_speeds=frame.boxes[:, 7:9].norm(dim=1),
    )


@dataclass(frozen=True)
class FrameScore:
    """Counts over frames at one score threshold, of one class or of all; mean heading errors are NaN without a match.

    Attributes:
        frames: Number of frames.
        objects: Objects with a point.
        found: Objects that a box matches.
        false_boxes: Boxes that match nothing.
        well_seen: Objects with at least ``WELL_SEEN`` points.
        well_seen_found: Of these, those that a box matches.
        heading_error: Mean over the matched boxes in rad.
        heading_error_moving: Mean over the matched boxes of objects faster than ``MOVING_SPEED``.
    """

    frames: int
    objects: int
    found: int
    false_boxes: int
    well_seen: int
    well_seen_found: int
    heading_error: float
    heading_error_moving: float

    @property
    def recall(self) -> float:
        """Share of the objects that are found."""
        return _ratio(self.found, self.objects)

    @property
    def precision(self) -> float:
        """Share of the boxes that match an object."""
        return _ratio(self.found, self.found + self.false_boxes)

    @property
    def false_per_frame(self) -> float:
        """False boxes a frame."""
        return _ratio(self.false_boxes, self.frames)

    @property
    def well_seen_recall(self) -> float:
        """Share of the well seen objects that are found."""
        return _ratio(self.well_seen_found, self.well_seen)

    @property
    def well_seen_precision(self) -> float:
        """Precision without the boxes that match other objects: neither right nor wrong."""
        return _ratio(self.well_seen_found, self.well_seen_found + self.false_boxes)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None for NaN."""
        rates = ("recall", "precision", "false_per_frame", "well_seen_recall", "well_seen_precision")
        plain: dict[str, Any] = nan_to_none({**vars(self), **{name: getattr(self, name) for name in rates}})
        return plain


def score_frames(frames: Sequence[FrameMatches], threshold: float, label: int | None = None) -> FrameScore:
    """Return the counts over frames of the boxes that score at least ``threshold``, of one class or of all."""
    found, well_seen_found, false_boxes, well_seen, objects = 0, 0, 0, 0, 0
    errors, moving_errors = [], []
    for frame in frames:
        counted = (frame.scores >= threshold) & _has_label(frame.labels, label)
        hit = counted & (frame.match >= 0)
        matched = frame.match[hit]
        of_class = _has_label(frame.object_labels, label)
        objects += int(of_class.sum())
        well_seen += int((of_class & (frame.object_points >= WELL_SEEN)).sum())
        found += len(matched)
        well_seen_found += int((frame.object_points[matched] >= WELL_SEEN).sum())
        false_boxes += int(counted.sum()) - len(matched)
        errors.append(frame.heading_errors[hit])
        moving_errors.append(frame.heading_errors[hit][frame.object_speeds[matched] > MOVING_SPEED])
    return FrameScore(
        frames=len(frames),
        objects=objects,
        found=found,
        false_boxes=false_boxes,
        well_seen=well_seen,
        well_seen_found=well_seen_found,
        heading_error=_mean(errors),
        heading_error_moving=_mean(moving_errors),
    )


@dataclass(frozen=True)
class RecallAtPrecision:
    """The highest recall at a precision of at least ``PRECISION``, and its score threshold; NaN if there is none."""

    recall: float
    threshold: float


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of a class, pooled over frames, at each of its S distinct scores, highest first."""

    objects: int
    thresholds: Tensor  # [S] float64
    precision: Tensor  # [S] float64
    recall: Tensor  # [S] float64, NaN without an object

    def average_precision(self) -> float:
        """Return the average precision as the devkit has it at one distance; NaN without an object."""
        if self.objects == 0:
            return math.nan
        if len(self.recall) == 0:
            return 0.0
        steps = np.linspace(0, 1, 101)
        precision = np.interp(steps, self.recall.numpy(), self.precision.numpy(), right=0)
        counted = precision[round(100 * _MIN_RECALL) + 1 :] - _MIN_PRECISION
        return float(counted.clip(min=0).mean()) / (1 - _MIN_PRECISION)

    def recall_at_precision(self) -> RecallAtPrecision:
        """Return the highest recall over the thresholds at which the precision is at least ``PRECISION``."""
        rows = torch.nonzero(self.precision >= PRECISION)[:, 0]
        if len(rows) == 0:
            return RecallAtPrecision(math.nan, math.nan)
        row = int(rows[-1])  # recall grows with the row
        return RecallAtPrecision(float(self.recall[row]), float(self.thresholds[row]))


def precision_recall(frames: Sequence[FrameMatches], label: int) -> PrecisionRecall:
    """Return precision and recall of a class, pooled over frames."""
    empty = torch.zeros(0, dtype=torch.float64)
    scores = torch.cat([empty, *(frame.scores[frame.labels == label] for frame in frames)])
    hits = torch.cat([empty, *((frame.match[frame.labels == label] >= 0).double() for frame in frames)])
    objects = sum(int((frame.object_labels == label).sum()) for frame in frames)
    scores, order = scores.sort(descending=True, stable=True)
    is_last = torch.cat((scores[1:] != scores[:-1], torch.ones(min(1, len(scores)), dtype=torch.bool)))
    found = hits[order].cumsum(0)[is_last]
    boxes = torch.arange(1, len(scores) + 1, dtype=torch.float64)[is_last]
    recall = found / objects if objects else torch.full_like(found, math.nan)
    return PrecisionRecall(objects, scores[is_last], found / boxes, recall)


def _heading_error(difference: Tensor, period: Tensor) -> Tensor:
    """Return the absolute difference of headings modulo a period, in rad; NaN for a period of NaN."""
    return (torch.remainder(difference + period / 2, period) - period / 2).abs()


def _has_label(labels: Tensor, label: int | None) -> Tensor:
    return torch.ones_like(labels, dtype=torch.bool) if label is None else labels == label


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(parts: Sequence[Tensor]) -> float:
    values = torch.cat([torch.zeros(0, dtype=torch.float64), *parts])
    return float(values.nanmean())
