"""A run that is killed (SIGKILL) and resumed equals an uninterrupted one to the last bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.conftest import SMALL

from remembev.config import load_config
from remembev.config.sizes import Seconds
from remembev.errors import CheckpointError, UserError
from remembev.models import checkpoint as model_checkpoint
from remembev.training import ClipModule, TrainingRun, resuming, train
from remembev.training.resuming import Progress, SaveProgress

CHANGES = [
    "OPTIMIZATION.BATCHES_PER_EPOCH=6",
    "OPTIMIZATION.VAL_CLIPS=1",
    "DATA_CONFIG.SEQ_LEN=2",
    "OPTIMIZATION.SAVE_EVERY=1",
    "OPTIMIZATION.EMA=0.8",
    "OPTIMIZATION.NUM_WORKERS=2",
    "MODEL.MEMORY.TEACHER_FORCING={START: 0.7, END: 0.3}",
]


def start(root: Path, out: Path, workers: int = 0, prepare: Callable[[], None] = lambda: None) -> Any:
    """Start a process that trains, or resumes."""

    def work() -> None:
        prepare()
        train(load_config("tiny", [*SMALL, *CHANGES]), root, out, resume=True, workers=workers)

    process = get_context("fork").Process(target=work)
    process.start()
    return process


@pytest.fixture(scope="module")
def whole(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, float]:
    """An uninterrupted run, and its duration in seconds."""
    run, started = TrainingRun(tmp_path_factory.mktemp("whole")), time.monotonic()
    process = start(sim_root, run.out)
    process.join()
    assert run.finished
    return run, time.monotonic() - started


def tensors(value: Any, name: str = "") -> dict[str, Any]:
    """Return all leaves of a checkpoint by their path."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: leaf for key, item in items for path, leaf in tensors(item, f"{name}/{key}").items()}
    return {name: value}


