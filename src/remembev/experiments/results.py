"""Results of a comparison: the files that runs leave, and all runs of a folder side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

from remembev.errors import DataError
from remembev.experiments.measures import FLICKER, FOUND, NDS, OCCUPANCY, SCORES, TRACKING, Measure, permanence_measures
from remembev.experiments.verdict import Difference, Values
from remembev.files import atomic_write

COMPARISON_FILE = "compare.json"
RESULT_FILE = "result.json"
EVAL_FOLDER = "eval"


def read_json(file: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file; None if there is no such file."""
    if not file.is_file():
        return None
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_result(run: Path, eval_settings: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the result of a run; None if there is none that was measured with these settings."""
    result = read_json(run / RESULT_FILE)
    if result is None or any(result.get(key) != value for key, value in eval_settings.items()):
        return None
    return result


def run_folder(out: Path, seed: int, variant: str) -> Path:
    """Return the folder of a variant's run."""
    return out / f"seed-{seed}" / variant


@dataclass(frozen=True)
class Results:
    """Measurements of each variant by seed, as far as a comparison has come.

    Attributes:
        comparison: The content of ``compare.json``.
        runs: By variant in their order and by seed: the ``result`` of a run and its ``eval`` metrics.
    """

    comparison: Mapping[str, Any]
    runs: Mapping[str, Mapping[int, Mapping[str, Any]]]

    @classmethod
    def read(cls, out: Path) -> Results:
        """Read a comparison's folder.

        Raises:
            DataError: If the folder holds no comparison.
        """
        comparison = read_json(out / COMPARISON_FILE)
        if comparison is None or "variants" not in comparison:
            raise DataError(f"{out} holds no comparison of variants ({COMPARISON_FILE})")
        eval_settings = {key: comparison[key] for key in ("split", "tracks")}
        runs: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in comparison["variants"]}
        for name, by_seed in runs.items():
            for seed in comparison["seeds"]:
                folder = run_folder(out, seed, name)
                result, metrics = read_result(folder, eval_settings), read_json(folder / EVAL_FOLDER / "metrics.json")
                if result is not None and metrics is not None:
                    by_seed[seed] = {"result": result, "eval": metrics}
        return cls(comparison, runs)

    @property
    def variants(self) -> list[str]:
        """Names of the variants in their order."""
        return list(self.runs)

    @property
    def reference(self) -> str:
        """The variant that the others are compared with: the first."""
        return self.variants[0]

    @property
    def empty(self) -> bool:
        """True if nothing has been measured yet."""
        return not any(self.runs.values())

    @cached_property
    def measures(self) -> list[Measure]:
        """The measures of which any run has a value."""
        return self.measured([*SCORES, *self.permanence, FLICKER, FOUND, *TRACKING, *OCCUPANCY])

    @property
    def compared_measures(self) -> list[Measure]:
        """The measures on which any variant differs from the reference in pairs of the same seed."""
        return [
            measure
            for measure in self.measures
            if any(self.difference(name, measure).by_seed for name in self.variants[1:])
        ]

    @cached_property
    def permanence(self) -> list[Measure]:
        """Permanence at each of its windows; none before a run has it."""
        measures = (permanence_measures(run["eval"]) for runs in self.runs.values() for run in runs.values())
        return next((found for found in measures if found), [])

    def measured(self, measures: Iterable[Measure]) -> list[Measure]:
        """Return those measures of which any run has a value."""
        return [measure for measure in measures if any(self.values(name, measure) for name in self.variants)]

    def values(self, variant: str, measure: Measure) -> dict[int, float]:
        """Return a variant's values by seed."""
        values = {seed: measure.of(run) for seed, run in self.runs[variant].items()}
        return {seed: value for seed, value in values.items() if value is not None}

    def difference(self, variant: str, measure: Measure, reference: str | None = None) -> Difference:
        """Return the difference of a variant to a reference, the first variant by default."""
        return Difference(measure, self.values(variant, measure), self.values(reference or self.reference, measure))

    def ratios(self, variant: str, measure: Measure) -> Values:
        """Return a variant's values over those of the first variant of the same seed."""
        first = self.values(self.reference, measure)
        return {seed: value / first[seed] for seed, value in self.values(variant, measure).items() if seed in first}

    def best(self, variants: Sequence[str]) -> str:
        """Return the variant with the highest mean permanence in the longest window, or NDS without permanence."""
        for measure in (*reversed(self.permanence), NDS):
            means = {name: mean(values.values()) for name in variants if (values := self.values(name, measure))}
            if means:
                return max(means, key=means.__getitem__)
        return variants[0]
