"""Run resumable jobs in single-threaded processes."""

from __future__ import annotations

import multiprocessing as mp
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Protocol, TypeVar

import torch


class Job(Protocol):
    """Work for a process of its own, to which it is sent."""

    @property
    def title(self) -> str:
        """Title in progress messages."""

    @property
    def log(self) -> Path:
        """Log file."""

    @property
    def done(self) -> bool:
        """True if there is nothing left to do."""

    @property
    def ready(self) -> bool:
        """True if it can start."""

    def work(self) -> None:
        """Run or resume the job."""


AnyJob = TypeVar("AnyJob", bound=Job)


def run_jobs(jobs: Sequence[AnyJob], workers: int, on_end: Callable[[AnyJob, float], None]) -> list[AnyJob]:
    """Run the jobs that aren't done, in order as they become ready, and return those that failed or couldn't start.

    Processes that run when this is interrupted are terminated.

    Args:
        jobs: All jobs, done or not.
        workers: Processes at a time; each has a GPU of its own as far as there are enough.
        on_end: Called after each job with the seconds that it took.
    """
    context = mp.get_context("spawn")
    waiting = [job for job in jobs if not job.done]
    running: dict[int, tuple[BaseProcess, AnyJob, float, int]] = {}
    idle, gpus = list(range(workers)), _gpus()
    failed: list[AnyJob] = []
    ended: list[tuple[AnyJob, float]] = []
    try:
        while True:
            while idle and (job := next((job for job in waiting if job.ready), None)):
                waiting.remove(job)
                worker = idle.pop(0)
                process = context.Process(target=_work, args=(job, gpus[worker % len(gpus)] if gpus else ""))
                process.start()
                running[process.sentinel] = (process, job, time.monotonic(), worker)
            while ended:  # only now, so that no worker waits for the callback
                on_end(*ended.pop(0))
            if not running:
                return failed + waiting
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int)
                process_ended, job, started, worker = running.pop(sentinel)
                process_ended.join()
                idle.append(worker)
                if process_ended.exitcode or not job.done:
                    failed.append(job)
                ended.append((job, time.monotonic() - started))
    finally:
        for process_left, *_ in running.values():
            process_left.terminate()


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


def _work(job: Job, gpu: str) -> None:
    """Do a job in its own process, which ends with its parent: one GPU, one thread, output in the job's log."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    Thread(target=_end_with_parent, daemon=True).start()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    job.work()


def _end_with_parent() -> None:
    parent = mp.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
