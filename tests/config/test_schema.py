"""The schema: keys that have to fit together, sizes of the memory, changes."""

from __future__ import annotations

import ast
from inspect import getsource
from itertools import pairwise

import pytest
from pydantic import ValidationError

from remembev.config import Config, load_config, schema
from remembev.config.schema import MemoryConfig, PretrainConfig, SensorAugmentationConfig
from remembev.config.sizes import Metres
from remembev.errors import ConfigError
from remembev.geometry import BEVGrid

FEATURE_GRID = BEVGrid(-40.0, -40.0, 40.0, 40.0, height=100, width=100)


def config(**changes: object) -> MemoryConfig:
    return MemoryConfig.model_validate(changes)


@pytest.mark.parametrize(("stride", "cells"), [(4, 4), ("3.2 m", 4), ("0.8 m", 1), ("4 m", 5)])
def test_the_stride_is_in_cells_or_metres(stride: int | str, cells: int) -> None:
    assert config(STRIDE=stride).stride(FEATURE_GRID) == cells


@pytest.mark.parametrize("stride", ["1 m", "0.3 m"])
def test_a_stride_that_is_no_multiple_of_the_features_cells_names_both_sizes(stride: str) -> None:
    with pytest.raises(ValueError, match=f"{stride} .* 0.8 m, not a whole number"):
        config(STRIDE=stride).stride(FEATURE_GRID)


def test_a_stride_in_metres_needs_square_cells() -> None:
    oblong = BEVGrid(-40.0, -40.0, 40.0, 40.0, height=100, width=50)
    assert config(STRIDE=2).stride(oblong) == 2
    with pytest.raises(ValueError, match=r"STRIDE .* 1\.6 × 0\.8 m"):
        config(STRIDE="3.2 m").stride(oblong)


@pytest.mark.parametrize(
    ("working", "every", "frames"),
    [
        ({"MIN_FRAMES": 2, "MAX_FRAMES": 5}, 1, (2, 5)),
        ({"MIN_FRAMES": "1 s", "MAX_FRAMES": "4 s"}, "0.5 s", (2, 8)),
        ({"MIN_FRAMES": 1, "MAX_FRAMES": "4 s"}, "2 s", (1, 2)),
        ({"MIN_FRAMES": "0.1 s", "MAX_FRAMES": "3.1 s"}, "1 s", (1, 3)),
    ],
)
def test_the_working_memory_is_in_frames_or_seconds(
    working: dict[str, object], every: int | str, frames: tuple[int, int]
) -> None:
    cfg = config(WORKING=working, MEM_EVERY=every)
    assert (cfg.min_frames, cfg.max_frames) == frames


@pytest.mark.parametrize(
    ("tokens", "expected"), [(None, 2500), (300, 300), (9999, 2500), ("640 m2", 250), ("0.1 m2", 1)]
)
def test_the_tokens_of_a_frame_are_a_number_or_an_area(tokens: int | str | None, expected: int) -> None:
    assert config(FOREGROUND={"TOKENS": tokens}).tokens_per_frame(FEATURE_GRID.strided(2)) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"STRIDE": "2 feet"}, "an integer ≥ 1, or a size such as 1.5 m"),
        ({"STRIDE": 0}, "an integer ≥ 1, or a size such as 1.5 m"),
        ({"STRIDE": True}, "an integer ≥ 1"),
        ({"STRIDE": 1.5}, "an integer ≥ 1"),
        ({"STRIDE": "0 m"}, "an integer ≥ 1"),
        ({"STRIDE": "-1 m"}, "an integer ≥ 1"),
        ({"MEM_EVERY": "2 m"}, "a size such as 1.5 s"),
        ({"FORGET_BEYOND": 50}, "expected a size such as 1.5 m"),
        ({"FORGET_AFTER": "50"}, "expected a size such as 1.5 s"),
        ({"READ": {"DISTANCE": "5"}}, "expected a size such as 1.5 m"),
        ({"FOREGROUND": {"TOKENS": "5 m"}}, "a size such as 1.5 m2"),
        ({"WORKING": {"MIN_FRAMES": "1 s"}}, r"WORKING.MIN_FRAMES in seconds needs MEM_EVERY in seconds"),
        ({"WORKING": {"MIN_FRAMES": 5, "MAX_FRAMES": 5}}, "5 to 5 memory frames; expected 1 ≤ MIN_FRAMES < MAX_FRAMES"),
        ({"LONG_TERM": {"MAX_TOKENS": 10, "PROTOTYPES": 11}}, "room for 10 tokens, fewer than the 11 PROTOTYPES"),
        ({"LONG_TERM": {"CHOOSE": "first"}}, "LONG_TERM.CHOOSE"),
        ({"FUSION": "add"}, "FUSION"),
        ({"GATE_RAMP": [0.5, 0.2]}, "a range has to begin with its lower end"),
        ({"GATE_RAMP": [0.0, 2.0]}, "GATE_RAMP"),
        ({"TEACHER_FORCING": {"START": 1.5}}, "TEACHER_FORCING.START"),
        ({"MAX_FRAMES": 3}, "MAX_FRAMES"),
    ],
)
def test_a_mistake_in_the_memory_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_prototypes_need_not_fit_where_there_is_no_long_term_memory() -> None:
    assert config(LONG_TERM={"MAX_TOKENS": 0, "PROTOTYPES": 128}).LONG_TERM.MAX_TOKENS == 0


