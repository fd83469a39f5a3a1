"""Checkpoints: a file is all it takes, and one that does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from remembev.config import Config
from remembev.errors import CheckpointError
from remembev.models import build_model, load_checkpoint, save_checkpoint
from remembev.models.checkpoint import load_weights


def test_a_model_comes_back_with_its_weights_and_configuration(small_cfg: Config, tmp_path: Path) -> None:
    model = build_model(small_cfg)
    save_checkpoint(tmp_path / "model.safetensors", model)
    again = load_checkpoint(tmp_path / "model.safetensors")
    assert again.cfg == small_cfg
    assert not again.training
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


def test_weights_of_another_shape_are_named_and_change_nothing(small_cfg: Config) -> None:
    model = build_model(small_cfg)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights = {name: torch.zeros_like(weight) for name, weight in before.items()}
    name = "memory.xmem.nothing_read"
    weights[name] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=rf"other: .*{name} is \[3\], the model wants \[8\]"):
        load_weights(model, weights, name="other")
    assert all(torch.equal(weight, before[key]) for key, weight in model.state_dict().items())


def test_weights_missing_and_left_over_are_named(small_cfg: Config) -> None:
    model = build_model(small_cfg)
    weights = dict(model.state_dict())
    weights["extra"] = weights.pop("memory.xmem.nothing_read")
    with pytest.raises(CheckpointError, match=r"extra has no place.*nothing_read is missing"):
        load_weights(model, weights, name="other")


def test_files_that_are_no_checkpoints_are_named(small_cfg: Config, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="absent"):
        load_checkpoint(tmp_path / "absent")
    broken = tmp_path / "broken.safetensors"
    save_checkpoint(broken, build_model(small_cfg))
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"broken\.safetensors: not a checkpoint"):
        load_checkpoint(broken)
    bare = tmp_path / "bare.safetensors"
    save_file({"weight": torch.zeros(1)}, bare)
    with pytest.raises(CheckpointError, match="no configuration"):
        load_checkpoint(bare)


def test_a_write_that_fails_leaves_the_old_checkpoint(
    small_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, build_model(small_cfg))
    before = load_file(path)

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("remembev.models.checkpoint.save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, build_model(small_cfg))
    assert list(tmp_path.iterdir()) == [path]
    assert all(torch.equal(weight, before[name]) for name, weight in load_file(path).items())
