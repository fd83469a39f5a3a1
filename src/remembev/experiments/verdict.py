"""The verdict on two variants: their differences in pairs of the same seed, against the spread of these differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from statistics import mean, stdev

from remembev.experiments.measures import Measure

Values = Mapping[int, float]
"""Values by seed."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over ``n`` seeds; None for too few."""

    mean: float | None
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Values) -> Spread:
        """Return the spread of values by seed."""
        numbers = list(values.values())
        return cls(mean(numbers) if numbers else None, stdev(numbers) if len(numbers) > 1 else None, len(numbers))

    def text(self, digits: int, *, sign: bool = False) -> str:
        """Return the mean ± standard deviation; whole numbers without, a dash without a value."""
        if self.mean is None:
            return "–"
        rounded = round(self.mean, digits) + 0.0  # no -0
        text = f"{rounded:{'+' if sign else ''},.{digits}f}"
        return text if self.sd is None or digits == 0 else f"{text} ± {self.sd:.{digits}f}"


class Verdict(Enum):
    """A mean difference against the standard deviation of the differences over the seeds."""

    BETTER = "better"
    WORSE = "worse"
    WITHIN = "within the spread"
    ONE_SEED = "one seed"
    OPEN = "not measured"


@dataclass(frozen=True)
class Difference:
    """A variant against a reference on one measure.

    Attributes:
        values: Values of the variant by seed.
        reference: Values of the reference by seed.
    """

    measure: Measure
    values: Values
    reference: Values

    @cached_property
    def by_seed(self) -> dict[int, float]:
        """The variant's value less the reference's of the same seed, for seeds that have both."""
        return {seed: value - self.reference[seed] for seed, value in self.values.items() if seed in self.reference}

    @property
    def spread(self) -> Spread:
        """Mean and spread of the differences."""
        return Spread.of(self.by_seed)

    @property
    def verdict(self) -> Verdict:
        """Better or worse if the mean is farther from zero than the standard deviation."""
        spread = self.spread
        if spread.mean is None:
            return Verdict.OPEN
        if spread.sd is None:
            return Verdict.ONE_SEED
        if abs(spread.mean) <= spread.sd:
            return Verdict.WITHIN
        return Verdict.BETTER if (spread.mean > 0) == (self.measure.better == "higher") else Verdict.WORSE

    def text(self) -> str:
        """Return the mean difference ± standard deviation, with a sign."""
        return self.spread.text(self.measure.digits, sign=True)
