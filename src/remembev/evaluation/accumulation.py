"""Precision and errors over recall of one class, as the devkit's ``accumulate`` computes them.

``accumulate`` matches anew on every call. Here a class is matched once, and each subset of its objects is a mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from remembev.tracking import match_greedily

if TYPE_CHECKING:
    from nuscenes.eval.detection.data_classes import DetectionMetricData


@dataclass(frozen=True)
class MatchedClass:
    """The P boxes of a class, best first, matched with its objects at one distance threshold.

    Attributes:
        boxes: The devkit's boxes.
        scores: [P].
        match: [P], ``number`` of the object that each box matches, -1 for none.
        errors: By the devkit's name, [F] for the F boxes that match.
    """

    boxes: Sequence[Any]
    scores: NDArray[np.float64]
    match: NDArray[np.int64]
    errors: Mapping[str, NDArray[np.float64]]

    def curves(self, kept: NDArray[np.bool_], num_objects: int) -> DetectionMetricData:
        """Return precision, confidence and errors over recall.

        Source: nuScenes devkit, ``nuscenes/eval/detection/algo.py``; the numbers are equal to the last bit.

        Args:
            kept: [P], the boxes that count.
            num_objects: Number of objects that count.
        """
        from nuscenes.eval.common.utils import cummean
        from nuscenes.eval.detection.data_classes import DetectionMetricData

        hits = (self.match >= 0)[kept]
        if num_objects == 0 or not hits.any():
            return DetectionMetricData.no_predictions()
        true_positives = hits.cumsum().astype(np.float64)
        recall, steps = true_positives / num_objects, np.linspace(0, 1, DetectionMetricData.nelem)
        precision = np.interp(steps, recall, true_positives / np.arange(1, len(hits) + 1), right=0)
        scores = self.scores[kept]
        confidence = np.interp(steps, recall, scores, right=0)
        errors = {
            name: np.interp(confidence[::-1], scores[hits][::-1], cummean(values[kept[self.match >= 0]])[::-1])[::-1]
            for name, values in self.errors.items()
        }
        return DetectionMetricData(recall=steps, precision=precision, confidence=confidence, **errors)


def match_class(boxes: Sequence[Any], objects: Sequence[Any], limits: Sequence[float]) -> dict[float, MatchedClass]:
    """Match the boxes of a class with its objects at each distance threshold.

    Args:
        boxes: The devkit's boxes.
        objects: The devkit's boxes, with a ``number`` each.
        limits: Distance thresholds in metres.
    """
    # Best first in the devkit's order: of equal scores the one that comes last.
    boxes = [boxes[row] for row in np.lexsort((range(len(boxes)), [box.detection_score for box in boxes]))[::-1]]
    scores = np.array([box.detection_score for box in boxes], dtype=np.float64)
    matches = {limit: np.full(len(boxes), -1) for limit in limits}
    boxes_of, objects_of = _rows_by_sample(boxes), _rows_by_sample(objects)
    numbers = np.array([truth.number for truth in objects], dtype=np.int64)
    for token in boxes_of.keys() & objects_of.keys():
        rows, columns = np.array(boxes_of[token]), np.array(objects_of[token])
        distances = _distances([boxes[row] for row in rows], [objects[column] for column in columns])
        for limit, match in matches.items():
            column = match_greedily(distances, limit)
            match[rows[column >= 0]] = numbers[columns[column[column >= 0]]]
    by_number = {truth.number: truth for truth in objects}
    cache: dict[tuple[int, int], dict[str, float]] = {}  # most pairs are the same at all thresholds
    matched = {}
    for limit, match in matches.items():
        pairs = [(row, int(match[row])) for row in np.flatnonzero(match >= 0)]
        for row, number in pairs:
            if (row, number) not in cache:
                cache[row, number] = _errors(by_number[number], boxes[row])
        errors = {name: np.array([cache[pair][name] for pair in pairs]) for name in _ERROR_NAMES}
        matched[limit] = MatchedClass(boxes, scores, match, errors)
    return matched


_ERROR_NAMES = ("trans_err", "vel_err", "scale_err", "orient_err", "attr_err")


def _errors(truth: Any, box: Any) -> dict[str, float]:
    """Return the errors of a box that matches an object, by the devkit's functions."""
    from nuscenes.eval.common.utils import attr_acc, center_distance, scale_iou, velocity_l2, yaw_diff

    period = math.pi if truth.detection_name == "barrier" else 2 * math.pi  # a barrier has no front
    return {
        "trans_err": center_distance(truth, box),
        "vel_err": velocity_l2(truth, box),
        "scale_err": 1 - scale_iou(truth, box),
        "orient_err": yaw_diff(truth, box, period),
        "attr_err": 1 - attr_acc(truth, box),
    }


def _distances(boxes: Sequence[Any], objects: Sequence[Any]) -> NDArray[np.float64]:
    """Return the devkit's centre distances [P, G] in metres."""
    box_xy, object_xy = (np.array([box.translation[:2] for box in group]) for group in (boxes, objects))
    distances: NDArray[np.float64] = np.linalg.norm(box_xy[:, None] - object_xy, axis=2)
    return distances


def _rows_by_sample(boxes: Sequence[Any]) -> dict[str, list[int]]:
    """Return indices into ``boxes`` by sample token."""
    rows: dict[str, list[int]] = {}
    for row, box in enumerate(boxes):
        rows.setdefault(box.sample_token, []).append(row)
    return rows
