"""What is measured once a seed: results on disk, means and spread, differences in pairs, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from remembev.files import atomic_write

RESULT_FILE = "result.json"


def read_result(run: Path, *, asked: Mapping[str, str] | None = None, name: str = RESULT_FILE) -> dict[str, Any] | None:
    """The result in a run's folder; None where there is none, or one with other values than those ``asked`` for."""
    file = run / name
    if not file.is_file():
        return None
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result if all(result.get(key) == value for key, value in (asked or {}).items()) else None


def write_result(run: Path, result: Mapping[str, Any], *, name: str = RESULT_FILE) -> None:
    """Write a result into a run's folder."""
    with atomic_write(run / name) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def discard_result(run: Path) -> None:
    """Let a run have no result."""
    (run / RESULT_FILE).unlink(missing_ok=True)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample) over ``n`` seeds, as far as they can be had."""

    mean: float | None
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Mapping[int, float]) -> Spread:
        """That of values by seed."""
        numbers = list(values.values())
        return cls(mean(numbers) if numbers else None, stdev(numbers) if len(numbers) > 1 else None, len(numbers))

    def text(self, digits: int, *, sign: bool = False) -> str:
        """Mean ± standard deviation, of whole numbers the mean alone; ``-`` without a value."""
        if self.mean is None:
            return "-"
        rounded = round(self.mean, digits) + 0.0  # no -0
        text = f"{rounded:{'+' if sign else ''}.{digits}f}"
        return text if self.sd is None or digits == 0 else f"{text} ± {self.sd:.{digits}f}"

    @property
    def exceeded(self) -> bool | None:
        """Whether the mean is farther from zero than the standard deviation; None for fewer than two seeds."""
        return None if self.mean is None or self.sd is None else abs(self.mean) > self.sd


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """Values by seed, less those of the same seed of a reference, for the seeds that have both."""
    return {seed: value - reference[seed] for seed, value in values.items() if seed in reference}


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown has it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
