"""Sizes with units."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remembev.config import config_from_yaml, config_to_yaml, load_config
from remembev.config.sizes import Metres, Seconds
from remembev.errors import ConfigError


def test_a_size_is_a_number_and_prints_with_its_unit() -> None:
    size = Metres.parse("1.6 m")
    assert size * 10 == 16.0
    assert f"{size}" == str(size) == "1.6 m"
    assert f"{Seconds(600)}" == "600 s"


@given(st.floats(1e-9, 1e12))
@example(1e-5)
@example(1e22)
def test_a_size_reads_back_what_it_prints(metres: float) -> None:
    assert Metres.parse(str(Metres(metres))) == metres


def test_a_parsed_size_prints_as_it_was_written() -> None:
    cfg = load_config("tiny", ["MODEL.MEMORY.FORGET_BEYOND=50.0 m"])
    assert cfg.model_dump(mode="json")["MODEL"]["MEMORY"]["FORGET_BEYOND"] == "50.0 m"
    assert cfg == load_config("tiny", ["MODEL.MEMORY.FORGET_BEYOND=50 m"])
    assert str(pickle.loads(pickle.dumps(cfg.MODEL.MEMORY.FORGET_BEYOND))) == "50.0 m"


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
def test_an_invalid_size_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"STRIDE: expected an integer ≥ 1, or a size such as 1\.5 m"):
        load_config("tiny").with_changes({"MODEL.MEMORY.STRIDE": value})
