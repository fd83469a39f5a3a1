"""Claims: made only where two variants differ in nothing but what is claimed, and true to the numbers."""

from __future__ import annotations

from typing import Any

import pytest

from remembev.config import DEFAULT_VARIANTS, Config, apply_variant, load_config
from remembev.experiments.claims import Claim, best_memory, claims_of, enumerated
from remembev.experiments.measures import scored
from remembev.experiments.results import Results
from remembev.experiments.verdict import Difference, Verdict

REFERENCE = {0: 0.2, 1: 0.4, 2: 0.3}
GATE, READ = "the gate over a single frame", "gate and read over a single frame"
INSTEAD = "the best memory on single frames over stacked sweeps"
ON_TOP = "the best memory on stacked sweeps over stacked sweeps alone"
OVER_TRACKER = "the best memory on single frames over a tracker"
WITH_TRACKER = "the best memory on single frames and a tracker over the tracker"
STACKED_OVER_TRACKER = "the best memory on stacked sweeps over a tracker"
STACKED_WITH_TRACKER = "the best memory on stacked sweeps and a tracker over the tracker"


# ---------------------------------------------------------------------------------------------------- which are claimed


def configs(*variants: str, base: str = "small") -> dict[str, Config]:
    return {variant: apply_variant(load_config(base), variant) for variant in variants}


def results(*variants: str, **permanence: float) -> Results:
    """Results of one seed, with the permanence of each variant, or none at all."""

    def run(value: float) -> dict[str, Any]:
        return {"eval": {"permanence": {"windows_s": [4.0], "false_boxes": [5.0], "recall": [[value]]}}}

    return Results({}, {name: {0: run(permanence[name])} if name in permanence else {} for name in variants})


def claimed(chosen: dict[str, Config], measured: Results | None = None) -> dict[str, tuple[str, str]]:
    found = claims_of(measured or results(*chosen), chosen)
    return {claim.title: (claim.variant, claim.reference) for claim in found}


@pytest.mark.parametrize("base", ["small", "benchmark", "nuscenes"])
def test_the_default_variants_decide_every_claim_on_every_configuration(base: str) -> None:
    assert claimed(configs(*DEFAULT_VARIANTS, base=base)) == {
        GATE: ("gate", "single"),
        READ: ("read", "single"),
        INSTEAD: ("gate", "sweeps"),
        ON_TOP: ("sweeps+read", "sweeps"),
        OVER_TRACKER: ("gate", "single+track"),
        WITH_TRACKER: ("read+track", "single+track"),
        STACKED_OVER_TRACKER: ("sweeps+read", "sweeps+track"),
        STACKED_WITH_TRACKER: ("sweeps+read+track", "sweeps+track"),
    }


def test_a_tracker_is_no_memory_and_what_it_brings_is_not_claimed_of_one() -> None:
    assert claimed(configs("single", "single+track", "sweeps", "sweeps+track", "conv_gru", "conv_gru+track")) == {}
    assert claimed(configs("single", "read+track")) == {}
    assert claimed(configs("single+track", "read+track")) == {WITH_TRACKER: ("read+track", "single+track")}


def test_a_memory_on_ten_sweeps_claims_nothing_over_a_single_frame() -> None:
    chosen = configs("single", "sweeps", "sweeps+gate", "sweeps+read")
    assert claimed(chosen) == {ON_TOP: ("sweeps+gate", "sweeps")}
    assert best_memory(results(*chosen), chosen) == ("sweeps+gate", "sweeps")


