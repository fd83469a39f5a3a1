"""What a step of training takes, in memory and time, against the length of its clip.

Each measurement is a short training run as ``remembev train`` does it, in a process of its own. Peak memory is

on CUDA   what PyTorch's tensors take at most (``max_memory_allocated``): weights, optimiser and activations
on a CPU  how far the process's resident memory rises over what it is once the model is built and a clip loaded: the
          kernel's own high-water mark (Linux only), which misses nothing between two looks. It repeats to some 20 MiB
          and holds what doesn't depend on the length: the optimiser's averages, work space, the allocator's slack
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch

from remembev.bench.peak_memory import peak, reset_peak
from remembev.config import Config
from remembev.data import build_seq_loader
from remembev.errors import UserError
from remembev.ops import StageTimer
from remembev.training.module import ClipModule
from remembev.training.run import TrainingRun, build_trainer, silence_lightning


@dataclass(frozen=True)
class StepCost:
    """What a step on a clip takes; None where the device had not enough memory."""

    length: int
    way: str
    peak_bytes: int | None
    seconds: float | None


def training_ways(chunk: int) -> dict[str, dict[str, Any]]:
    """The ways to train on a clip that are compared: changes to OPTIMIZATION, by name."""
    return {
        "whole clip": {"TBPTT_FRAMES": None, "ACTIVATION_CHECKPOINTING": False},
        "ACTIVATION_CHECKPOINTING": {"TBPTT_FRAMES": None, "ACTIVATION_CHECKPOINTING": True},
        f"TBPTT_FRAMES: {chunk}": {"TBPTT_FRAMES": chunk, "ACTIVATION_CHECKPOINTING": False},
    }


def bench_training(
    cfg: Config, data: Path, lengths: Sequence[int], *, chunk: int = 2, device: str = "cpu", steps: int = 4
) -> Iterator[StepCost]:
    """Peak memory of ``steps`` steps, and median time of all but the first, for each length and way.

    Raises UserError where memory can't be measured, or where a clip doesn't fit into the data's scenes.
    """
    for length in lengths:
        for way, options in training_ways(chunk).items():
            data_config = cfg.DATA_CONFIG.model_copy(update={"SEQ_LEN": length})
            short: dict[str, Any] = {"NUM_EPOCHS": 1, "BATCHES_PER_EPOCH": steps}
            optimization = cfg.OPTIMIZATION.model_copy(update={**options, **short})
            changed = cfg.model_copy(update={"DATA_CONFIG": data_config, "OPTIMIZATION": optimization})
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                try:
                    peak, seconds = fresh.submit(_measure, changed, data, device).result()
                except torch.OutOfMemoryError:
                    yield StepCost(length, way, None, None)
                else:
                    yield StepCost(length, way, peak, seconds)


def _measure(cfg: Config, data: Path, device: str) -> tuple[int, float]:
    """Peak memory in bytes and seconds of a step, in a process that has done nothing yet."""
    kind, _, number = device.partition(":")
    if kind == "cpu" or number:
        os.environ["CUDA_VISIBLE_DEVICES"] = number
    if (kind == "cuda") != torch.cuda.is_available():
        raise UserError(f"training doesn't run on {device} here")
    silence_lightning()
    warnings.filterwarnings("ignore", message=".*have no `val_dataloader`")
    L.seed_everything(0, verbose=False)
    module = _Metered(cfg, StageTimer(torch.device(kind)))
    _, loader = build_seq_loader(cfg, logging.getLogger(__name__), 0, root_path=data)
    with TemporaryDirectory() as folder:
        trainer = build_trainer(cfg, TrainingRun(Path(folder)))
        if trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.disable()
        trainer.fit(module, loader)
    return module.peak, median(module.seconds[1:] or module.seconds)


class _Metered(ClipModule):
    """Tells peak memory since the first step began, and the seconds of each step."""

    def __init__(self, cfg: Config, timer: StageTimer) -> None:
        super().__init__(cfg)
        self.timer = timer
        self.on_cuda = timer.device.type == "cuda"
        self.peak = 0
        self.seconds: list[float] = []
        self._baseline = 0
        self._start = 0.0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Start the clock, and before the first step the measurement."""
        if batch_idx == 0:
            if self.on_cuda:
                torch.cuda.reset_peak_memory_stats()
            else:
                self._baseline = reset_peak()
        self._start = self.timer.now()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop the clock, and read the peak so far."""
        self.seconds.append(self.timer.now() - self._start)
        self.peak = torch.cuda.max_memory_allocated() if self.on_cuda else peak() - self._baseline