def test_a_3d_backbone_is_refused_by_its_name() -> None:
    assert load_config("nuscenes", ["MODEL.BACKBONE_3D=null"]) == load_config("nuscenes")
    for given in ("{NAME: VoxelBackBone8x}", "VoxelBackBone8x"):
        with pytest.raises(ConfigError, match=r"MODEL\.BACKBONE_3D: VoxelBackBone8x is not supported"):
            load_config("nuscenes", [f"MODEL.BACKBONE_3D={given}"])


def test_overrides_take_sizes_with_units() -> None:
    overrides = ["MODEL.MEMORY.STRIDE=2.5 m", "MODEL.MEMORY.MEM_EVERY=1 s", "MODEL.MEMORY.WORKING.MAX_FRAMES=4 s"]
    cfg = load_config("tiny", overrides)
    assert cfg.MODEL.MEMORY.max_frames == 4
    assert (cfg.memory_grid.height, cfg.memory_grid.cell_x) == (32, 2.5)


def test_a_memory_that_does_not_fit_the_features_is_named() -> None:
    with pytest.raises(ConfigError, match=r"MEMORY\.STRIDE.*1 m are 0\.8 cells of 1\.25 m"):
        load_config("tiny", ["MODEL.MEMORY.STRIDE=1 m"])


def changed(cfg: Config, **changes: object) -> Config:
    return cfg.with_changes({key.replace("__", "."): value for key, value in changes.items()})


def test_changes_return_a_new_configuration() -> None:
    cfg = load_config("tiny")
    other = changed(cfg, DATA_CONFIG__SEQ_LEN=7, MODEL__MEMORY__READ__DISTANCE="2 m")
    assert (cfg.DATA_CONFIG.SEQ_LEN, other.DATA_CONFIG.SEQ_LEN) == (4, 7)
    assert other.MODEL.MEMORY.READ.DISTANCE == Metres(2)
    assert changed(other, DATA_CONFIG__SEQ_LEN=4, MODEL__MEMORY__READ__DISTANCE=None) == cfg


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("OPTIMIZATION.LRR", 1, r"OPTIMIZATION\.LRR: no such key; did you mean LR\?"),
        ("OPTIMIZATION.LR", -1, r"OPTIMIZATION\.LR: "),
        ("OPTIMIZATION.LR.PEAK", 1, r"LR is a value, not a section"),
        ("MODEL.MEMORY.STRIDE", 3, r"MEMORY\.STRIDE do not fit the pillars"),
    ],
)
def test_an_invalid_change_names_its_key(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("tiny").with_changes({key: value})


def test_a_key_of_a_section_that_is_null_creates_the_section() -> None:
    cfg = load_config("tiny", ["OPTIMIZATION.PRETRAIN=null"])
    changes = {"OPTIMIZATION.PRETRAIN.EPOCHS": 2, "OPTIMIZATION.PRETRAIN.LR": 0.1}
    assert cfg.with_changes(changes).OPTIMIZATION.PRETRAIN == PretrainConfig(EPOCHS=2, LR=0.1)
    with pytest.raises(ConfigError, match=r"OPTIMIZATION\.PRETRAIN\.LR: this key is missing"):
        cfg.with_changes({"OPTIMIZATION.PRETRAIN.EPOCHS": 2})


SECTIONS = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, schema.Section)]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_below_it_or_by_its_section(section: type[schema.Section]) -> None:
    (node,) = ast.parse(getsource(section)).body
    assert isinstance(node, ast.ClassDef)
    assert ast.get_docstring(node)
    documented = {
        ast.unparse(key.target)
        for key, text in pairwise(node.body)
        if isinstance(key, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    own = {key: field for key, field in section.model_fields.items() if key in section.__annotations__}
    sections = {key for key, field in own.items() if any(other.__name__ in str(field.annotation) for other in SECTIONS)}
    assert set(own) == documented | sections


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("HEIGHT", [0.4, -0.4], r"HEIGHT: a range has to begin with its lower end"),
        ("INTENSITY_SCALE", [0, 1], r"INTENSITY_SCALE\.0: "),
        ("SELF_RETURNS", [0, 1.5], r"SELF_RETURNS\.1: "),
        ("BEAMS", [], r"BEAMS: "),
        ("BEAMS", [0], r"BEAMS\.0: "),
        ("CORRUPTION.FRAMES", [3, 1], r"FRAMES: a range has to begin with its lower end"),
        ("BEAM", [2], r"BEAM: no such key; did you mean BEAMS\?"),
    ],
)
def test_the_ranges_of_the_sensor_augmentation_are_checked(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("tiny").with_changes({f"DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION.{key}": value})


def test_an_empty_section_has_the_default_ranges_and_null_turns_it_off() -> None:
    key = "DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION"
    assert load_config("nuscenes", [f"{key}={{}}"]).DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION == (
        SensorAugmentationConfig()
    )
    assert load_config("tiny", [f"{key}=null"]).DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION is None
