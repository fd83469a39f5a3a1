"""The official nuScenes tracking score: AMOTA, AMOTP, identity switches and the devkit's other measures.

``TrackingEval`` is the devkit's, unmodified; it needs motmetrics and pandas, which the devkit doesn't install.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rich.table import Table

from remembev.errors import DataError
from remembev.evaluation.official import OfficialTruth, silence
from remembev.evaluation.scoring import format_number, nan_to_none

TRACKING_NAMES = ("bicycle", "bus", "car", "motorcycle", "pedestrian", "trailer", "truck")
"""Classes that the tracking challenge scores."""
SHOWN = ("amota", "amotp", "recall", "mota", "motp", "ids", "frag", "fp", "fn")
"""Measures in the table for the terminal, by the devkit's names."""
_COUNTS = ("mt", "ml", "tp", "fp", "fn", "ids", "frag", "gt")
_CONFIG = "tracking_nips_2019"


@dataclass(frozen=True)
class TrackingScore:
    """An official tracking score, by the devkit's names of the measures; undefined values are NaN.

    Attributes:
        metrics: Mean over the classes, or sum where the measure is a count: ``amota``, ``amotp``, ``ids``, …
        class_metrics: The same of each class.
    """

    metrics: Mapping[str, float]
    class_metrics: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None for NaN; the means on the top level."""
        plain: dict[str, Any] = nan_to_none({**self.metrics, "classes": self.class_metrics})
        return plain


def check_installed() -> None:
    """Raise ModuleNotFoundError if motmetrics or pandas is missing; the devkit would raise ``SkipTest``."""
    for package in ("motmetrics", "pandas"):
        import_module(package)


def score_tracking(truth: OfficialTruth, results: Mapping[str, Any], name: object) -> TrackingScore:
    """Score tracks on the scenes of ``truth``.

    Args:
        truth: The scenes.
        results: Boxes of a tracking submission by sample token.
        name: Of the submission, for errors.

    Raises:
        DataError: If the submission is not of exactly these samples, or the devkit can't read it.
        ModuleNotFoundError: Without motmetrics or pandas.
    """
    check_installed()
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.common.loaders import load_gt_of_sample_tokens
    from nuscenes.eval.tracking.data_classes import TrackingBox
    from nuscenes.eval.tracking.evaluate import TrackingEval

    truth.check_samples(results, name)
    cfg = config_factory(_CONFIG)
    samples = sorted(truth.samples, key=lambda token: truth.nusc.get("sample", token)["timestamp"])
    with silence():
        annotated = load_gt_of_sample_tokens(truth.nusc, samples, TrackingBox)
        try:
            submitted = EvalBoxes.deserialize({token: results[token] for token in samples}, TrackingBox)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name} is not accepted by the nuScenes devkit: {error!r}") from error
        # The constructor loads splits by name, and refuses nuScenes' names in versions other than nuScenes' own.
        evaluation = TrackingEval.__new__(TrackingEval)
        evaluation.cfg, evaluation.verbose = cfg, False
        evaluation.output_dir = evaluation.render_classes = None
        evaluation.tracks_gt = _tracks(truth, annotated, cfg, gt=True)
        evaluation.tracks_pred = _tracks(truth, submitted, cfg, gt=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas' own, about what the devkit asks of it
            metrics, _ = evaluation.evaluate()
            summary = metrics.serialize()
    by_measure = summary["label_metrics"]
    return TrackingScore(
        {measure: float(summary[measure]) for measure in by_measure},
        {label: {measure: float(by_measure[measure][label]) for measure in by_measure} for label in cfg.class_names},
    )


def tracking_table(score: TrackingScore) -> Table:
    """Return a score as a table for the terminal: one row per class, then the means."""
    table = Table(title="tracking", title_justify="left")
    table.add_column("class")
    for measure in SHOWN:
        table.add_column(measure.upper(), justify="right")
    for label, values in score.class_metrics.items():
        table.add_row(label, *(_cell(measure, values[measure]) for measure in SHOWN))
    table.add_section()
    table.add_row("all", *(_cell(measure, score.metrics[measure]) for measure in SHOWN), style="bold")
    return table


def _tracks(truth: OfficialTruth, boxes: Any, cfg: Any, *, gt: bool) -> Any:
    """Return the devkit's tracks of the boxes that count, by scene and time."""
    from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes
    from nuscenes.eval.tracking.loaders import create_tracks

    if boxes.all:  # the devkit takes the kind of boxes from the first one, and fails if there is none
        boxes = filter_eval_boxes(truth.nusc, add_center_dist(truth.nusc, boxes), cfg.class_range)
    # The split only adds frames that the boxes lack; these have every frame of their scenes, in order of time.
    return create_tracks(boxes, truth.nusc, "val", gt)


def _cell(measure: str, value: float) -> str:
    return f"{value:.0f}" if measure in _COUNTS and value == value else format_number(value)
