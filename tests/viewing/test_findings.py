"""What is said of two models over several seeds follows from the numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remembev.viewing.findings import Finding, Verdict, claim_sentence, listed

BASE = {0: 0.2, 1: 0.4, 2: 0.3}


def found(differences: list[float], *, claimed: bool = True, label: str = "permanence") -> Finding:
    seeds = range(len(differences))
    return Finding(label, {seed: BASE[seed] + differences[seed] for seed in seeds}, BASE, claimed)


@pytest.mark.parametrize(
    ("differences", "verdict", "holds", "costs_nothing"),
    [
        ([0.1, 0.2, 0.15], Verdict.BETTER, True, True),
        ([0.1, -0.1, 0.06], Verdict.WITHIN, False, True),
        ([-0.1, -0.2, -0.15], Verdict.WORSE, False, False),
        ([0.0, 0.0, 0.0], Verdict.WITHIN, False, True),
        ([0.5], Verdict.ONE_SEED, None, None),
        ([], Verdict.OPEN, None, None),
    ],
)
def test_a_difference_counts_where_it_is_larger_than_its_spread_over_the_seeds(
    differences: list[float], verdict: Verdict, holds: bool | None, costs_nothing: bool | None
) -> None:
    assert found(differences).verdict is verdict
    assert found(differences).holds is holds
    assert found(differences, claimed=False).holds is costs_nothing


@given(st.lists(st.integers(-100, 100), min_size=3, max_size=3))
def test_what_is_better_one_way_round_is_worse_the_other(differences: list[int]) -> None:
    one = found([0.5 * difference for difference in differences])
    other = Finding(one.label, one.second, one.first)
    opposite = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    assert other.verdict is opposite.get(one.verdict, one.verdict)


def test_only_seeds_that_both_models_have_are_compared() -> None:
    finding = Finding("mAP", {0: 0.5, 1: 0.6, 7: 9.0}, {0: 0.25, 1: 0.5, 2: -9.0})
    assert finding.differences == pytest.approx({0: 0.25, 1: 0.1})


def test_a_claim_names_gains_losses_and_what_it_costs() -> None:
    said = claim_sentence(
        "gate",
        "single",
        [
            found([0.1, 0.2, 0.15], label="a"),
            found([0.1, -0.1, 0.06], label="b"),
            found([-0.1, -0.2, -0.15], label="c"),
            found([-0.1, -0.2, -0.15], label="d over all", claimed=False),
        ],
    )
    assert said == (
        "gate beats single by more than the spread over seeds on a. No difference beyond the spread on b. gate is "
        "worse than single by more than the spread on c. It costs more than the spread on d over all (−0.150 ± 0.050)."
    )


@pytest.mark.parametrize("differences", [[0.1, 0.2, 0.15], [0.1, -0.1, 0.06], [-0.1, -0.2, -0.15], [0.5], []])
def test_no_gain_is_told_where_there_is_none(differences: list[float]) -> None:
    finding = found(differences)
    assert ("beats" in claim_sentence("gate", "single", [finding])) == (finding.verdict is Verdict.BETTER)
    assert finding.answer.startswith("yes") == bool(finding.holds)


def test_what_is_listed_reads_as_in_a_sentence() -> None:
    assert [listed(["a", "b", "c"][:count]) for count in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
