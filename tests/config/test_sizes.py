"""Sizes with units: numbers in the code, text in files."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remembev.config import Config, config_from_yaml, config_to_yaml, load_config
from remembev.config.sizes import Metres, Seconds
from remembev.errors import ConfigError


def test_a_size_is_a_number_and_prints_with_its_unit() -> None:
    size = Metres.parse("1.6 m")
    assert size * 10 == 16.0
    assert f"{size}" == str(size) == "1.6 m"
    assert f"{Seconds(600)}" == "600 s"


@given(st.integers(1, 10**6), st.integers(0, 999))
def test_a_size_reads_back_what_it_prints(whole: int, thousandths: int) -> None:
    size = Metres(f"{whole}.{thousandths:03d}")
    assert Metres.parse(str(size)) == size


def test_a_count_never_equals_a_size() -> None:
    assert Seconds(1) != 1
    assert Seconds(1) == Seconds(1.0) == 1.0


def test_sizes_survive_a_process_boundary() -> None:
    restored = pickle.loads(pickle.dumps(load_config("tiny")))
    assert restored == load_config("tiny")
    assert isinstance(restored.OPTIMIZATION.SAVE_EVERY, Seconds)


def test_a_stored_configuration_has_sizes_as_text() -> None:
    cfg = load_config("tiny", ["MODEL.MEMORY.STRIDE=2.5 m", "MODEL.MEMORY.MEM_EVERY=1"])
    dump = cfg.model_dump(mode="json")["MODEL"]["MEMORY"]
    assert (dump["STRIDE"], dump["MEM_EVERY"]) == ("2.5 m", 1)
    assert config_from_yaml(config_to_yaml(cfg), name="stored") == cfg


@pytest.mark.parametrize("value", [1.5, "1.5", "1.5 s", "0 m", "-1 m", True, "many m", None])
def test_what_is_no_size_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"STRIDE: expected a whole number from 1 on, or a size such as 1\.5 m"):
        load_config("tiny").with_changes({"MODEL.MEMORY.STRIDE": value})


def changed(cfg: Config, **changes: object) -> Config:
    return cfg.with_changes({key.replace("__", "."): value for key, value in changes.items()})


def test_changes_are_validated_and_leave_the_configuration_as_it_was() -> None:
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
        ("OPTIMIZATION.LR.PEAK", 1, r"LR holds a value, not a section"),
        ("MODEL.MEMORY.STRIDE", 3, r"MEMORY\.STRIDE do not fit the pillars"),
    ],
)
def test_a_change_that_does_not_fit_names_its_key(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("tiny").with_changes({key: value})
