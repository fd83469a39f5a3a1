"""The start of a training: without a memory, on single frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import SMALL

from remembev.config import load_config
from remembev.errors import UserError
from remembev.models import load_checkpoint
from remembev.training import TrainingRun, describe_training, pretrain_config, train

QUICK = [
    *SMALL,
    "OPTIMIZATION.PRETRAIN={EPOCHS: 1, LR: 0.002}",
    "OPTIMIZATION.NUM_EPOCHS=1",
    "OPTIMIZATION.BATCHES_PER_EPOCH=1",
    "OPTIMIZATION.VAL_CLIPS=1",
]


@pytest.fixture(scope="module")
def trained(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    return train(load_config("tiny", QUICK), sim_root, tmp_path_factory.mktemp("run"), workers=0)


def test_a_start_sees_as_many_frames_a_step_and_has_no_memory() -> None:
    cfg = load_config("tiny", [*QUICK, "OPTIMIZATION.BATCH_SIZE_PER_GPU=2", "DATA_CONFIG.AGENT_SLOTS=4"])
    start = pretrain_config(cfg)
    assert start is not None
    assert (start.DATA_CONFIG.SEQ_LEN, start.OPTIMIZATION.BATCH_SIZE_PER_GPU) == (1, 6)
    assert start.MODEL.MEMORY.FUSION == "none"
    assert (start.OPTIMIZATION.NUM_EPOCHS, start.OPTIMIZATION.LR) == (1, 0.002)
    assert pretrain_config(start) is None


def test_a_start_may_have_batches_of_its_own() -> None:
    own = "OPTIMIZATION.PRETRAIN={EPOCHS: 2, LR: 0.002, BATCH_SIZE_PER_GPU: 2, BATCHES_PER_EPOCH: 7}"
    cfg = load_config("tiny", [*QUICK, own])
    start = pretrain_config(cfg)
    assert start is not None
    assert (start.OPTIMIZATION.BATCH_SIZE_PER_GPU, start.OPTIMIZATION.BATCHES_PER_EPOCH) == (2, 7)
    assert describe_training(cfg).startswith(
        "2 epochs of 7 batches of 2 single frames, without a memory; then 1 epochs of 1"
    )


def test_a_training_begins_with_its_start_and_goes_on_from_its_weights(trained: TrainingRun) -> None:
    assert trained.pretrain.finished
    start = load_checkpoint(trained.pretrain.weights)
    assert start.cfg.MODEL.MEMORY.FUSION == "none"
    begun = load_checkpoint(trained.initial_weights).state_dict()
    untrained = load_checkpoint(trained.pretrain.initial_weights).state_dict()
    for name, weight in start.state_dict().items():
        assert torch.equal(begun[name], weight), name
    assert any(not torch.equal(weight, untrained[name]) for name, weight in start.state_dict().items())


def test_a_run_that_has_only_its_start_goes_on_behind_it(trained: TrainingRun, sim_root: Path, tmp_path: Path) -> None:
    cfg = load_config("tiny", QUICK)
    start = pretrain_config(cfg)
    assert start is not None
    train(start, sim_root, tmp_path / "start", workers=0)
    with pytest.raises(UserError, match="start holds a run already: resume it"):
        train(cfg, sim_root, tmp_path, workers=0)
    resumed = train(cfg, sim_root, tmp_path, resume=True, workers=0)
    for name, weight in load_checkpoint(trained.weights).state_dict().items():
        assert torch.equal(load_checkpoint(resumed.weights).state_dict()[name], weight), name


def test_who_brings_weights_needs_no_start(trained: TrainingRun, sim_root: Path, tmp_path: Path) -> None:
    run = train(load_config("tiny", QUICK), sim_root, tmp_path, workers=0, init=trained.pretrain.weights)
    assert not run.pretrain.out.exists()
    for name, weight in load_checkpoint(trained.weights).state_dict().items():
        assert torch.equal(load_checkpoint(run.weights).state_dict()[name], weight), name


def test_a_training_tells_in_words_how_long_it_is() -> None:
    assert describe_training(load_config("tiny", QUICK)) == (
        "1 epochs of 1 batches of 3 single frames, without a memory; then 1 epochs of 1 batches of 1 clips of 3 frames"
    )


def test_clips_leave_the_statistics_of_the_start_as_they_are(sim_root: Path, tmp_path: Path) -> None:
    overrides = [*QUICK, "OPTIMIZATION.NUM_EPOCHS=2", "OPTIMIZATION.PRETRAIN={EPOCHS: 2, LR: 0.002}"]
    held, moved = (
        train(load_config("tiny", [*overrides, f"OPTIMIZATION.NORM_EVAL={held}"]), sim_root, tmp_path / held, workers=0)
        for held in ("true", "false")
    )

    def statistics(weights: Path) -> list[torch.Tensor]:
        return [value for name, value in load_checkpoint(weights).state_dict().items() if "running_" in name]

    start = statistics(held.pretrain.weights)
    assert not any(map(torch.equal, start, statistics(held.pretrain.initial_weights)))
    assert all(map(torch.equal, start, statistics(held.weights)))
    assert not any(map(torch.equal, start, statistics(moved.weights)))


def test_statistics_of_fresh_weights_are_not_held(sim_root: Path, tmp_path: Path) -> None:
    cfg = load_config("tiny", [*QUICK, "OPTIMIZATION.PRETRAIN=null", "OPTIMIZATION.NORM_EVAL=true"])
    with pytest.raises(UserError, match="NORM_EVAL"):
        train(cfg, sim_root, tmp_path, workers=0)
    assert not (tmp_path / "config.yaml").exists()
