"""Training runs end to end on a small simulated data set."""

from __future__ import annotations

import csv
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SMALL
from torch.utils.data import DataLoader, Dataset

from remembev.config import Config, load_config
from remembev.data import build_seq_loader
from remembev.errors import UserError
from remembev.models import load_checkpoint
from remembev.training import ClipModule, TrainingRun, train
from remembev.training.run import build_trainer


@pytest.fixture(scope="module")
def trained(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A run of two epochs of two batches."""
    return train(load_config("tiny", SMALL), sim_root, tmp_path_factory.mktemp("run"))


def logged(run: TrainingRun, name: str) -> list[float]:
    rows = list(csv.DictReader(run.curves.open()))
    return [float(row[name]) for row in rows if row.get(name)]


def test_a_run_writes_weights_curves_and_a_checkpoint(trained: TrainingRun) -> None:
    assert trained.finished
    assert trained.resume_from.is_file()
    before, after = load_checkpoint(trained.initial_weights), load_checkpoint(trained.weights)
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    for name in ("train/loss", "train/cls_loss", "train/loc_loss", "train/occ_loss", "val/loss", "lr"):
        assert logged(trained, name), name
    assert list(trained.out.glob("tensorboard/events*"))


def test_every_epoch_is_validated(trained: TrainingRun) -> None:
    assert len(logged(trained, "val/loss")) == 2


def test_a_run_is_not_overwritten_or_resumed_with_another_configuration(
    trained: TrainingRun, small_cfg: Config, sim_root: Path
) -> None:
    with pytest.raises(UserError, match="already holds a run"):
        train(small_cfg, sim_root, trained.out)
    other = small_cfg.with_changes({"OPTIMIZATION.LR": 0.5})
    with pytest.raises(UserError, match=r"config\.yaml differs"):
        train(other, sim_root, trained.out, resume=True)


def test_an_interrupted_run_resumes_from_its_last_epoch(
    trained: TrainingRun, small_cfg: Config, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: ClipModule) -> None:
        if self.current_epoch == 1:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(ClipModule, "on_train_epoch_start", interrupt)
        with pytest.raises(RuntimeError, match="power cut"):
            train(small_cfg, sim_root, tmp_path)
    assert not TrainingRun(tmp_path).finished
    started: list[tuple[int, int, float]] = []

    def note(self: ClipModule) -> None:
        started.append((self.current_epoch, self.global_step, self.progress))

    monkeypatch.setattr(ClipModule, "on_train_epoch_start", note)
    run = train(small_cfg, sim_root, tmp_path, resume=True)
    assert started == [(1, 2, 0.5)]
    assert logged(run, "lr") == pytest.approx(logged(trained, "lr"))
    assert run.finished
    assert run.curves.read_bytes() == trained.curves.read_bytes()


class Recorder(ClipModule):
    """Records the gradients of its latest step before and after clipping, and the model before it."""

    def training_step(self, batch_seq: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.before, self.clip, self.random = deepcopy(self.model), batch_seq, torch.get_rng_state()
        return super().training_step(batch_seq, batch_idx)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.raw = {name: gradient.clone() for name, gradient in gradients(self.model).items()}
        super().on_before_optimizer_step(optimizer)
        self.clipped = gradients(self.model)


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}


def train_two_steps(sim_root: Path, out: Path, *changes: str) -> Recorder:
    """Train a small model for two steps."""
    cfg = load_config("tiny", [*SMALL, "OPTIMIZATION.NUM_EPOCHS=1", *changes])
    _, loader = build_seq_loader(cfg, workers=0, root_path=sim_root)
    module = Recorder(cfg)
    build_trainer(cfg, TrainingRun(out)).fit(module, loader)
    return module


def test_a_clip_of_several_chunks_is_one_optimiser_step(sim_root: Path, tmp_path: Path) -> None:
    module = train_two_steps(sim_root, tmp_path, "OPTIMIZATION.TBPTT_FRAMES=1")
    assert module.global_step == 2
    assert module.lr_schedulers().last_epoch == 2


def test_gradients_are_clipped_to_the_configured_norm(sim_root: Path, tmp_path: Path) -> None:
    module = train_two_steps(sim_root, tmp_path, "OPTIMIZATION.GRAD_NORM_CLIP=0.01")
    raw, clipped = (torch.nn.utils.get_total_norm(gradient.values()) for gradient in (module.raw, module.clipped))
    assert raw > 0.1
    assert clipped == pytest.approx(0.01, rel=1e-3)


def test_only_the_forward_pass_runs_under_autocast(sim_root: Path, tmp_path: Path) -> None:
    module = train_two_steps(sim_root, tmp_path, "OPTIMIZATION.PRECISION=bf16")
    torch.set_rng_state(module.random)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):  # as Lightning has it
        losses = module.before.clip_losses(module.clip, progress=0.5)
    losses["loss"].backward()
    torch.testing.assert_close(module.raw, gradients(module.before), rtol=0, atol=0)


def test_the_loss_falls_when_a_clip_is_repeated(small_cfg: Config, sim_root: Path) -> None:
    torch.manual_seed(0)
    _, loader = build_seq_loader(small_cfg, workers=0, training=False, root_path=sim_root)
    clip = next(iter(loader))
    model = ClipModule(small_cfg).model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = model(clip, 0.0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


class Shrinking(Dataset[dict[str, Any]]):
    """Clips of a data set, fewer every epoch."""

    def __init__(self, dataset: Dataset[dict[str, Any]]) -> None:
        self.dataset = dataset
        self.length = 3

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.dataset[item]


def test_validation_is_not_skipped_when_an_epoch_is_shorter_than_the_first(
    small_cfg: Config, sim_root: Path, tmp_path: Path
) -> None:
    dataset, loader = build_seq_loader(small_cfg, workers=0, root_path=sim_root)
    shrinking = Shrinking(dataset)
    changing = DataLoader(shrinking, collate_fn=loader.collate_fn)
    validated: list[int] = []

    class Watch(ClipModule):
        def on_train_epoch_end(self) -> None:
            shrinking.length -= 1

        def on_validation_epoch_end(self) -> None:
            validated.append(self.current_epoch)

    cfg = small_cfg.with_changes({"OPTIMIZATION.BATCHES_PER_EPOCH": None, "OPTIMIZATION.NUM_EPOCHS": 3})
    trainer = build_trainer(cfg, TrainingRun(tmp_path))
    trainer.fit(Watch(cfg), changing, DataLoader(shrinking.dataset, collate_fn=loader.collate_fn, sampler=[0]))
    assert validated == [0, 1, 2]
