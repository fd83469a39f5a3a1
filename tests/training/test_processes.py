"""Distributed training: processes share the clips, average their gradients and write one set of files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SMALL, free_port, join_torchrun

from remembev.config import load_config
from remembev.data import build_seq_loader
from remembev.training import ClipModule, TrainingRun, train
from remembev.training.run import build_trainer


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}


class Recorder(ClipModule):
    """Records the clips of each process of a distributed run, and the gradients of its last step."""

    folder: Path

    def on_train_start(self) -> None:
        if self.global_rank == 0:
            torch.save(self.lr_schedulers().total_steps, self.folder / "schedule")

    def training_step(self, batch_seq: dict[str, Any], batch_idx: int) -> torch.Tensor:
        with (self.folder / f"{self.global_rank}.txt").open("a") as file:
            file.write(f"{self.current_epoch} {batch_seq['sample_token'][0, 0]}\n")
        clip = {key: value for key, value in batch_seq.items() if isinstance(value, torch.Tensor)}
        torch.save(clip, self.folder / f"{self.global_rank}.clip")
        return super().training_step(batch_seq, batch_idx)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        torch.save(gradients(self.model), self.folder / f"{self.global_rank}.gradients")
        super().on_before_optimizer_step(optimizer)


def train_in_two_processes(folder: Path, sim_root: Path, *changes: str) -> ClipModule:
    """Train in two processes and return the model before training; ``Recorder`` writes to the folder."""
    cfg = load_config("tiny", [*SMALL, *changes])
    _, loader = build_seq_loader(cfg, workers=0, root_path=sim_root, seed=0)
    module = Recorder(cfg)
    module.folder = folder
    before = deepcopy(module)
    build_trainer(cfg, TrainingRun(folder / "run"), devices=2, strategy="ddp_fork").fit(module, loader)
    return before


def test_two_processes_share_the_clips_and_reshuffle_them_every_epoch(sim_root: Path, tmp_path: Path) -> None:
    """Lightning replaces the sampler under DDP; each clip has to be used once per epoch nevertheless."""
    module = train_in_two_processes(tmp_path, sim_root, "OPTIMIZATION.BATCHES_PER_EPOCH=null")
    dataset, _ = build_seq_loader(module.cfg, workers=0, root_path=sim_root)
    lines_of_rank = [[line.split() for line in (tmp_path / f"{rank}.txt").read_text().splitlines()] for rank in (0, 1)]
    starts = {dataset.index.load_frame(clip[0]).sample_token for clip in dataset.clips}
    for epoch in ("0", "1"):
        shares = [[token for number, token in lines if number == epoch] for lines in lines_of_rank]
        assert len(shares[0]) == len(shares[1]) == (len(starts) + 1) // 2
        assert set(shares[0]) | set(shares[1]) == starts
    first, second = ([token for number, token in lines_of_rank[0] if number == epoch] for epoch in ("0", "1"))
    assert first != second
    steps = torch.load(tmp_path / "schedule")
    assert steps == len(lines_of_rank[0]) == 2 * ((len(starts) + 1) // 2)


@pytest.mark.parametrize(
    "frames", [3, 4]
)  # with 3 the last chunk is a single frame, in which the weights that write get no gradient
def test_gradients_of_two_processes_are_the_mean_over_their_clips(frames: int, sim_root: Path, tmp_path: Path) -> None:
    one_step = ["OPTIMIZATION.BATCHES_PER_EPOCH=1", "OPTIMIZATION.NUM_EPOCHS=1"]
    chunks = [
        f"DATA_CONFIG.SEQ_LEN={frames}",
        "OPTIMIZATION.TBPTT_FRAMES=2",
        "OPTIMIZATION.ACTIVATION_CHECKPOINTING=true",
    ]
    forcing = "MODEL.MEMORY.TEACHER_FORCING={START: 1.0, END: 1.0}"
    module = train_in_two_processes(tmp_path, sim_root, *one_step, *chunks, forcing)
    for rank in (0, 1):
        clip = torch.load(tmp_path / f"{rank}.clip")
        for share in module.model.train().chunk_losses(clip, progress=0.0, tbptt_frames=2):
            (share["loss"] / 2).backward()
    for rank in (0, 1):
        given = torch.load(tmp_path / f"{rank}.gradients")
        torch.testing.assert_close(given, gradients(module.model), rtol=1e-3, atol=1e-5)


def test_two_processes_get_the_clips_of_one_process_with_twice_the_batch(sim_root: Path, tmp_path: Path) -> None:
    train_in_two_processes(tmp_path, sim_root, "OPTIMIZATION.BATCHES_PER_EPOCH=1", "OPTIMIZATION.NUM_EPOCHS=1")
    cfg = load_config("tiny", [*SMALL, "OPTIMIZATION.BATCH_SIZE_PER_GPU=2"])
    _, loader = build_seq_loader(cfg, workers=0, root_path=sim_root, seed=0)
    batch = next(iter(loader))
    for rank in (0, 1):
        clip = torch.load(tmp_path / f"{rank}.clip")
        count = clip["points"].shape[2]
        torch.testing.assert_close(clip["points"][0], batch["points"][rank, :, :count], rtol=0, atol=0)
        torch.testing.assert_close(clip["scene_masks"][0], batch["scene_masks"][rank], rtol=0, atol=0)


CHANGES = [
    "OPTIMIZATION.BATCHES_PER_EPOCH=3",
    "OPTIMIZATION.VAL_CLIPS=2",
    "OPTIMIZATION.SAVE_EVERY=1",
    "OPTIMIZATION.EMA=0.8",
    "MODEL.MEMORY.TEACHER_FORCING={START: 0.7, END: 0.3}",
]


def start_two(root: Path, outs: tuple[Path, Path], prepare: Callable[[int], None] = lambda rank: None) -> list[Any]:
    """Start two training processes as torchrun does, each with its own output folder."""
    port = free_port()

    def work(rank: int) -> None:
        join_torchrun(rank, port)
        prepare(rank)
        train(load_config("tiny", [*SMALL, *CHANGES]), root, outs[rank], resume=True)

    processes = [get_context("fork").Process(target=work, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    return processes


def record_weights(folder: Path, rank: int) -> None:
    """Save a process's weights and statistics at the end of training."""

    def on_train_end(module: ClipModule) -> None:
        torch.save(module.state_dict(), folder / f"{rank}.weights")

    ClipModule.on_train_end = on_train_end


