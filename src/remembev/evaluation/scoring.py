"""``DetectionScore``: the official nuScenes detection score as values that need no devkit to be read and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rich.table import Table

ERRORS = {"mATE": "trans_err", "mASE": "scale_err", "mAOE": "orient_err", "mAVE": "vel_err", "mAAE": "attr_err"}
"""The five true-positive errors, as papers and as the devkit name them: m, 1 - IoU, rad, m/s, 1 - accuracy."""


class Curve(NamedTuple):
    """Precision and confidence at 101 recalls from 0 to 1."""

    recall: list[float]
    precision: list[float]
    confidence: list[float]


@dataclass(frozen=True)
class DetectionScore:
    """An official detection score; errors that are undefined for a class are NaN (a cone has no heading).

    Attributes:
        mean_ap: mAP.
        nds: nuScenes detection score.
        errors: The five mean errors, keyed as in ``ERRORS``.
        class_ap: AP of each class, mean over the distance thresholds.
        class_errors: The five errors of each class.
    """

    mean_ap: float
    nds: float
    errors: dict[str, float]
    class_ap: dict[str, float]
    class_errors: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Return the score as plain values for JSON, None for NaN."""
        plain: dict[str, Any] = nan_to_none(asdict(self))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> DetectionScore:
        """Return the score that ``to_json`` wrote; other keys are ignored."""
        return cls(
            _number(plain["mean_ap"]),
            _number(plain["nds"]),
            _numbers(plain["errors"]),
            _numbers(plain["class_ap"]),
            {name: _numbers(errors) for name, errors in plain["class_errors"].items()},
        )


def nan_to_none(value: Any) -> Any:
    """Return plain values with None for NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {key: nan_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def score_table(score: DetectionScore, *, title: str = "") -> Table:
    """Return a score as a table for the terminal: one row per class, then the means and NDS."""
    table = Table(title=title or None, title_justify="left")
    table.add_column("class")
    for name in ("AP", *(key[1:] for key in ERRORS)):
        table.add_column(name, justify="right")
    for name, ap in score.class_ap.items():
        values = (ap, *(score.class_errors[name][key] for key in ERRORS))
        table.add_row(name, *map(format_number, values))
    table.add_section()
    table.add_row("mean", *map(format_number, (score.mean_ap, *score.errors.values())), style="bold")
    table.add_row("NDS", format_number(score.nds), style="bold")
    return table


def format_number(value: float) -> str:
    """Return a number for a table, a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: _number(value) for key, value in values.items()}
