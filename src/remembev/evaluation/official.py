"""The official nuScenes detection score, of all objects or of a subset.

Loading, filtering, errors, ``calc_ap`` and ``calc_tp`` are the devkit's, unmodified; ``accumulation.py`` does what its
``accumulate`` does once for all subsets. The devkit is imported when something is scored.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from remembev.errors import DataError
from remembev.evaluation.accumulation import match_class
from remembev.evaluation.scoring import ERRORS, Curve, DetectionScore

if TYPE_CHECKING:
    from nuscenes import NuScenes
    from nuscenes.eval.detection.data_classes import DetectionMetricData

EVALUATION_CONFIG = "detection_cvpr_2019"

_UNDEFINED = {"traffic_cone": ("attr_err", "vel_err", "orient_err"), "barrier": ("attr_err", "vel_err")}
"""Errors that the official score leaves undefined, by class."""


class OfficialTruth:
    """The objects that the official score counts: in range of their class, with a point, in no bicycle rack.

    Attributes:
        samples: Sample tokens of the scenes.
        objects: Sample token of each object, and its index among the sample's annotations of detection classes.
    """

    def __init__(self, data_root: Path, version: str, scene_names: Sequence[str]) -> None:
        """Load the scenes with the devkit, which takes long.

        Raises:
            DataError: If the data set or a scene is missing, or nothing is annotated.
        """
        from nuscenes.eval.common.config import config_factory
        from nuscenes.eval.common.loaders import get_samples_of_scenes, load_gt_of_sample_tokens
        from nuscenes.eval.detection.data_classes import DetectionBox

        self.nusc = _open_devkit(data_root, version)
        _check_scenes(self.nusc, scene_names)
        self.cfg = config_factory(EVALUATION_CONFIG)
        with silence():
            self.samples: list[str] = get_samples_of_scenes(list(scene_names), self.nusc)
            if not any(self.nusc.get("sample", token)["anns"] for token in self.samples):
                raise DataError(f"{data_root} ({version}) has no annotations for these scenes; cannot score")
            annotated = load_gt_of_sample_tokens(self.nusc, self.samples, DetectionBox)
            for token in self.samples:
                for position, box in enumerate(annotated[token]):
                    box.position = position
            self.boxes = [box for boxes in self.in_range(annotated).values() for box in boxes]
        for number, box in enumerate(self.boxes):
            box.number = number
        self.objects: list[tuple[str, int]] = [(box.sample_token, box.position) for box in self.boxes]

    def in_range(self, boxes: Any) -> dict[str, list[Any]]:
        """Return the devkit's boxes of each sample without those that the official score ignores."""
        from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes

        if boxes.all:  # the devkit takes the kind of boxes from the first one, and fails if there is none
            boxes = filter_eval_boxes(self.nusc, add_center_dist(self.nusc, boxes), self.cfg.class_range)
        return {token: boxes[token] for token in self.samples}

    def match(self, results: Mapping[str, Any], name: object) -> OfficialMatches:
        """Match the boxes of a submission with the objects.

        Args:
            results: Boxes by sample token.
            name: Of the submission, for errors.

        Raises:
            DataError: If the submission is not of exactly these samples, or the devkit can't read it.
        """
        from nuscenes.eval.common.data_classes import EvalBoxes
        from nuscenes.eval.detection.data_classes import DetectionBox

        self.check_samples(results, name)
        try:
            boxes = EvalBoxes.deserialize({token: results[token] for token in self.samples}, DetectionBox)
            with silence():
                return OfficialMatches(self, self.in_range(boxes))
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name} is not accepted by the nuScenes devkit: {error!r}") from error

    def check_samples(self, results: Mapping[str, Any], name: object) -> None:
        """Raise DataError if results are not of exactly these samples, or are too many for one of them."""
        missing, foreign = set(self.samples) - set(results), set(results) - set(self.samples)
        if missing or foreign:
            example = next(iter(missing or foreign))
            raise DataError(
                f"{name} lacks {len(missing)} of the {len(self.samples)} samples to score and has {len(foreign)} "
                f"others, for example {example}: a submission needs every sample of the split, with an empty list "
                "for a sample without boxes"
            )
        limit = self.cfg.max_boxes_per_sample
        crowded = [token for token, boxes in results.items() if len(boxes) > limit]
        if crowded:
            raise DataError(f"{name}: more than {limit} boxes per sample, for example in {crowded[0]}")


