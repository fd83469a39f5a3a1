"""Former names of keys and values."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from remembev.config import config_from_yaml, config_to_yaml, load_config
from remembev.errors import ConfigError
from remembev.models import load_checkpoint, shipped_weights

FORMER = "{_BASE_CONFIG_: tiny, OPTIMIZATION: {START: {EPOCHS: 5, LR: 0.1}, CHUNK: 2, CHECKPOINT: true}}"
CURRENT = [
    "OPTIMIZATION.PRETRAIN={EPOCHS: 5, LR: 0.1, BATCH_SIZE_PER_GPU: 1, BATCHES_PER_EPOCH: 800}",
    "OPTIMIZATION.TBPTT_FRAMES=2",
    "OPTIMIZATION.ACTIVATION_CHECKPOINTING=true",
]


def test_former_keys_in_a_file_are_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mine.yaml").write_text(FORMER)
    assert load_config(tmp_path / "mine.yaml") == load_config("tiny", CURRENT)
    assert "OPTIMIZATION.CHUNK is now OPTIMIZATION.TBPTT_FRAMES" in caplog.text
    assert str(tmp_path / "mine.yaml") in caplog.text


def test_former_keys_in_overrides_are_read_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    cfg = load_config("tiny", ["OPTIMIZATION.START.EPOCHS=9", "OPTIMIZATION.CHUNK=3"])
    assert cfg == load_config("tiny", ["OPTIMIZATION.PRETRAIN.EPOCHS=9", "OPTIMIZATION.TBPTT_FRAMES=3"])
    assert "OPTIMIZATION.START is now OPTIMIZATION.PRETRAIN" in caplog.text


def test_former_keys_in_a_stored_configuration_are_read_silently(caplog: pytest.LogCaptureFixture) -> None:
    stored = config_to_yaml(load_config("tiny"))
    stored = stored.replace("PRETRAIN:", "START:").replace("TBPTT_FRAMES:", "CHUNK:")
    with caplog.at_level(logging.DEBUG):
        assert config_from_yaml(stored, name="stored") == load_config("tiny")
    assert caplog.text == ""


def test_a_stored_configuration_without_mask_objects_means_objects_that_were_seen() -> None:
    without = config_to_yaml(load_config("tiny", ["DATA_CONFIG.MASK_OBJECTS=all"])).replace("  MASK_OBJECTS: all\n", "")
    assert "MASK_OBJECTS" not in without
    assert config_from_yaml(without, name="stored") == load_config("tiny")
    stated = config_to_yaml(load_config("tiny", ["DATA_CONFIG.MASK_OBJECTS=all"]))
    assert config_from_yaml(stated, name="stored").DATA_CONFIG.MASK_OBJECTS == "all"


def test_the_weights_in_the_package_keep_the_masks_that_they_were_trained_with() -> None:
    for name in shipped_weights():
        assert load_checkpoint(name).cfg.DATA_CONFIG.MASK_OBJECTS == "seen"


def test_a_key_under_both_names_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("{_BASE_CONFIG_: tiny, OPTIMIZATION: {CHUNK: 2, TBPTT_FRAMES: 2}}")
    with pytest.raises(
        ConfigError, match=r"both OPTIMIZATION.CHUNK \(old name\) and OPTIMIZATION.TBPTT_FRAMES are set"
    ):
        load_config(tmp_path / "mine.yaml")


def stored_before_the_gate_multiplied(fusion: str, name: str = "XMemBEVModule") -> str:
    """A configuration as it was stored when ``FUSION`` named the residual forms."""
    cfg = load_config("tiny", [f"MODEL.MEMORY.FUSION={fusion}", f"MODEL.MEMORY.NAME={name}"])
    text = config_to_yaml(cfg).replace("    GATE_RAMP:\n    - 0.0\n    - 0.5\n", "")
    assert "GATE_RAMP" not in text
    return text


@pytest.mark.parametrize(
    ("former", "current"), [("gate", "gate_residual"), ("gate_and_read", "gate_residual_and_read"), ("none", "none")]
)
def test_a_gate_that_was_stored_when_it_was_residual_still_is(former: str, current: str, tmp_path: Path) -> None:
    stored = stored_before_the_gate_multiplied(former)
    assert config_from_yaml(stored, name="stored").MODEL.MEMORY.FUSION == current
    (tmp_path / "config.yaml").write_text(stored)
    assert load_config(tmp_path / "config.yaml").MODEL.MEMORY.FUSION == current


def test_a_stored_convgru_has_no_gate_to_rename() -> None:
    stored = stored_before_the_gate_multiplied("gate_and_read", "ConvGRUBEVModule")
    assert config_from_yaml(stored, name="stored").MODEL.MEMORY.FUSION == "gate_and_read"


@pytest.mark.parametrize("fusion", ["gate", "gate_and_read"])
def test_a_gate_that_is_written_or_stored_now_multiplies(fusion: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"{{_BASE_CONFIG_: tiny, MODEL: {{MEMORY: {{FUSION: {fusion}}}}}}}")
    cfg = load_config(tmp_path / "mine.yaml")
    assert cfg.MODEL.MEMORY.FUSION == fusion
    assert config_from_yaml(config_to_yaml(cfg), name="stored") == cfg
