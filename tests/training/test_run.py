"""Training runs end to end on a small simulated data set, and the traps on the way."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from remembev.config import Config
from remembev.data import build_seq_loader
from remembev.errors import UserError
from remembev.models import load_checkpoint
from remembev.training import ClipModule, TrainingRun, train
from remembev.training.run import build_trainer


@pytest.fixture(scope="module")
def trained(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A run of two epochs of two batches."""
    from tests.conftest import SMALL

    from remembev.config import load_config

    return train(load_config("tiny", SMALL), sim_root, tmp_path_factory.mktemp("run"))


def logged(run: TrainingRun, name: str) -> list[float]:
    rows = [row for path in run.curves for row in csv.DictReader(path.open())]
    return [float(row[name]) for row in rows if row.get(name)]


def test_a_run_leaves_weights_curves_and_a_checkpoint(trained: TrainingRun) -> None:
    assert trained.finished
    assert trained.resume_from.is_file()
    before, after = load_checkpoint(trained.initial_weights), load_checkpoint(trained.weights)
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    for name in ("train/loss", "train/cls_loss", "train/loc_loss", "train/occ_loss", "val/loss", "lr"):
        assert logged(trained, name), name
    assert list(trained.out.glob("tensorboard/*/events*"))


def test_every_epoch_is_validated(trained: TrainingRun) -> None:
    assert len(logged(trained, "val/loss")) == 2


def test_a_run_is_not_overwritten_and_not_gone_on_with_another_configuration(
    trained: TrainingRun, small_cfg: Config, sim_root: Path
) -> None:
    with pytest.raises(UserError, match="holds a run already"):
        train(small_cfg, sim_root, trained.out)
    other = small_cfg.model_copy(update={"OPTIMIZATION": small_cfg.OPTIMIZATION.model_copy(update={"LR": 0.5})})
    with pytest.raises(UserError, match=r"config\.yaml differs"):
        train(other, sim_root, trained.out, resume=True)


def test_a_run_that_was_stopped_goes_on_from_its_last_epoch(
    small_cfg: Config, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: ClipModule) -> None:
        if self.current_epoch == 1:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(ClipModule, "on_train_epoch_start", interrupt)
        with pytest.raises(RuntimeError, match="power cut"):
            train(small_cfg, sim_root, tmp_path)
    assert not TrainingRun(tmp_path).finished
    started: list[int] = []
    monkeypatch.setattr(ClipModule, "on_train_epoch_start", lambda self: started.append(self.current_epoch))
    run = train(small_cfg, sim_root, tmp_path, resume=True)
    assert started == [1]
    assert run.finished
    assert len(run.curves) == 2


def test_the_loss_falls_on_a_clip_that_is_learnt_by_heart(small_cfg: Config, sim_root: Path) -> None:
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
    """The same clips, fewer of them each epoch."""

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

    optimization = small_cfg.OPTIMIZATION.model_copy(update={"BATCHES_PER_EPOCH": None, "NUM_EPOCHS": 3})
    cfg = small_cfg.model_copy(update={"OPTIMIZATION": optimization})
    trainer = build_trainer(cfg, TrainingRun(tmp_path))
    trainer.fit(Watch(cfg), changing, DataLoader(shrinking.dataset, collate_fn=loader.collate_fn, sampler=[0]))
    assert validated == [0, 1, 2]


class Recorder(ClipModule):
    """Writes down which clips each process of a distributed run was given."""

    folder: Path

    def training_step(self, batch_seq: dict[str, Any], batch_idx: int) -> torch.Tensor:
        with (self.folder / f"{self.global_rank}.txt").open("a") as file:
            file.write(f"{self.current_epoch} {batch_seq['sample_token'][0, 0]}\n")
        return super().training_step(batch_seq, batch_idx)


def test_two_processes_share_the_clips_and_shuffle_them_anew_each_epoch(
    small_cfg: Config, sim_root: Path, tmp_path: Path
) -> None:
    """Lightning replaces the sampler under DDP: each clip has to be seen once an epoch all the same."""
    optimization = small_cfg.OPTIMIZATION.model_copy(update={"BATCHES_PER_EPOCH": None, "NUM_EPOCHS": 2})
    cfg = small_cfg.model_copy(update={"OPTIMIZATION": optimization})
    dataset, loader = build_seq_loader(cfg, workers=0, root_path=sim_root)
    module = Recorder(cfg)
    module.folder = tmp_path
    build_trainer(cfg, TrainingRun(tmp_path / "run"), devices=2, strategy="ddp_spawn").fit(module, loader)
    seen = [[line.split() for line in (tmp_path / f"{rank}.txt").read_text().splitlines()] for rank in (0, 1)]
    starts = {dataset.index.load_frame(clip[0]).sample_token for clip in dataset.clips}
    for epoch in ("0", "1"):
        shares = [[token for number, token in lines if number == epoch] for lines in seen]
        assert len(shares[0]) == len(shares[1]) == (len(starts) + 1) // 2
        assert set(shares[0]) | set(shares[1]) == starts
    first, second = ([token for number, token in seen[0] if number == epoch] for epoch in ("0", "1"))
    assert first != second
