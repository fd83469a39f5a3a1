"""The moving average of the weights against its formula, and its use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.conftest import SMALL
from torch import Tensor

from remembev.config import load_config
from remembev.data import build_seq_loader
from remembev.errors import ConfigError
from remembev.models import load_checkpoint
from remembev.training import ClipModule, TrainingRun
from remembev.training.averaging import AveragedWeights
from remembev.training.run import build_trainer

DECAY = 0.6


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in weights.items() if weight.is_floating_point()}


class Recorder(ClipModule):
    """Records the weights before and after each step, and at each validation."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.before: list[dict[str, Tensor]] = []
        self.after: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def training_step(self, batch_seq: dict[str, Any], batch_idx: int) -> Tensor:
        self.before.append(copied(self.model.state_dict()))
        loss = super().training_step(batch_seq, batch_idx)
        self.after.append(copied(self.model.state_dict()))
        return loss

    def validation_step(self, batch_seq: dict[str, Any], batch_idx: int) -> None:
        self.validated.append(copied(self.model.state_dict()))


@pytest.fixture(scope="module")
def recorded(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorder, TrainingRun]:
    """Two epochs of three steps, each of several backward passes, with a clip of validation after each."""
    changes = [*SMALL, f"OPTIMIZATION.EMA={DECAY}", "OPTIMIZATION.BATCHES_PER_EPOCH=3", "OPTIMIZATION.TBPTT_FRAMES=2"]
    cfg, run = load_config("tiny", changes), TrainingRun(tmp_path_factory.mktemp("run"))
    _, loader = build_seq_loader(cfg, root_path=sim_root, seed=0)
    module = Recorder(cfg)
    build_trainer(cfg, run).fit(module, loader, torch.utils.data.DataLoader([{}], collate_fn=lambda clips: clips[0]))
    return module, run


def expected_averages(steps: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """average ← decay · average + (1 − decay) · weights, from a copy of the first step's weights on."""
    averages = [steps[0]]
    for weights in steps[1:]:
        averages.append({name: DECAY * averages[-1][name] + (1 - DECAY) * weight for name, weight in weights.items()})
    return averages


def test_the_average_is_validated_and_saved(recorded: tuple[Recorder, TrainingRun]) -> None:
    module, run = recorded
    expected = expected_averages(module.after)
    assert len(expected) == 6
    torch.testing.assert_close(module.validated, [expected[2], expected[5]])
    torch.testing.assert_close(copied(load_checkpoint(run.weights).state_dict()), expected[5])
    assert any("running_var" in name for name in expected[5])


def test_training_continues_from_the_weights_not_the_average(recorded: tuple[Recorder, TrainingRun]) -> None:
    module, _ = recorded
    for before, after in zip(module.before[1:], module.after, strict=False):
        torch.testing.assert_close(before, after, rtol=0, atol=0)


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_the_average_of_constant_buffers_is_exact(decay: float) -> None:
    cfg = load_config("tiny", SMALL)
    average = AveragedWeights(decay)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=None), global_step=0)
    module = ClipModule(cfg)
    average.setup(trainer, module, "fit")
    constants = {name: value.clone() for name, value in module.model.named_buffers()}
    assert {value.dtype for value in constants.values()} == {torch.float32, torch.float64, torch.int64, torch.bool}
    for step in range(1, 30):
        trainer.global_step = step
        average.on_train_batch_end(trainer, module, None, None, step)
    for name, value in average.model.named_buffers():
        assert torch.equal(value, constants[name]), name


@pytest.mark.parametrize("decay", ["0", "1", "1.5"])
def test_a_decay_has_to_be_between_0_and_1(decay: str) -> None:
    with pytest.raises(ConfigError, match=r"OPTIMIZATION\.EMA"):
        load_config("tiny", [f"OPTIMIZATION.EMA={decay}"])
