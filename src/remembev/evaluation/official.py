"""The official nuScenes detection score, of all objects or of some: the devkit's own steps on a submission.

Loading, filtering, errors, ``calc_ap`` and ``calc_tp`` are the devkit's, unmodified; its ``accumulate`` is done
once for all parts. The devkit is imported when something is scored.
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
"""Errors that the official score does not ask of a class."""


class OfficialTruth:
    """The objects that the official score asks for: in range of their class, with a point, in no bicycle rack.

    objects  sample token of each, and its place among those annotations of the sample that are of a detection class
    """

    def __init__(self, data_root: Path, version: str, scene_names: Sequence[str]) -> None:
        """Load the devkit, which is what takes long.

        Raises DataError for a data set that isn't there, for scenes it doesn't know, and where nothing is annotated.
        """
        from nuscenes.eval.common.config import config_factory
        from nuscenes.eval.common.loaders import get_samples_of_scenes, load_gt_of_sample_tokens
        from nuscenes.eval.detection.data_classes import DetectionBox

        self.nusc = _open_devkit(data_root, version)
        _check_scenes(self.nusc, scene_names)
        self.cfg = config_factory(EVALUATION_CONFIG)
        with _silence():
            self.samples: list[str] = get_samples_of_scenes(list(scene_names), self.nusc)
            if not any(self.nusc.get("sample", token)["anns"] for token in self.samples):
                raise DataError(
                    f"{data_root} ({version}) has no annotations for these scenes: nothing to score against"
                )
            annotated = load_gt_of_sample_tokens(self.nusc, self.samples, DetectionBox)
            for token in self.samples:
                for place, box in enumerate(annotated[token]):
                    box.place = place
            self.boxes = [box for boxes in self.in_range(annotated).values() for box in boxes]
        for number, box in enumerate(self.boxes):
            box.number = number
        self.objects: list[tuple[str, int]] = [(box.sample_token, box.place) for box in self.boxes]

    def in_range(self, boxes: Any) -> dict[str, list[Any]]:
        """The devkit's boxes of each sample without those that the official score leaves out."""
        from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes

        if boxes.all:  # the devkit takes the kind of boxes from the first one, and fails if there is none
            boxes = filter_eval_boxes(self.nusc, add_center_dist(self.nusc, boxes), self.cfg.class_range)
        return {token: boxes[token] for token in self.samples}

    def match(self, results: Mapping[str, Any], name: object) -> OfficialMatches:
        """The boxes of a submission, by sample token, matched with the objects.

        Raises DataError, with the ``name`` of the submission, if it isn't of just these samples or the devkit
        can't read it.
        """
        from nuscenes.eval.common.data_classes import EvalBoxes
        from nuscenes.eval.detection.data_classes import DetectionBox

        self._check_samples(results, name)
        try:
            boxes = EvalBoxes.deserialize({token: results[token] for token in self.samples}, DetectionBox)
            with _silence():
                return OfficialMatches(self, self.in_range(boxes))
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name} is not accepted by the nuScenes devkit: {error!r}") from error

    def _check_samples(self, results: Mapping[str, Any], name: object) -> None:
        missing, foreign = set(self.samples) - set(results), set(results) - set(self.samples)
        if missing or foreign:
            example = next(iter(missing or foreign))
            raise DataError(
                f"{name} lacks {len(missing)} of the {len(self.samples)} samples to score and holds {len(foreign)} "
                f"others, for instance {example}: a submission needs every sample of the split, with an empty list "
                "where nothing is"
            )
        limit = self.cfg.max_boxes_per_sample
        crowded = [token for token, boxes in results.items() if len(boxes) > limit]
        if crowded:
            raise DataError(f"{name}: more than {limit} boxes per sample, for instance in {crowded[0]}")


