"""Base files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from remembev.config import config_from_yaml, config_to_yaml, load_config, shipped_configs
from remembev.config.base import merge_bases
from remembev.errors import ConfigError


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_base_is_a_shipped_name_or_a_path_from_the_file(tmp_path: Path) -> None:
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
    """Values of a tree by their keys from the top."""
    values: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        below = paths(value) if isinstance(value, dict) else {(): value}
        values |= {(key, *rest): last for rest, last in below.items()}
    return values


@given(st.dictionaries(st.sampled_from("abc"), trees), st.dictionaries(st.sampled_from("abc"), trees))
def test_own_values_override_the_bases_and_no_others_change(own: dict[str, Any], base: dict[str, Any]) -> None:
    try:
        merged = merge_bases({**own, "_BASE_CONFIG_": "base"}, Path("own.yaml"), lambda name, path: base)
    except ConfigError:  # a section over a value
        reject()
    mine, theirs = paths(own), paths(base)
    kept = {where: value for where, value in theirs.items() if not any(where[: len(key)] == key for key in mine)}
    assert paths(merged) == kept | mine


def test_a_missing_base_is_named_with_the_file_that_needs_it(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "_BASE_CONFIG_: absent\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: _BASE_CONFIG_ absent is neither a file in .*nuscenes, .*tiny"):
        load_config(path)


def test_circular_bases_are_named_in_order(tmp_path: Path) -> None:
    first = written(tmp_path / "first.yaml", "_BASE_CONFIG_: second.yaml\n")
    written(tmp_path / "second.yaml", "_BASE_CONFIG_: ./first.yaml\n")
    with pytest.raises(ConfigError, match=r"circular _BASE_CONFIG_: .*first\.yaml → .*second\.yaml → .*first\.yaml"):
        load_config(first)


def test_a_section_that_overrides_a_value_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "_BASE_CONFIG_: tiny\nCLASS_NAMES: {car: 1}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: CLASS_NAMES is a section here but a list in its base"):
        load_config(path)


@pytest.mark.parametrize("name", shipped_configs())
def test_a_written_configuration_needs_no_base(name: str) -> None:
    text = config_to_yaml(load_config(name))
    assert "_BASE_CONFIG_" not in text
    assert config_from_yaml(text, name=name) == load_config(name)
