"""Trainings of several seeds as jobs: processes of one thread each, which can be stopped at will and go on there.

Each training leaves a ``result.json``: what has one is done. What is trained and how it is measured is said elsewhere.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar

import torch

from remembev.config import Config, load_config
from remembev.data import ClipSampler, build_seq_loader
from remembev.errors import UserError
from remembev.experiments.seeds import discard_result, read_result, write_result
from remembev.training import TrainingRun, train
from remembev.training.resuming import Progress


class Job(Protocol):
    """Work for a process of its own, which can be sent to it."""

    @property
    def title(self) -> str:
        """What it is, in a line."""

    @property
    def log(self) -> Path:
        """The file of what it prints."""

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""

    @property
    def ready(self) -> bool:
        """Whether it can start."""

    def work(self) -> None:
        """Do it, or what is left of it."""


AnyJob = TypeVar("AnyJob", bound=Job)
_TRAINED = "trained.json"
Measure = Callable[["Training"], Mapping[str, Any]]
"""What is measured of a finished training, as plain values for JSON; a function of a module, to be found by name."""


@dataclass(frozen=True)
class Training:
    """One training of one seed, and what is measured of it.

    start    name of the training of the same seed that it goes on from
    measure  what it is measured by; nothing if not given
    asked    how it is to be measured, written into its result: a result of another kind is measured anew
    """

    seed: int
    name: str
    cfg: Config
    data: Path
    out: Path
    start: str | None = None
    measure: Measure | None = None
    asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> TrainingRun:
        """Its folder."""
        return TrainingRun(self.out / f"seed-{self.seed}" / self.name)

    @property
    def start_run(self) -> TrainingRun | None:
        """The folder of the training that it goes on from."""
        return TrainingRun(self.run.out.with_name(self.start)) if self.start else None

    @property
    def title(self) -> str:
        """What it is, in a line."""
        return f"seed {self.seed} {self.name}"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.run.out.with_name(f"{self.name}.log")

    @property
    def result(self) -> dict[str, Any] | None:
        """What was measured, if it has come to that."""
        return read_result(self.run.out, asked=self.asked)

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return self.result is not None

    @property
    def ready(self) -> bool:
        """Whether the training that it goes on from is finished."""
        return self.start_run is None or self.start_run.finished

    def work(self) -> None:
        """Train, going on where it was stopped, measure, and write the result."""
        trained = read_result(self.run.out, name=_TRAINED) or self._train()
        discard_result(self.run.out)
        torch.manual_seed(self.seed)
        measured = self.measure(self) if self.measure else {}
        write_result(self.run.out, {**trained, **self.asked, **measured})

    def _train(self) -> dict[str, Any]:
        """Steps of the optimiser, frames seen and wall seconds, these only if it was done in one go."""
        whole = not self.run.out.exists()
        started = time.monotonic()
        if not self.run.finished:
            init = self.start_run.weights if self.start_run else None
            train(self.cfg, self.data, self.run.out, resume=True, seed=self.seed, init=init)
        trained = {
            "steps": Progress.read(self.run.resume_from).step,
            "frames": frames_trained(self.cfg, self.data, self.seed),
            "train_seconds": round(time.monotonic() - started, 1) if whole else None,
        }
        write_result(self.run.out, trained, name=_TRAINED)
        return trained


def frames_trained(cfg: Config, data: Path, seed: int) -> int:
    """Frames that a whole training in one process sees, each as often as it is seen."""
    _, loader = build_seq_loader(cfg, workers=0, root_path=data, seed=seed)
    assert isinstance(loader.sampler, ClipSampler)
    plan, clips = cfg.OPTIMIZATION, len(loader.sampler)
    if plan.BATCHES_PER_EPOCH is not None:
        clips = min(clips, plan.BATCHES_PER_EPOCH * plan.BATCH_SIZE_PER_GPU)
    return plan.NUM_EPOCHS * clips * cfg.DATA_CONFIG.SEQ_LEN


def check_runs(out: Path, configs: Mapping[str, Config]) -> None:
    """Raise UserError where a folder holds a run under one of these names that is of another configuration."""
    for file in sorted(out.glob("seed-*/*/config.yaml")):
        cfg = configs.get(file.parent.name)
        if cfg is not None and load_config(file) != cfg:
            raise UserError(f"{file} is of another configuration: go on with the same one, or give another folder")


def run_jobs(jobs: Sequence[AnyJob], workers: int, ended: Callable[[AnyJob, float], None]) -> list[AnyJob]:
    """Do the jobs that aren't done, the first that can start first, so many at once; those left over failed.

    Each of the workers has a GPU of its own, as far as there are enough. ``ended`` is called after each job with its
    seconds. Processes that run when this is interrupted are ended.
    """
    context = mp.get_context("spawn")
    waiting = [job for job in jobs if not job.done]
    running: dict[int, tuple[BaseProcess, AnyJob, float, int]] = {}
    idle, gpus = list(range(workers)), _gpus()
    failed: list[AnyJob] = []
    over: list[tuple[AnyJob, float]] = []
    try:
        while True:
            while idle and (job := next((job for job in waiting if job.ready), None)):
                waiting.remove(job)
                worker = idle.pop(0)
                process = context.Process(target=_work, args=(job, gpus[worker % len(gpus)] if gpus else ""))
                process.start()
                running[process.sentinel] = (process, job, time.monotonic(), worker)
            while over:  # told only now, so that no worker waits for the telling
                ended(*over.pop(0))
            if not running:
                return failed + waiting
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int)
                ended_process, job, started, worker = running.pop(sentinel)
                ended_process.join()
                idle.append(worker)
                if ended_process.exitcode or not job.done:
                    failed.append(job)
                over.append((job, time.monotonic() - started))
    finally:
        for left, *_ in running.values():
            left.terminate()


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


def _work(job: Job, gpu: str) -> None:
    """Do a job in a process of its own: a GPU, one thread, its output in its log, its end where its parent ends."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    Thread(target=_end_with_parent, daemon=True).start()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    torch.set_num_threads(1)
    job.work()


def _end_with_parent() -> None:
    parent = mp.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
