"""Pretraining: without a memory, on single frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import SMALL

from remembev.config import load_config
from remembev.config.schema import GTSamplingConfig
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


def test_pretraining_has_no_memory_and_as_many_frames_per_step() -> None:
    cfg = load_config("tiny", [*QUICK, "OPTIMIZATION.BATCH_SIZE_PER_GPU=2", "DATA_CONFIG.AGENT_SLOTS=4"])
    pretrain = pretrain_config(cfg)
    assert pretrain is not None
    assert (pretrain.DATA_CONFIG.SEQ_LEN, pretrain.OPTIMIZATION.BATCH_SIZE_PER_GPU) == (1, 6)
    assert pretrain.MODEL.MEMORY.FUSION == "none"
    assert (pretrain.OPTIMIZATION.NUM_EPOCHS, pretrain.OPTIMIZATION.LR) == (1, 0.002)
    assert pretrain_config(pretrain) is None


@pytest.mark.parametrize("base", ["small", "benchmark"])
def test_pretraining_is_augmented_for_other_sensors_like_training(base: str) -> None:
    cfg = load_config(base)
    pretrain = pretrain_config(cfg)
    assert pretrain is not None
    own, like = (config.DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION for config in (pretrain, cfg))
    assert own is not None
    assert own == like


def test_pretraining_may_have_its_own_batches() -> None:
    own = "OPTIMIZATION.PRETRAIN={EPOCHS: 2, LR: 0.002, BATCH_SIZE_PER_GPU: 2, BATCHES_PER_EPOCH: 7}"
    cfg = load_config("tiny", [*QUICK, own])
    pretrain = pretrain_config(cfg)
    assert pretrain is not None
    assert (pretrain.OPTIMIZATION.BATCH_SIZE_PER_GPU, pretrain.OPTIMIZATION.BATCHES_PER_EPOCH) == (2, 7)
    assert describe_training(cfg).startswith(
        "2 epochs of 7 batches of 2 single frames, without a memory; then 1 epochs of 1"
    )


def test_pretraining_may_paste_objects_that_training_does_not() -> None:
    cfg = load_config("tiny", [*QUICK, "OPTIMIZATION.PRETRAIN.GT_SAMPLING={SAMPLE_GROUPS: {bus: 4}}"])
    pretrain = pretrain_config(cfg)
    assert pretrain is not None
    assert cfg.DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING is None
    assert pretrain.DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING == GTSamplingConfig(SAMPLE_GROUPS={"bus": 4})
    both = cfg.with_changes({"DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING": {"SAMPLE_GROUPS": {"car": 2}}})
    assert pretrain_config(both) == pretrain
    alike = pretrain_config(both.with_changes({"OPTIMIZATION.PRETRAIN.GT_SAMPLING": None}))
    assert alike is not None
    assert alike.DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING == GTSamplingConfig(SAMPLE_GROUPS={"car": 2})


def test_training_starts_from_the_pretrained_weights(trained: TrainingRun) -> None:
    assert trained.pretrain.finished
    pretrained = load_checkpoint(trained.pretrain.weights)
    assert pretrained.cfg.MODEL.MEMORY.FUSION == "none"
    initial = load_checkpoint(trained.initial_weights).state_dict()
    untrained = load_checkpoint(trained.pretrain.initial_weights).state_dict()
    for name, weight in pretrained.state_dict().items():
        assert torch.equal(initial[name], weight), name
    assert any(not torch.equal(weight, untrained[name]) for name, weight in pretrained.state_dict().items())


def test_a_run_resumes_after_its_pretraining(trained: TrainingRun, sim_root: Path, tmp_path: Path) -> None:
    cfg = load_config("tiny", QUICK)
    pretrain = pretrain_config(cfg)
    assert pretrain is not None
    train(pretrain, sim_root, tmp_path / "start", workers=0)
    with pytest.raises(UserError, match="start already holds a run: pass --resume"):
        train(cfg, sim_root, tmp_path, workers=0)
    resumed = train(cfg, sim_root, tmp_path, resume=True, workers=0)
    for name, weight in load_checkpoint(trained.weights).state_dict().items():
        assert torch.equal(load_checkpoint(resumed.weights).state_dict()[name], weight), name


def test_initial_weights_replace_pretraining(trained: TrainingRun, sim_root: Path, tmp_path: Path) -> None:
    run = train(load_config("tiny", QUICK), sim_root, tmp_path, workers=0, init=trained.pretrain.weights)
    assert not run.pretrain.out.exists()
    for name, weight in load_checkpoint(trained.weights).state_dict().items():
        assert torch.equal(load_checkpoint(run.weights).state_dict()[name], weight), name


def test_the_length_of_a_training_is_described_in_words() -> None:
    assert describe_training(load_config("tiny", QUICK)) == (
        "1 epochs of 1 batches of 3 single frames, without a memory; then 1 epochs of 1 batches of 1 clips of 3 frames"
    )


def test_norm_eval_freezes_the_pretrained_statistics(sim_root: Path, tmp_path: Path) -> None:
    overrides = [*QUICK, "OPTIMIZATION.NUM_EPOCHS=2", "OPTIMIZATION.PRETRAIN={EPOCHS: 2, LR: 0.002}"]
    frozen, updated = (
        train(
            load_config("tiny", [*overrides, f"OPTIMIZATION.NORM_EVAL={value}"]), sim_root, tmp_path / value, workers=0
        )
        for value in ("true", "false")
    )

    def statistics(weights: Path) -> list[torch.Tensor]:
        return [value for name, value in load_checkpoint(weights).state_dict().items() if "running_" in name]

    pretrained = statistics(frozen.pretrain.weights)
    assert not any(map(torch.equal, pretrained, statistics(frozen.pretrain.initial_weights)))
    assert all(map(torch.equal, pretrained, statistics(frozen.weights)))
    assert not any(map(torch.equal, pretrained, statistics(updated.weights)))


def test_pretraining_freezes_its_statistics_in_its_last_steps(sim_root: Path, tmp_path: Path) -> None:
    pretrain = "OPTIMIZATION.PRETRAIN={EPOCHS: 2, BATCHES_PER_EPOCH: 4, LR: 0.002, NORM_EVAL: 0.25}"
    run = train(load_config("tiny", [*QUICK, pretrain]), sim_root, tmp_path, workers=0)
    weights = load_checkpoint(run.pretrain.weights).state_dict()
    assert {int(value) for name, value in weights.items() if name.endswith("num_batches_tracked")} == {6}


def test_norm_eval_is_refused_with_fresh_weights(sim_root: Path, tmp_path: Path) -> None:
    cfg = load_config("tiny", [*QUICK, "OPTIMIZATION.PRETRAIN=null", "OPTIMIZATION.NORM_EVAL=true"])
    with pytest.raises(UserError, match="NORM_EVAL"):
        train(cfg, sim_root, tmp_path, workers=0)
    assert not (tmp_path / "config.yaml").exists()