class OfficialMatches:
    """The boxes of a submission, matched with the objects by the official rules at each distance threshold.

    The score of a subset of the objects ignores the boxes that match other objects. The rest matches as it would
    without them: a box that matches nothing has no free object near, and one that matches an object of the subset has
    no free object nearer, so that the ignored boxes and objects change neither.
    """

    def __init__(self, truth: OfficialTruth, boxes: Mapping[str, Sequence[Any]]) -> None:
        """Match ``boxes``, the devkit's by sample token."""
        self.truth = truth
        self.cfg = truth.cfg
        self._objects: dict[str, list[Any]] = {name: [] for name in self.cfg.class_names}
        for box in truth.boxes:
            self._objects[box.detection_name].append(box)
        by_class: dict[str, list[Any]] = {name: [] for name in self.cfg.class_names}
        for sample_boxes in boxes.values():
            for box in sample_boxes:
                by_class[box.detection_name].append(box)
        self._matched = {
            name: match_class(by_class[name], self._objects[name], self.cfg.dist_ths) for name in self.cfg.class_names
        }

    def score(self, counted: NDArray[np.bool_] | None = None, samples: Collection[str] | None = None) -> DetectionScore:
        """Return the score of all objects or of a subset.

        The score of a subset has the classes that occur in it; its means are NaN if it is empty.

        Args:
            counted: [n] bool, the objects that count; default: all.
            samples: Tokens of the samples that count; default: all.
        """
        from nuscenes.eval.detection.algo import calc_ap, calc_tp
        from nuscenes.eval.detection.data_classes import DetectionMetrics

        cfg = copy(self.cfg)
        if counted is not None or samples is not None:
            cfg.class_names = [name for name in cfg.class_names if self._count(name, counted, samples)]
        metrics = DetectionMetrics(cfg)
        for name in cfg.class_names:
            for distance in cfg.dist_ths:
                data = self._curves(name, distance, counted, samples)
                metrics.add_label_ap(name, distance, calc_ap(data, cfg.min_recall, cfg.min_precision))
                if distance == cfg.dist_th_tp:
                    for error in ERRORS.values():
                        defined = error not in _UNDEFINED.get(name, ())
                        value = calc_tp(data, cfg.min_recall, error) if defined else math.nan
                        metrics.add_label_tp(name, error, value)
        return _as_score(metrics)

    def curves(self) -> dict[str, Curve]:
        """Return the devkit's precision over recall of each class at the true-positive distance (2 m)."""
        curves = {}
        for name in self.cfg.class_names:
            data = self._curves(name, self.cfg.dist_th_tp, None, None)
            curves[name] = Curve(data.recall.tolist(), data.precision.tolist(), data.confidence.tolist())
        return curves

    def matched_scores(self) -> NDArray[np.float64]:
        """Return the score [n] of the box that matches each object at that distance, -inf without one."""
        scores = np.full(len(self.truth.boxes), -np.inf)
        for by_distance in self._matched.values():
            matched = by_distance[self.cfg.dist_th_tp]
            hits = matched.match >= 0
            scores[matched.match[hits]] = matched.scores[hits]
        return scores

    def _count(self, name: str, counted: NDArray[np.bool_] | None, samples: Collection[str] | None) -> int:
        """Return the number of objects of a class that count."""
        return sum(
            (counted is None or bool(counted[box.number])) and (samples is None or box.sample_token in samples)
            for box in self._objects[name]
        )

    def _curves(
        self, name: str, distance: float, counted: NDArray[np.bool_] | None, samples: Collection[str] | None
    ) -> DetectionMetricData:
        """Return the devkit's curves of a class over the objects that count."""
        matched = self._matched[name][distance]
        kept = np.ones(len(matched.boxes), dtype=np.bool_)
        if counted is not None:
            kept &= (matched.match < 0) | counted[matched.match]
        if samples is not None:
            kept &= np.array([box.sample_token in samples for box in matched.boxes], dtype=np.bool_)
        return matched.curves(kept, self._count(name, counted, samples))


def score_submission(submission: Path, data_root: Path, version: str, scene_names: Sequence[str]) -> DetectionScore:
    """Score a submission on the samples of some scenes.

    Raises:
        DataError: If the submission can't be read or is not of exactly these samples, the data set or a scene is
            missing, or nothing is annotated.
    """
    results = _read_results(submission)
    return OfficialTruth(data_root, version, scene_names).match(results, submission).score()


def _read_results(submission: Path) -> dict[str, Any]:
    try:
        results = json.loads(submission.read_text())["results"]
    except FileNotFoundError as error:
        raise DataError(f"{submission}: no such file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{submission}: not a nuScenes submission: expected JSON with a key 'results'") from error
    if not isinstance(results, dict):
        raise DataError(f"{submission}: 'results': expected lists of boxes by sample token")
    return results


def _open_devkit(data_root: Path, version: str) -> NuScenes:
    from nuscenes import NuScenes

    try:
        with silence():
            return NuScenes(version=version, dataroot=str(data_root), verbose=False)
    except (AssertionError, OSError, KeyError, ValueError) as error:
        raise DataError(f"the devkit can't open version {version!r} in {data_root}: {error}") from error


def _check_scenes(nusc: NuScenes, scene_names: Sequence[str]) -> None:
    unknown = sorted(set(scene_names) - {scene["name"] for scene in nusc.scene})
    if unknown or not scene_names:
        raise DataError(f"{nusc.dataroot} ({nusc.version}) has no scene {', '.join(unknown) or 'to score'}")


@contextmanager
def silence() -> Iterator[None]:
    """Discard what the devkit prints."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def _as_score(metrics: Any) -> DetectionScore:
    names = list(metrics.cfg.class_names)
    with warnings.catch_warnings():  # the mean of nothing is NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        errors = {key: float(metrics.tp_errors[error]) for key, error in ERRORS.items()}
        mean_ap, nds = float(metrics.mean_ap), float(metrics.nd_score)
        class_ap = {name: float(metrics.mean_dist_aps[name]) for name in names}
    class_errors = {
        name: {key: float(metrics.get_label_tp(name, error)) for key, error in ERRORS.items()} for name in names
    }
    return DetectionScore(mean_ap, nds if names else math.nan, errors, class_ap, class_errors)