class OfficialMatches:
    """The boxes of a submission, and which object the official rules let each of them find at each distance.

    A score of some objects ignores the boxes that find others. The rest is matched as it would be without them: in the
    greedy matching of all, a box that finds nothing has no free object near, and one that finds an object of the
    subset has none nearer, so that neither misses the objects and boxes that are gone.
    """

    def __init__(self, truth: OfficialTruth, boxes: Mapping[str, Sequence[Any]]) -> None:
        self.truth = truth
        self.cfg = truth.cfg
        self._objects: dict[str, list[Any]] = {name: [] for name in self.cfg.class_names}
        for box in truth.boxes:
            self._objects[box.detection_name].append(box)
        of_class: dict[str, list[Any]] = {name: [] for name in self.cfg.class_names}
        for of_sample in boxes.values():
            for box in of_sample:
                of_class[box.detection_name].append(box)
        self._matched = {
            name: match_class(of_class[name], self._objects[name], self.cfg.dist_ths) for name in self.cfg.class_names
        }

    def score(self, counted: NDArray[np.bool_] | None = None, samples: Collection[str] | None = None) -> DetectionScore:
        """The score of all objects, or of those ``counted`` [n] on some ``samples``.

        Of a part the means are over the classes that it holds, and of others there is no score; NaN if it is empty.
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
        """Precision over recall of each class at the distance of the true-positive errors (2 m), as the devkit's."""
        found = {}
        for name in self.cfg.class_names:
            data = self._curves(name, self.cfg.dist_th_tp, None, None)
            found[name] = Curve(data.recall.tolist(), data.precision.tolist(), data.confidence.tolist())
        return found

    def found_at(self) -> NDArray[np.float64]:
        """The score [n] of the box that finds each object at that distance, -inf where none does."""
        found = np.full(len(self.truth.boxes), -np.inf)
        for of_class in self._matched.values():
            matched = of_class[self.cfg.dist_th_tp]
            hits = matched.found >= 0
            found[matched.found[hits]] = matched.scores[hits]
        return found

    def _count(self, name: str, counted: NDArray[np.bool_] | None, samples: Collection[str] | None) -> int:
        """How many objects of a class count."""
        return sum(
            (counted is None or bool(counted[box.number])) and (samples is None or box.sample_token in samples)
            for box in self._objects[name]
        )

    def _curves(
        self, name: str, distance: float, counted: NDArray[np.bool_] | None, samples: Collection[str] | None
    ) -> DetectionMetricData:
        """The devkit's curves of a class over the objects that count, without the boxes that find others."""
        matched = self._matched[name][distance]
        kept = np.ones(len(matched.boxes), dtype=np.bool_)
        if counted is not None:
            kept &= (matched.found < 0) | counted[matched.found]
        if samples is not None:
            kept &= np.array([box.sample_token in samples for box in matched.boxes], dtype=np.bool_)
        return matched.curves(kept, self._count(name, counted, samples))


def score_submission(submission: Path, data_root: Path, version: str, scene_names: Sequence[str]) -> DetectionScore:
    """Score a submission on the samples of ``scene_names``, which it has to hold exactly.

    Raises DataError for a submission that can't be read or holds other samples, for a data set that isn't there, for
    scenes it doesn't know, and where there are no annotations to score against.
    """
    results = _read_results(submission)
    return OfficialTruth(data_root, version, scene_names).match(results, submission).score()


def _read_results(submission: Path) -> dict[str, Any]:
    try:
        results = json.loads(submission.read_text())["results"]
    except FileNotFoundError as error:
        raise DataError(f"there is no submission {submission}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{submission} is no nuScenes submission: it needs JSON with a key 'results'") from error
    if not isinstance(results, dict):
        raise DataError(f"{submission}: 'results' has to map sample tokens to lists of boxes")
    return results


def _open_devkit(data_root: Path, version: str) -> NuScenes:
    from nuscenes import NuScenes

    try:
        with _silence():
            return NuScenes(version=version, dataroot=str(data_root), verbose=False)
    except (AssertionError, OSError, KeyError, ValueError) as error:
        raise DataError(f"the devkit can't open version {version!r} in {data_root}: {error}") from error


def _check_scenes(nusc: NuScenes, scene_names: Sequence[str]) -> None:
    unknown = sorted(set(scene_names) - {scene["name"] for scene in nusc.scene})
    if unknown or not scene_names:
        raise DataError(f"{nusc.dataroot} ({nusc.version}) has no scene {', '.join(unknown) or 'to score'}")


@contextmanager
def _silence() -> Iterator[None]:
    """The devkit prints."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def _as_score(metrics: Any) -> DetectionScore:
    names = list(metrics.cfg.class_names)
    with warnings.catch_warnings():  # means of nothing are NaN, as they should be
        warnings.simplefilter("ignore", RuntimeWarning)
        errors = {key: float(metrics.tp_errors[error]) for key, error in ERRORS.items()}
        mean_ap, nds = float(metrics.mean_ap), float(metrics.nd_score)
        class_ap = {name: float(metrics.mean_dist_aps[name]) for name in names}
    class_errors = {
        name: {key: float(metrics.get_label_tp(name, error)) for key, error in ERRORS.items()} for name in names
    }
    return DetectionScore(mean_ap, nds if names else math.nan, errors, class_ap, class_errors)
