"""Variants: what each name changes, in every configuration alike, and names that mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest
import torch

from remembev.config import DEFAULT_VARIANTS, Config, apply_variant, load_config, shipped_configs
from remembev.config.variants import FOLLOWERS, INPUTS, MEMORIES, OPTIONS, TRAINING, describe_variant, trained_variant
from remembev.errors import ConfigError
from remembev.models import build_model

MEMORY, TARGETS = "MODEL.MEMORY", "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG"
NO_OBJECTS = {
    f"{MEMORY}.OBJECTS": None,
    f"{TARGETS}.SEEN_WITHIN": "4 s",
    f"{TARGETS}.MIN_POINTS_KNOWN": 0,
    f"{TARGETS}.UNSEEN_WEIGHT": 2,
}
GATE = {
    **NO_OBJECTS,
    f"{MEMORY}.FUSION": "gate",
    f"{MEMORY}.OCC_LOSS.WEIGHT": 0.1,
    f"{MEMORY}.OCC_LOSS.POSITIVE_WEIGHT": 10,
    f"{TARGETS}.UNSEEN_WEIGHT": 1,
}
SIZES = {"tiny": (64, 64), "small": (64, 76), "nuscenes": (192, 176), "benchmark": (192, 176)}
"""Channels of features and hidden state of the ConvGRU."""


def expected(base: str) -> dict[str, dict[str, object]]:
    """What every variant changes, written out."""
    features, hidden = SIZES[base]
    conv_gru = {
        **NO_OBJECTS,
        f"{MEMORY}.NAME": "ConvGRUBEVModule",
        f"{MEMORY}.FEATURE_DIM": features,
        f"{MEMORY}.HIDDEN_DIM": hidden,
    }
    one, ten = {"DATA_CONFIG.NUM_SWEEPS": 0}, {"DATA_CONFIG.NUM_SWEEPS": 9}
    untracked = {
        "single": {
            **one,
            f"{MEMORY}.FUSION": "none",
            f"{TARGETS}.SEEN_WITHIN": None,
            f"{TARGETS}.MIN_POINTS_KNOWN": 0,
        },
        "sweeps": {
            **ten,
            f"{MEMORY}.FUSION": "none",
            f"{TARGETS}.SEEN_WITHIN": "0.5 s",
            f"{TARGETS}.MIN_POINTS_KNOWN": 0,
        },
        "gate": {**one, **GATE},
        "gate_residual": {**one, **GATE, f"{MEMORY}.FUSION": "gate_residual"},
        "read": one,
        "conv_gru": {**one, **conv_gru},
        "sweeps+gate": {**ten, **GATE},
        "sweeps+read": ten,
        "sweeps+conv_gru": {**ten, **conv_gru},
    }
    tracked = {f"{name}+track": {**changes, "TRACKING.ENABLED": True} for name, changes in untracked.items()}
    return {**untracked, **tracked}


@pytest.mark.parametrize("base", shipped_configs())
@pytest.mark.parametrize("variant", expected("small"))
def test_a_variant_changes_what_its_name_says_and_the_same_in_every_configuration(base: str, variant: str) -> None:
    cfg = load_config(base)
    assert apply_variant(cfg, variant) == cfg.with_changes(expected(base)[variant])


def test_the_variants_of_a_single_configuration_are_those_that_there_are() -> None:
    assert set(DEFAULT_VARIANTS) <= set(expected("small"))


@pytest.mark.parametrize("name", DEFAULT_VARIANTS)
def test_a_tracker_changes_nothing_that_is_trained(name: str) -> None:
    cfg, trained = (apply_variant(load_config("small"), variant) for variant in (name, trained_variant(name)))
    assert cfg.with_changes({"TRACKING.ENABLED": False}) == trained
    assert trained_variant("track") == "single"
    assert trained_variant("read+track+noaug") == "read+noaug"


@pytest.mark.parametrize("base", ["tiny", "small", "nuscenes"])
def test_the_recurrent_variant_has_about_as_many_parameters_as_the_memory(base: str) -> None:
    gate, read, recurrent = (
        memory_parameters(apply_variant(load_config(base), variant)) for variant in ("gate", "read", "conv_gru")
    )
    assert recurrent == pytest.approx((gate + read) / 2, rel=0.05)


def memory_parameters(cfg: Config) -> int:
    with torch.device("meta"):
        model = build_model(cfg)
    return sum(weight.numel() for weight in model.memory.parameters())


# ------------------------------------------------------------------------------------------------------------- options

OPTIONS_OF_TINY: Mapping[str, dict[str, object]] = {
    "no_long_term": {"LONG_TERM.MAX_TOKENS": 0},
    "fifo": {"LONG_TERM.MAX_TOKENS": 0, "WORKING.MAX_FRAMES": 5},
    "random_prototypes": {"LONG_TERM.CHOOSE": "random"},
    "positions": {"READ.DISTANCE": "10 m"},
    "ages": {"READ.AGE": "5 s"},
    "foreground": {"FOREGROUND.TOKENS": 256},
    "findings": {"WRITE": "findings", "READ.NOTHING": True},
    "objects": {
        "OBJECTS": {},
        f"{TARGETS}.SEEN_WITHIN": None,
        f"{TARGETS}.MIN_POINTS_KNOWN": 0,
        f"{TARGETS}.UNSEEN_WEIGHT": 1,
    },
    "no_objects": NO_OBJECTS,
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("memory", ["gate", "read"])
def test_an_option_changes_the_memory_that_it_is_joined_to(option: str, memory: str) -> None:
    cfg = apply_variant(load_config("tiny"), memory)
    has_it = (memory, option) in (("gate", "no_objects"), ("read", "objects"))
    changes = {} if has_it else OPTIONS_OF_TINY[option]
    changes = {key if key.startswith("MODEL.") else f"{MEMORY}.{key}": value for key, value in changes.items()}
    changed = apply_variant(load_config("tiny"), f"{memory}+{option}")
    assert changed == cfg.with_changes(changes)
    assert (changed == cfg) is has_it


def test_a_variant_keeps_what_the_configuration_says_of_remembered_objects_and_hidden_targets() -> None:
    mine = load_config("tiny", [f"{MEMORY}.OBJECTS.MAX_OBJECTS=7"])
    assert apply_variant(mine, "read").MODEL.MEMORY.OBJECTS == mine.MODEL.MEMORY.OBJECTS
    mine = load_config("tiny", [f"{MEMORY}.OBJECTS=null", f"{TARGETS}.SEEN_WITHIN=1 s"])
    own, changed = (cfg.MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG for cfg in (mine, apply_variant(mine, "conv_gru")))
    assert changed == own


@pytest.mark.parametrize("base", ["tiny", "nuscenes"])
def test_first_in_first_out_has_room_for_as_many_tokens_as_consolidation_and_less_than_a_frame_more(base: str) -> None:
    def room(variant: str) -> int:
        memory = apply_variant(cfg, variant).MODEL.MEMORY
        return memory.LONG_TERM.MAX_TOKENS + memory.max_frames * memory.tokens_per_frame(cfg.memory_grid)

    cfg = load_config(base)
    frame = cfg.memory_grid.height * cfg.memory_grid.width
    assert 0 <= room("gate+fifo") - room("gate") < frame
    assert room("gate+no_long_term") == room("gate") - cfg.MODEL.MEMORY.LONG_TERM.MAX_TOKENS


@pytest.mark.parametrize("base", shipped_configs())
@pytest.mark.parametrize("variant", ["single", "sweeps", "conv_gru", "gate+fifo"])
def test_any_variant_can_be_trained_without_sensor_augmentation(base: str, variant: str) -> None:
    cfg = apply_variant(load_config(base), variant)
    plain = apply_variant(load_config(base), f"noaug+{variant}")
    assert plain == cfg.with_changes({"DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION": None})
    assert (plain == cfg) == (base == "nuscenes")


def test_parts_may_stand_in_any_order() -> None:
    cfg = load_config("tiny")
    assert apply_variant(cfg, "ages+read+sweeps") == apply_variant(cfg, "sweeps+read+ages")
    for first, second in combinations(("positions", "ages", "random_prototypes"), 2):
        assert apply_variant(cfg, f"gate+{first}+{second}") == apply_variant(cfg, f"gate+{second}+{first}")


# --------------------------------------------------------------------------------------------------------------- names


def test_an_unknown_part_is_named_with_the_nearest_and_all_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"variant sweeps\+gait: unknown part 'gait'; did you mean gate\?") as raised:
        apply_variant(load_config("tiny"), "sweeps+gait")
    assert all(name in str(raised.value) for name in (*INPUTS, *MEMORIES, *OPTIONS, *TRAINING, *FOLLOWERS))


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("sweeps+single", "at most one input"),
        ("gate+read", "at most one input, one memory"),
        ("gate+fifo+fifo", "each option once"),
        ("single+noaug+noaug", "each option once"),
        ("sweeps+fifo", r"fifo needs gate or read, as in gate\+fifo"),
        ("conv_gru+ages", "ages needs gate or read"),
        ("", "unknown part ''"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(variant: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_variant(load_config("tiny"), variant)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("small_gate", r"give small with --variant gate\)"),
        ("small_sweeps_read", r"give small with --variant sweeps\+read\)"),
        ("nuscenes_read", r"give nuscenes with --variant sweeps\+read\)"),
        ("benchmark_conv_gru", r"give benchmark with --variant sweeps\+conv_gru\)"),
        ("benchmark_single", r"give benchmark with --variant single\)"),
        ("small_gait", r"\(benchmark, nuscenes, small, tiny\)"),
    ],
)
def test_a_configuration_that_is_a_variant_now_is_told(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_config(name)
    file = tmp_path / "mine.yaml"
    file.write_text(f"_BASE_CONFIG_: {name}\n")
    with pytest.raises(ConfigError, match=hint):
        load_config(file)


def test_a_variant_is_described_part_by_part() -> None:
    assert describe_variant("single") == "single sweeps, no memory"
    assert describe_variant("sweeps+gate+no_long_term") == (
        "ten stacked sweeps, the memory gates the features, no long-term memory"
    )
    assert describe_variant("single+noaug") == "single sweeps, no memory, no sensor augmentation"
