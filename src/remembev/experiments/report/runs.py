"""A comparison's folder as its report sees it: results, configurations and training curves of the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from remembev.config import Config, config_from_yaml
from remembev.experiments.claims import Claim, claims_of
from remembev.experiments.results import Results, run_folder
from remembev.training import TrainingRun
from remembev.viewing.curves import Curve, Curves, read_curves


@dataclass(frozen=True)
class ComparisonRuns:
    """The runs of a comparison, as far as they have come."""

    out: Path
    results: Results

    @classmethod
    def read(cls, out: Path) -> ComparisonRuns:
        """Read a folder. Raises DataError if it holds no comparison."""
        return cls(out, Results.read(out))

    @property
    def variants(self) -> list[str]:
        """Names of the variants in their order."""
        return self.results.variants

    @property
    def seeds(self) -> list[int]:
        """The seeds of the comparison, trained or not."""
        return list(self.results.comparison["seeds"])

    def runs(self, variant: str) -> dict[int, TrainingRun]:
        """Return the runs of a variant by seed, begun or not."""
        return {seed: TrainingRun(run_folder(self.out, seed, variant)) for seed in self.seeds}

    def metrics(self, variant: str) -> list[Mapping[str, Any]]:
        """Return what ``remembev eval`` measured of a variant, a run each."""
        return [run["eval"] for run in self.results.runs[variant].values()]

    def example(self, key: str) -> Any:
        """Return any run's metrics under a key, to tell what there is; None if no run has it."""
        values = (metrics.get(key) for variant in self.variants for metrics in self.metrics(variant))
        return next((value for value in values if value), None)

    @cached_property
    def curves(self) -> dict[str, list[Curves]]:
        """Training curves by variant, of the runs that have begun."""
        return {
            variant: [read_curves(run.curves) for run in self.runs(variant).values() if run.curves.is_file()]
            for variant in self.variants
        }

    def curve(self, variant: str, logged: str) -> list[Curve]:
        """Return one logged quantity of a variant, of the runs that have it."""
        return [curves[logged] for curves in self.curves[variant] if logged in curves]

    @cached_property
    def configs(self) -> dict[str, str]:
        """Configurations as text, of the variants that have begun."""
        files = {
            variant: next((run.config for run in self.runs(variant).values() if run.config.is_file()), None)
            for variant in self.variants
        }
        return {variant: file.read_text(encoding="utf-8") for variant, file in files.items() if file is not None}

    @cached_property
    def parsed(self) -> dict[str, Config]:
        """Configurations of the variants that have begun."""
        return {variant: config_from_yaml(text, name=variant) for variant, text in self.configs.items()}

    @cached_property
    def claims(self) -> list[Claim]:
        """The claims that the comparison can decide."""
        return claims_of(self.results, self.parsed)