@pytest.mark.parametrize(
    "changes",
    [
        {"DATA_CONFIG.NUM_SWEEPS": 1},
        {"DATA_CONFIG.SEQ_LEN": 3},
        {"DATA_CONFIG.POINT_CLOUD_RANGE": [-20, -20, -5, 20, 20, 3]},
        {"DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE": [0.3125, 0.3125, 8.0]},
        {"MODEL.VFE.NUM_FILTERS": [16]},
        {"MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.MIN_POINTS_IN_GT": 2},
        {"OPTIMIZATION.LR": 0.01},
        {"OPTIMIZATION.NUM_EPOCHS": 9},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_else_two_variants_differ_in_they_decide_no_claim(changes: dict[str, object]) -> None:
    chosen = configs("single", "gate")
    assert claimed(chosen) == {GATE: ("gate", "single")}
    chosen["gate"] = chosen["gate"].with_changes(changes)
    assert claimed(chosen) == {}
    assert best_memory(results(*chosen), chosen) is None


def test_names_tell_nothing_and_a_recurrent_unit_is_no_memory() -> None:
    chosen = configs("single", "gate", "conv_gru")
    assert claimed({"gate": chosen["single"], "single": chosen["gate"]}) == {GATE: ("single", "gate")}
    assert claimed({"single": chosen["single"], "gate": chosen["conv_gru"]}) == {}


def test_the_best_memory_has_the_highest_permanence_of_those_that_can_be_compared() -> None:
    chosen = configs(*DEFAULT_VARIANTS)
    measured = results(*chosen, **{"gate": 0.2, "read": 0.3, "sweeps+read": 0.9})
    assert claimed(chosen, measured)[INSTEAD] == ("read", "sweeps")
    assert best_memory(measured, chosen) == ("read", "single")


# ------------------------------------------------------------------------------------------------------- what they say


def difference(differences: list[float], label: str = "permanence") -> Difference:
    values = {seed: REFERENCE[seed] + value for seed, value in enumerate(differences)}
    return Difference(scored(label, "value"), values, REFERENCE)


BETTER, WITHIN, WORSE = [0.1, 0.2, 0.15], [0.1, -0.1, 0.06], [-0.1, -0.2, -0.15]


@pytest.mark.parametrize(
    ("differences", "is_better", "is_not_worse"),
    [
        (BETTER, True, True),
        (WITHIN, False, True),
        (WORSE, False, False),
        ([0.0, 0.0, 0.0], False, True),
        ([0.5], None, None),
        ([], None, None),
    ],
)
def test_a_gain_must_exceed_the_spread_and_so_must_a_loss(
    differences: list[float], is_better: bool | None, is_not_worse: bool | None
) -> None:
    one = difference(differences)
    for claim, holds in (
        (Claim("a claim", "gate", "single", [one], []), is_better),
        (Claim("a claim", "gate", "single", [], [one]), is_not_worse),
    ):
        assert claim.holds(one) is holds
        assert claim.answer(one).startswith("yes") == bool(holds)
        assert claim.tally() == ("open" if holds is None else f"{int(holds)} of 1")


def test_a_claim_names_gains_losses_and_what_it_costs() -> None:
    better = [difference(BETTER, "a"), difference(WITHIN, "b"), difference(WORSE, "c")]
    claim = Claim("a claim", "gate", "single", better, [difference(WORSE, "d"), difference(WITHIN, "e")])
    assert claim.sentence() == (
        "gate beats single by more than the spread over seeds on a. There is no difference beyond the spread on b. "
        "gate is worse than single by more than the spread on c. It costs more than the spread on d (−0.150 ± 0.050)."
    )
    kept = Claim("a claim", "gate", "single", [], [difference(BETTER, "d"), difference(WITHIN, "e")])
    assert kept.sentence() == "It costs nothing beyond the spread on d and e."


@pytest.mark.parametrize("differences", [BETTER, WITHIN, WORSE, [0.5], []])
def test_no_gain_is_told_where_there_is_none(differences: list[float]) -> None:
    one = difference(differences)
    sentence = Claim("a claim", "gate", "single", [one], []).sentence()
    assert ("beats" in sentence) == (one.verdict is Verdict.BETTER)


def test_what_is_enumerated_reads_as_in_a_sentence() -> None:
    assert [enumerated(["a", "b", "c"][:count]) for count in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