def scalars(run: TrainingRun) -> dict[str, list[tuple[int, float]]]:
    """Return the values that TensorBoard shows."""
    events = EventAccumulator(str(run.out / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_same(run: TrainingRun, other: TrainingRun) -> None:
    """Compare weights, average, optimiser, schedule, loops and curves."""
    assert run.finished
    first, second = (tensors(torch.load(one.resume_from, weights_only=True)) for one in (run, other))
    assert first.keys() == second.keys()
    for name, leaf in first.items():
        if isinstance(leaf, torch.Tensor):
            assert torch.equal(leaf, second[name]), name
        else:
            assert leaf == second[name], name
    for file in ("model.safetensors", "initial.safetensors", "logs/metrics.csv"):
        assert (run.out / file).read_bytes() == (other.out / file).read_bytes(), file
    assert scalars(run) == scalars(other)
    assert not list(run.out.rglob(".*"))


def test_a_run_killed_at_random_moments_resumes_exactly(
    whole: tuple[TrainingRun, float], sim_root: Path, tmp_path: Path
) -> None:
    uninterrupted, seconds = whole
    run, moments = TrainingRun(tmp_path), random.Random(0)
    for _ in range(3):
        process = start(sim_root, run.out)
        process.join(moments.uniform(0.2, 0.6) * seconds)
        process.kill()
        process.join()
    start(sim_root, run.out).join()
    assert_same(run, uninterrupted)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(target: Any, name: str, count: int, before: Callable[..., None] = lambda *_: None) -> None:
    """Kill the process when a function is called for the ``count``-th time (from 0), after calling ``before``."""
    function, calls = getattr(target, name), iter(range(count + 1))

    def killing(*arguments: Any, **options: Any) -> Any:
        if next(calls, count) == count:
            before(*arguments)
            kill()
        return function(*arguments, **options)

    setattr(target, name, killing)


def half_a_checkpoint(checkpoint: Any, file: Any) -> None:
    file.write(b"half of it")
    file.flush()


def half_a_table(logger: CSVLogger) -> None:
    Path(logger.experiment.metrics_file_path).write_text("step,ep")


MOMENTS = {
    "before the first checkpoint": partial(kill_at, ClipModule, "training_step", 0),
    "while a checkpoint is written": partial(kill_at, resuming.torch, "save", 1, half_a_checkpoint),
    "while the curves are written": partial(kill_at, CSVLogger, "save", 1, half_a_table),
    "in an epoch's last step": partial(kill_at, ClipModule, "training_step", 1),
    "in validation": partial(kill_at, ClipModule, "validation_step", 0),
    "while the weights are written": partial(kill_at, model_checkpoint, "save_file", 0),
    "at the end of an epoch": partial(kill_at, SaveProgress, "on_train_epoch_end", 0),
    "in the middle of the second epoch": partial(kill_at, ClipModule, "training_step", 4),
    "at the end of the last epoch": partial(kill_at, SaveProgress, "on_train_epoch_end", 0),
    "after the last checkpoint": partial(kill_at, ClipModule, "on_train_end", 0),
}


def test_a_run_killed_at_critical_moments_resumes_exactly(
    whole: tuple[TrainingRun, float], sim_root: Path, tmp_path: Path
) -> None:
    run = TrainingRun(tmp_path)
    for moment, prepare in MOMENTS.items():
        killed = start(sim_root, run.out, prepare=prepare)
        killed.join()
        assert killed.exitcode == -signal.SIGKILL, moment
    start(sim_root, run.out).join()
    assert_same(run, whole[0])


def test_loader_processes_do_not_change_the_result(
    whole: tuple[TrainingRun, float], sim_root: Path, tmp_path: Path
) -> None:
    run = TrainingRun(tmp_path)
    killed = start(sim_root, run.out, workers=2, prepare=partial(kill_at, ClipModule, "training_step", 8))
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    start(sim_root, run.out, workers=1).join()
    assert_same(run, whole[0])


@pytest.fixture
def stopped(whole: tuple[TrainingRun, float], tmp_path: Path) -> TrainingRun:
    """A run that was killed before it was marked as finished."""
    run = TrainingRun(tmp_path / "run")
    shutil.copytree(whole[0].out, run.out)
    (run.out / "finished").unlink()
    return run


def test_resuming_a_finished_run_changes_nothing(whole: tuple[TrainingRun, float], sim_root: Path) -> None:
    run = whole[0]
    before = {path: path.stat().st_mtime_ns for path in run.out.rglob("*")}
    train(load_config("tiny", [*SMALL, *CHANGES]), sim_root, run.out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in run.out.rglob("*")} == before


def test_a_run_with_former_keys_in_its_configuration_is_resumed(stopped: TrainingRun, sim_root: Path) -> None:
    present = former = stopped.config.read_text()
    for key, old in (("TBPTT_FRAMES", "CHUNK"), ("ACTIVATION_CHECKPOINTING", "CHECKPOINT"), ("PRETRAIN", "START")):
        assert f"  {key}:" in former
        former = former.replace(f"  {key}:", f"  {old}:")
    stopped.config.write_text(former)
    assert train(load_config("tiny", [*SMALL, *CHANGES]), sim_root, stopped.out, resume=True, workers=0).finished
    assert stopped.config.read_text() == present


def test_resuming_needs_the_same_seed_and_number_of_processes(stopped: TrainingRun, sim_root: Path) -> None:
    cfg = load_config("tiny", [*SMALL, *CHANGES])
    with pytest.raises(UserError, match="started with seed 0, not 1"):
        train(cfg, sim_root, stopped.out, resume=True, seed=1)
    with pytest.raises(UserError, match="started with 1 processes, not 2"):
        train(cfg, sim_root, stopped.out, resume=True, devices=2)


def test_a_truncated_checkpoint_is_named(stopped: TrainingRun) -> None:
    stopped.resume_from.write_bytes(stopped.resume_from.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"last\.ckpt: not a training checkpoint, or truncated"):
        Progress.read(stopped.resume_from)


@pytest.mark.parametrize(("every", "saved"), [(2, [2, 4, 6]), (5, [6]), (Seconds(100), [4])])
def test_checkpoints_are_saved_at_intervals_except_when_losses_are_logged(
    every: int | str, saved: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of 8 steps of 30 s, the fifth is logged and the last is followed by the epoch's checkpoint."""
    trainer = SimpleNamespace(
        global_step=0,
        num_training_batches=8,
        current_epoch=0,
        strategy=SimpleNamespace(broadcast=lambda due: due),
        save_checkpoint=lambda path: steps.append(trainer.global_step),
    )
    steps: list[int] = []
    monkeypatch.setattr(resuming.time, "monotonic", lambda: 30.0 * trainer.global_step)
    saving = SaveProgress(tmp_path / "last.ckpt", tmp_path / "metrics.csv", seed=0, every=every, log_every=5)
    saving.on_train_start(trainer, None)
    for batch_idx in range(8):
        trainer.global_step += 1
        saving.on_train_batch_end(trainer, None, None, None, batch_idx)
    assert steps == saved
