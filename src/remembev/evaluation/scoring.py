"""The official nuScenes detection score: the devkit's own ``DetectionEval`` on a submission, as a typed result.

The devkit is imported when something is scored, so that a ``DetectionScore`` can be read and shown without it.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from remembev.errors import DataError

if TYPE_CHECKING:
    from nuscenes import NuScenes

EVALUATION_CONFIG = "detection_cvpr_2019"

ERRORS = {"mATE": "trans_err", "mASE": "scale_err", "mAOE": "orient_err", "mAVE": "vel_err", "mAAE": "attr_err"}
"""Names of the five true-positive errors as papers and as the devkit have them: m, 1 - IoU, rad, m/s, 1 - accuracy."""

_BEYOND_EVERY_RANGE = 1e7


@dataclass(frozen=True)
class DetectionScore:
    """A detection score. Errors are NaN where a class has none by definition (a cone has no heading)."""

    mean_ap: float
    nds: float
    errors: dict[str, float]
    """The five mean errors, keyed as in ``ERRORS``."""
    class_ap: dict[str, float]
    class_errors: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """The score as plain values for JSON, which knows no NaN: those become null."""
        plain: dict[str, Any] = asdict(self)
        plain["class_errors"] = {
            name: {key: None if math.isnan(value) else value for key, value in errors.items()}
            for name, errors in self.class_errors.items()
        }
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> DetectionScore:
        """The score that ``to_json`` wrote; other keys are ignored."""
        class_errors = {
            name: {key: math.nan if value is None else value for key, value in errors.items()}
            for name, errors in plain["class_errors"].items()
        }
        return cls(plain["mean_ap"], plain["nds"], dict(plain["errors"]), dict(plain["class_ap"]), class_errors)


def score_submission(submission: Path, data_root: Path, version: str, scene_names: Sequence[str]) -> DetectionScore:
    """Score a submission on the samples of ``scene_names``, which it has to hold exactly.

    Raises DataError for a submission that can't be read or holds other samples, for a data set that isn't there, for
    scenes it doesn't know, and where there are no annotations to score against.
    """
    results = _read_results(submission)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        nusc = _open_devkit(data_root, version)
        _check_samples(nusc, submission, results, scene_names)
        if not any(results.values()):
            submission = _write_unseen_box(Path(folder), results)
        metrics = _evaluate(nusc, submission, Path(folder), scene_names)
    return _as_score(metrics)


def score_table(score: DetectionScore, *, title: str = "") -> Table:
    """A score as a table for the terminal: one row a class, the means last."""
    table = Table(title=title or None, title_justify="left")
    table.add_column("class")
    for name in ("AP", *(key[1:] for key in ERRORS)):
        table.add_column(name, justify="right")
    for name, ap in score.class_ap.items():
        errors = (score.class_errors[name][key] for key in ERRORS)
        table.add_row(name, f"{ap:.3f}", *("–" if math.isnan(error) else f"{error:.3f}" for error in errors))
    table.add_section()
    table.add_row("mean", f"{score.mean_ap:.3f}", *(f"{score.errors[key]:.3f}" for key in ERRORS), style="bold")
    table.add_row("NDS", f"{score.nds:.3f}", style="bold")
    return table


def _read_results(submission: Path) -> dict[str, list[dict[str, Any]]]:
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
        return NuScenes(version=version, dataroot=str(data_root), verbose=False)
    except (AssertionError, OSError, KeyError, ValueError) as error:
        raise DataError(f"the devkit can't open version {version!r} in {data_root}: {error}") from error


def _check_samples(nusc: NuScenes, submission: Path, results: Mapping[str, object], scene_names: Sequence[str]) -> None:
    known = {scene["name"]: scene["token"] for scene in nusc.scene}
    unknown = sorted(set(scene_names) - set(known))
    if unknown or not scene_names:
        raise DataError(f"{nusc.dataroot} ({nusc.version}) has no scene {', '.join(unknown) or 'to score'}")
    wanted_scenes = {known[name] for name in scene_names}
    samples = [sample for sample in nusc.sample if sample["scene_token"] in wanted_scenes]
    wanted = {sample["token"] for sample in samples}
    missing, foreign = wanted - set(results), set(results) - wanted
    if missing or foreign:
        example = next(iter(missing or foreign))
        raise DataError(
            f"{submission} lacks {len(missing)} of the {len(wanted)} samples to score and holds {len(foreign)} others, "
            f"for instance {example}: a submission needs every sample of the split, with an empty list where nothing is"
        )
    if not any(sample["anns"] for sample in samples):
        raise DataError(
            f"{nusc.dataroot} ({nusc.version}) has no annotations for these scenes: nothing to score against"
        )


def _write_unseen_box(folder: Path, results: Mapping[str, object]) -> Path:
    """The submission without any box as the devkit can read it: with one box beyond the range of every class.

    The devkit takes the kind of boxes from the first one it finds, and fails if there is none; this one it drops.
    """
    token = next(iter(results))
    box = {
        "sample_token": token,
        "translation": [_BEYOND_EVERY_RANGE, 0.0, 0.0],
        "size": [1.0, 1.0, 1.0],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [0.0, 0.0],
        "detection_name": "car",
        "detection_score": 0.0,
        "attribute_name": "",
    }
    path = folder / "submission.json"
    path.write_text(json.dumps({"meta": {}, "results": {**results, token: [box]}}))
    return path


def _evaluate(nusc: NuScenes, submission: Path, folder: Path, scene_names: Sequence[str]) -> Any:
    """Run ``DetectionEval`` on a custom split that holds just these scenes.

    The devkit knows splits called train and val too, but ties them to the versions of the released data; a custom
    split of the same scenes gives the same numbers, and does so for any data set and any part of it.
    """
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    splits = folder / nusc.version / "splits.json"
    splits.parent.mkdir()
    splits.write_text(json.dumps({"scored": list(scene_names)}))
    nusc.dataroot = str(folder)
    try:
        evaluation = DetectionEval(
            nusc,
            config_factory(EVALUATION_CONFIG),
            result_path=str(submission),
            eval_set="scored",
            output_dir=str(folder / "devkit"),
            verbose=False,
        )
        return evaluation.evaluate()[0]
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{submission} is not accepted by the nuScenes devkit: {error!r}") from error


def _as_score(metrics: Any) -> DetectionScore:
    class_ap = {name: float(metrics.mean_dist_aps[name]) for name in metrics.cfg.class_names}
    class_errors = {
        name: {key: float(metrics.get_label_tp(name, devkit_key)) for key, devkit_key in ERRORS.items()}
        for name in metrics.cfg.class_names
    }
    errors = {key: float(metrics.tp_errors[devkit_key]) for key, devkit_key in ERRORS.items()}
    return DetectionScore(float(metrics.mean_ap), float(metrics.nd_score), errors, class_ap, class_errors)
