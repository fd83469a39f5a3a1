"""Checkpoints: a file is all it takes, and one that does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from remembev.config import Config
from remembev.errors import CheckpointError
from remembev.models import build_model, load_checkpoint, load_pretrained, save_checkpoint
from remembev.models.checkpoint import load_weights


def test_a_checkpoint_restores_weights_and_configuration(small_cfg: Config, tmp_path: Path) -> None:
    model = build_model(small_cfg)
    save_checkpoint(tmp_path / "model.safetensors", model)
    again = load_checkpoint(tmp_path / "model.safetensors")
    assert again.cfg == small_cfg
    assert not again.training
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


def test_a_float16_checkpoint_is_smaller_and_loads_in_float32(small_cfg: Config, tmp_path: Path) -> None:
    model = build_model(small_cfg)
    statistics = {name: buffer for name, buffer in model.named_buffers() if name.endswith("running_var")}
    for buffer in statistics.values():
        buffer.fill_(1e6)  # larger than float16 goes
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_checkpoint(whole, model)
    save_checkpoint(half, model, torch.float16)
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    again = load_checkpoint(half)
    for name, weight in model.named_parameters():
        assert torch.equal(again.get_parameter(name), weight.half().float()), name
    for name, buffer in statistics.items():
        assert torch.equal(again.get_buffer(name), buffer), name


def test_shipped_weights_are_found_by_name_after_files(
    small_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remembev.models.checkpoint.SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    model = build_model(small_cfg)
    save_checkpoint(tmp_path / "shipped" / "compact.safetensors", model)
    assert torch.equal(next(load_checkpoint("compact").parameters()), next(model.parameters()))
    other = build_model(small_cfg)
    load_pretrained(other, "compact")
    assert torch.equal(next(other.parameters()), next(model.parameters()))
    with pytest.raises(CheckpointError, match=r"compcat: no such file, and no shipped weights \(compact\)"):
        load_checkpoint("compcat")
    Path("compact").write_text("a file of the user's")
    with pytest.raises(CheckpointError, match="compact: not a checkpoint"):
        load_checkpoint("compact")


def test_shipped_weights_keep_the_residual_gate_that_they_were_trained_with() -> None:
    model = load_checkpoint("small_sweeps_read")
    assert model.cfg.MODEL.MEMORY.FUSION == "gate_residual_and_read"
    gated = model.get_parameter("memory.add_gated.project.weight")
    assert gated.abs().mean() > 1e-3, "not fresh"


def test_weights_of_another_shape_are_named_and_change_nothing(small_cfg: Config) -> None:
    model = build_model(small_cfg)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights = {name: torch.zeros_like(weight) for name, weight in before.items()}
    name = "memory.xmem.nothing_read"
    weights[name] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=rf"other: .*{name} is \[3\], the model's is \[8\]"):
        load_weights(model, weights, name="other")
    assert all(torch.equal(weight, before[key]) for key, weight in model.state_dict().items())


def test_weights_missing_and_left_over_are_named(small_cfg: Config) -> None:
    model = build_model(small_cfg)
    weights = dict(model.state_dict())
    weights["extra"] = weights.pop("memory.xmem.nothing_read")
    with pytest.raises(CheckpointError, match=r"extra is not in the model.*nothing_read is missing"):
        load_weights(model, weights, name="other")


def test_pretrained_weights_replace_shared_ones_only(small_cfg: Config, tmp_path: Path) -> None:
    path = tmp_path / "single.safetensors"
    single, model = build_model(small_cfg.with_changes({"MODEL.MEMORY.FUSION": "none"})), build_model(small_cfg)
    save_checkpoint(path, single)
    fresh = {name: weight.clone() for name, weight in model.state_dict().items()}
    load_pretrained(model, path)
    shared = single.state_dict()
    assert any(not torch.equal(fresh[name], weight) for name, weight in shared.items())
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, shared.get(name, fresh[name])), name


def test_pretrained_weights_of_another_shape_or_without_common_names_are_errors(
    small_cfg: Config, tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, build_model(small_cfg.with_changes({"MODEL.VFE.NUM_FILTERS": [4]})))
    with pytest.raises(CheckpointError, match=r"other\.safetensors: does not fit the model: .*vfe"):
        load_pretrained(build_model(small_cfg), path)
    with pytest.raises(CheckpointError, match=r"other\.safetensors: shares no weights with the model"):
        load_pretrained(torch.nn.Linear(2, 2), path)


def test_files_that_are_no_checkpoints_are_errors_that_name_them(small_cfg: Config, tmp_path: Path) -> None:
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


def test_a_failed_write_leaves_the_old_checkpoint(
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
