"""Configurations over others: what a file does not say is in its base, whose name is looked for where it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st

from remembev.config import Config, config_from_yaml, config_to_yaml, load_config, shipped_configs
from remembev.config.base import over_bases
from remembev.errors import ConfigError
from remembev.models import build_model


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_base_is_a_shipped_name_or_a_path_from_the_files_own_folder(tmp_path: Path) -> None:
    written(tmp_path / "bases" / "fast.yaml", "_BASE_CONFIG_: tiny\nOPTIMIZATION: {LR: 0.5}\n")
    path = written(tmp_path / "own" / "mine.yaml", "_BASE_CONFIG_: ../bases/fast.yaml\nOPTIMIZATION: {NUM_EPOCHS: 3}\n")
    assert load_config(path) == load_config("tiny", ["OPTIMIZATION.LR=0.5", "OPTIMIZATION.NUM_EPOCHS=3"])


def test_sections_are_merged_key_by_key_and_lists_are_replaced(tmp_path: Path) -> None:
    path = written(
        tmp_path / "mine.yaml",
        "_BASE_CONFIG_: tiny\nDATA_CONFIG:\n  DATA_SPLIT: {test: mini_val}\n  DATA_AUGMENTOR: {FLIP: [x]}\n",
    )
    cfg = load_config(path, ["DATA_CONFIG.SEQ_LEN=7"])
    wanted = ["DATA_SPLIT.test=mini_val", "DATA_AUGMENTOR.FLIP=[x]", "SEQ_LEN=7"]
    assert cfg == load_config("tiny", [f"DATA_CONFIG.{override}" for override in wanted])


trees = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda values: st.dictionaries(st.sampled_from("abc"), values, max_size=3),
    max_leaves=8,
)


def paths(tree: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Values of a tree by their keys from the top, sections left out."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        below = paths(value) if isinstance(value, dict) else {(): value}
        found |= {(key, *rest): last for rest, last in below.items()}
    return found


@given(st.dictionaries(st.sampled_from("abc"), trees), st.dictionaries(st.sampled_from("abc"), trees))
def test_every_own_value_is_kept_and_every_value_of_the_base_that_nothing_goes_over(
    own: dict[str, Any], base: dict[str, Any]
) -> None:
    try:
        merged = over_bases({**own, "_BASE_CONFIG_": "base"}, Path("own.yaml"), lambda name, path: base)
    except ConfigError:  # a section over a value
        reject()
    mine, theirs = paths(own), paths(base)
    kept = {where: value for where, value in theirs.items() if not any(where[: len(key)] == key for key in mine)}
    assert paths(merged) == kept | mine


def test_a_base_that_is_not_there_is_named_with_the_file_that_wants_it(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "_BASE_CONFIG_: absent\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: its _BASE_CONFIG_ absent .*nuscenes, .*tiny"):
        load_config(path)


def test_bases_that_come_back_to_a_file_are_named_in_order(tmp_path: Path) -> None:
    first = written(tmp_path / "first.yaml", "_BASE_CONFIG_: second.yaml\n")
    written(tmp_path / "second.yaml", "_BASE_CONFIG_: ./first.yaml\n")
    with pytest.raises(ConfigError, match=r"first\.yaml → .*second\.yaml → .*first\.yaml"):
        load_config(first)


def test_a_section_over_a_value_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "_BASE_CONFIG_: tiny\nCLASS_NAMES: {car: 1}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: CLASS_NAMES is a section here, and a list in its base"):
        load_config(path)


@pytest.mark.parametrize("name", shipped_configs())
def test_what_is_written_of_a_configuration_stands_without_its_base(name: str) -> None:
    text = config_to_yaml(load_config(name))
    assert "_BASE_CONFIG_" not in text
    assert config_from_yaml(text, name=name) == load_config(name)


# --------------------------------------------------------------------------------------------------------------- peers

FAMILIES = ["small", "nuscenes", "benchmark"]
TARGETS = "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG"
OCC_LOSS = "MODEL.MEMORY.OCC_LOSS"
PEERS = {
    "single": {"DATA_CONFIG.NUM_SWEEPS": 0, "MODEL.MEMORY.FUSION": "none", f"{TARGETS}.SEEN_WITHIN": "null"},
    "sweeps": {
        "DATA_CONFIG.NUM_SWEEPS": 9,
        "MODEL.MEMORY.FUSION": "none",
        f"{TARGETS}.SEEN_WITHIN": "0.5 s",
        f"{TARGETS}.UNSEEN_WEIGHT": 1,
    },
    "gate": {
        "MODEL.MEMORY.FUSION": "gate",
        f"{OCC_LOSS}.WEIGHT": 0.1,
        f"{OCC_LOSS}.POSITIVE_WEIGHT": 10,
        f"{TARGETS}.UNSEEN_WEIGHT": 1,
    },
    "read": {"MODEL.MEMORY.FUSION": "gate_and_read"},
}


@pytest.mark.parametrize("base", FAMILIES)
@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_differs_from_its_base_only_where_its_name_says(base: str, peer: str) -> None:
    changes = [f"{key}={value}" for key, value in PEERS[peer].items()]
    assert load_config(f"{base}_{peer}") == load_config(base, changes)


def test_the_memory_on_stacked_sweeps_has_their_points_and_all_else_of_the_memory() -> None:
    assert load_config("small_sweeps_read") == load_config("small_read", ["DATA_CONFIG.NUM_SWEEPS=9"])
    assert load_config("small_sweeps").DATA_CONFIG == load_config("small_sweeps_read").DATA_CONFIG


@pytest.mark.parametrize("base", FAMILIES)
def test_the_recurrent_peer_differs_in_its_memory_only_and_has_about_as_many_parameters(base: str) -> None:
    cfg, recurrent = load_config(base), load_config(f"{base}_conv_gru")
    assert recurrent.MODEL.MEMORY.NAME == "ConvGRUBEVModule"
    same = recurrent.MODEL.model_copy(update={"MEMORY": cfg.MODEL.MEMORY})
    assert recurrent.model_copy(update={"MODEL": same}) == cfg
    assert memory_parameters(recurrent) == pytest.approx(memory_parameters(cfg), rel=0.1)


def memory_parameters(cfg: Config) -> int:
    with torch.device("meta"):
        model = build_model(cfg)
    return sum(weight.numel() for weight in model.memory.parameters())


def test_the_benchmark_is_the_full_detector_and_its_recipe_on_simulated_data() -> None:
    changes = ["DATA_PATH=data/benchmark", "VERSION=v1.0-sim"]
    batches = ["BATCH_SIZE_PER_GPU=4", "NUM_WORKERS=8"]
    wanted = [*(f"DATA_CONFIG.{change}" for change in changes), *(f"OPTIMIZATION.{change}" for change in batches)]
    assert load_config("benchmark") == load_config("nuscenes", wanted)


@pytest.mark.parametrize("name", [name for name in shipped_configs() if name.startswith("small")])
def test_no_pillar_of_ten_sweeps_is_one_too_many_for_the_small_models(name: str) -> None:
    data = load_config(name).DATA_CONFIG
    assert data.DATA_PROCESSOR.MAX_NUMBER_OF_VOXELS >= data.pillar_grid.height * data.pillar_grid.width
