"""A detection score as nuScenes has it: a typed result that can be read and shown without the devkit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rich.table import Table

ERRORS = {"mATE": "trans_err", "mASE": "scale_err", "mAOE": "orient_err", "mAVE": "vel_err", "mAAE": "attr_err"}
"""Names of the five true-positive errors as papers and as the devkit have them: m, 1 - IoU, rad, m/s, 1 - accuracy."""


class Curve(NamedTuple):
    """Precision and confidence over recall from 0 to 1, 101 numbers each."""

    recall: list[float]
    precision: list[float]
    confidence: list[float]


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
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> DetectionScore:
        """The score that ``to_json`` wrote; other keys are ignored."""
        return cls(
            _number(plain["mean_ap"]),
            _number(plain["nds"]),
            _numbers(plain["errors"]),
            _numbers(plain["class_ap"]),
            {name: _numbers(errors) for name, errors in plain["class_errors"].items()},
        )


def without_nan(value: Any) -> Any:
    """Plain values as they are, but None for NaN."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def score_table(score: DetectionScore, *, title: str = "") -> Table:
    """A score as a table for the terminal: one row a class, the means last."""
    table = Table(title=title or None, title_justify="left")
    table.add_column("class")
    for name in ("AP", *(key[1:] for key in ERRORS)):
        table.add_column(name, justify="right")
    for name, ap in score.class_ap.items():
        table.add_row(name, *(shown(value) for value in (ap, *(score.class_errors[name][key] for key in ERRORS))))
    table.add_section()
    table.add_row("mean", *(shown(value) for value in (score.mean_ap, *score.errors.values())), style="bold")
    table.add_row("NDS", shown(score.nds), style="bold")
    return table


def shown(value: float) -> str:
    """A number for a table, a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: _number(value) for key, value in values.items()}
