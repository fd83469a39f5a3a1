"""The devkit's curves of one class over any of its boxes: what its ``accumulate`` does once boxes are matched.

``accumulate`` matches anew each time it is asked. Here a class is matched once, and each part of it is a mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from remembev.evaluation.matching import match_greedily

if TYPE_CHECKING:
    from nuscenes.eval.detection.data_classes import DetectionMetricData


@dataclass(frozen=True)
class MatchedClass:
    """The boxes of a class, P of them and the best first, with the objects that they find at one distance.

    boxes   the devkit's
    scores  [P]
    found   [P] ``number`` of the object, -1 for none
    errors  [F] of each of the devkit's kinds, of the boxes that find one
    """

    boxes: Sequence[Any]
    scores: NDArray[np.float64]
    found: NDArray[np.int64]
    errors: Mapping[str, NDArray[np.float64]]

    def curves(self, kept: NDArray[np.bool_], objects: int) -> DetectionMetricData:
        """Precision, confidence and errors over recall, of the boxes that are ``kept`` [P], for so many objects.

        Source: nuScenes devkit, ``nuscenes/eval/detection/algo.py``, to whose numbers it is equal to the last bit.
        """
        from nuscenes.eval.common.utils import cummean
        from nuscenes.eval.detection.data_classes import DetectionMetricData

        hits = (self.found >= 0)[kept]
        if objects == 0 or not hits.any():
            return DetectionMetricData.no_predictions()
        right = hits.cumsum().astype(np.float64)
        recall, steps = right / objects, np.linspace(0, 1, DetectionMetricData.nelem)
        precision = np.interp(steps, recall, right / np.arange(1, len(hits) + 1), right=0)
        scores = self.scores[kept]
        confidence = np.interp(steps, recall, scores, right=0)
        errors = {
            kind: np.interp(confidence[::-1], scores[hits][::-1], cummean(values[kept[self.found >= 0]])[::-1])[::-1]
            for kind, values in self.errors.items()
        }
        return DetectionMetricData(recall=steps, precision=precision, confidence=confidence, **errors)


def match_class(boxes: Sequence[Any], objects: Sequence[Any], limits: Sequence[float]) -> dict[float, MatchedClass]:
    """Match the devkit's boxes of a class with its objects, which have a ``number``, at each distance in metres."""
    # Best first in the devkit's order: of equal scores the one that comes last.
    boxes = [boxes[row] for row in np.lexsort((range(len(boxes)), [box.detection_score for box in boxes]))[::-1]]
    scores = np.array([box.detection_score for box in boxes], dtype=np.float64)
    found = {limit: np.full(len(boxes), -1) for limit in limits}
    boxes_on, objects_on = _rows_by_sample(boxes), _rows_by_sample(objects)
    numbers = np.array([truth.number for truth in objects], dtype=np.int64)
    for token in boxes_on.keys() & objects_on.keys():
        rows, columns = np.array(boxes_on[token]), np.array(objects_on[token])
        distances = _distances([boxes[row] for row in rows], [objects[column] for column in columns])
        for limit, of_class in found.items():
            column = match_greedily(distances, limit)
            of_class[rows[column >= 0]] = numbers[columns[column[column >= 0]]]
    by_number = {truth.number: truth for truth in objects}
    known: dict[tuple[int, int], dict[str, float]] = {}  # most pairs are the same at all distances
    matched = {}
    for limit, of_class in found.items():
        pairs = [(row, int(of_class[row])) for row in np.flatnonzero(of_class >= 0)]
        for row, number in pairs:
            if (row, number) not in known:
                known[row, number] = _errors(by_number[number], boxes[row])
        errors = {kind: np.array([known[pair][kind] for pair in pairs]) for kind in _KINDS}
        matched[limit] = MatchedClass(boxes, scores, of_class, errors)
    return matched


_KINDS = ("trans_err", "vel_err", "scale_err", "orient_err", "attr_err")


def _errors(truth: Any, box: Any) -> dict[str, float]:
    """What is wrong with a box that finds an object, by the devkit's functions."""
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
    """The devkit's centre distances [P, G] in metres."""
    centres, others = (np.array([one.translation[:2] for one in of]) for of in (boxes, objects))
    distances: NDArray[np.float64] = np.linalg.norm(centres[:, None] - others, axis=2)
    return distances


def _rows_by_sample(boxes: Sequence[Any]) -> dict[str, list[int]]:
    """Places in the list, by sample."""
    found: dict[str, list[int]] = {}
    for row, box in enumerate(boxes):
        found.setdefault(box.sample_token, []).append(row)
    return found