@pytest.fixture(scope="module")
def whole(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two processes, ``run``, and of their weights. The second process was given ``unused``."""
    folder = tmp_path_factory.mktemp("whole")
    for process in start_two(sim_root, (folder / "run", folder / "unused"), partial(record_weights, folder)):
        process.join()
    assert TrainingRun(folder / "run").finished
    return folder


def test_processes_end_with_the_same_weights_and_statistics(whole: Path) -> None:
    first, second = (torch.load(whole / f"{rank}.weights") for rank in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_only_the_first_process_writes(whole: Path) -> None:
    assert not (whole / "unused").exists()


def kill_in_the_second_epoch(rank: int) -> None:
    def on_before_optimizer_step(module: ClipModule, optimizer: Any) -> None:
        if rank == 0 and module.global_step == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    ClipModule.on_before_optimizer_step = on_before_optimizer_step


def test_two_killed_processes_resume_exactly(whole: Path, sim_root: Path, tmp_path: Path) -> None:
    processes = start_two(sim_root, (tmp_path, tmp_path), kill_in_the_second_epoch)
    processes[0].join()
    assert processes[0].exitcode == -signal.SIGKILL
    processes[1].kill()
    for process in start_two(sim_root, (tmp_path, tmp_path)):
        process.join()
    for file in ("model.safetensors", "logs/metrics.csv"):
        assert (tmp_path / file).read_bytes() == (whole / "run" / file).read_bytes()


def test_the_command_line_starts_a_process_per_device(whole: Path, sim_root: Path, tmp_path: Path) -> None:
    changes = [part for change in [*SMALL, *CHANGES] for part in ("--set", change)]
    command = ["remembev", "train", "tiny", "--data", str(sim_root), "--out", str(tmp_path), "--devices", "2", *changes]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights:") == 1
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "run" / "model.safetensors").read_bytes()
