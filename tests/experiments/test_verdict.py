"""The verdict on two variants follows from the numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remembev.experiments.measures import scored
from remembev.experiments.verdict import Difference, Verdict

REFERENCE = {0: 0.2, 1: 0.4, 2: 0.3}
RECALL, FLICKER = scored("recall", "recall"), scored("flicker", "flicker", better="lower")


def difference(differences: list[float], measure: object = RECALL) -> Difference:
    values = {seed: REFERENCE[seed] + value for seed, value in enumerate(differences)}
    return Difference(measure, values, REFERENCE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.1, 0.2, 0.15], Verdict.BETTER),
        ([0.1, -0.1, 0.06], Verdict.WITHIN),
        ([-0.1, -0.2, -0.15], Verdict.WORSE),
        ([0.0, 0.0, 0.0], Verdict.WITHIN),
        ([0.5], Verdict.ONE_SEED),
        ([], Verdict.OPEN),
    ],
)
def test_a_difference_counts_where_it_is_larger_than_its_spread_over_the_seeds(
    differences: list[float], verdict: Verdict
) -> None:
    assert difference(differences).verdict is verdict


@given(st.lists(st.integers(-100, 100), min_size=3, max_size=3))
def test_what_is_better_is_worse_the_other_way_round_and_where_less_is_better(differences: list[int]) -> None:
    one = difference([0.5 * value for value in differences])
    opposite = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}.get(one.verdict, one.verdict)
    assert Difference(RECALL, one.reference, one.values).verdict is opposite
    assert Difference(FLICKER, one.values, one.reference).verdict is opposite


def test_only_seeds_that_both_variants_have_are_compared() -> None:
    compared = Difference(RECALL, {0: 0.5, 1: 0.6, 7: 9.0}, {0: 0.25, 1: 0.5, 2: -9.0})
    assert compared.by_seed == pytest.approx({0: 0.25, 1: 0.1})


def test_whole_numbers_have_no_spread_and_zero_no_sign() -> None:
    assert difference([-0.0001, 0.0, 0.0001]).text() == "+0.000 ± 0.000"
    assert difference([]).text() == "–"
    assert difference([1000.0, 1000.0], scored("points", "points", digits=0)).text() == "+1,000"
