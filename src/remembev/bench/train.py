"""Peak memory and time of a training step by clip length.

Each measurement is a short training run in its own process. Peak memory on CUDA is ``max_memory_allocated``: weights,
optimiser and activations. On a CPU it is the rise of resident memory from after the first clip is loaded, by the
kernel's high-water mark (Linux only). It repeats to about 20 MiB and includes what doesn't depend on the clip length:
optimiser state, work space, allocator slack.
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
    """Cost of a training step on a clip; None if the device ran out of memory."""

    length: int
    way: str
    peak_bytes: int | None
    seconds: float | None


def training_ways(tbptt_frames: int) -> dict[str, dict[str, Any]]:
    """Return the compared ways to train on a clip, as changes to OPTIMIZATION by name."""
    return {
        "whole clip": {"TBPTT_FRAMES": None, "ACTIVATION_CHECKPOINTING": False},
        "ACTIVATION_CHECKPOINTING": {"TBPTT_FRAMES": None, "ACTIVATION_CHECKPOINTING": True},
        f"TBPTT_FRAMES: {tbptt_frames}": {"TBPTT_FRAMES": tbptt_frames, "ACTIVATION_CHECKPOINTING": False},
    }


def bench_training(
    cfg: Config, data: Path, lengths: Sequence[int], *, tbptt_frames: int = 2, device: str = "cpu", steps: int = 4
) -> Iterator[StepCost]:
    """Measure each clip length and way to train; yield them one by one.

    Args:
        cfg: The configuration.
        data: Root of the data set.
        lengths: Frames per clip.
        tbptt_frames: Frames per chunk of the way that truncates.
        device: Device to train on.
        steps: Steps; the time is the median of all but the first.

    Raises:
        UserError: If memory can't be measured or the device is not available.
        DataError: If no scene is long enough for a clip.
    """
    for length in lengths:
        for way, options in training_ways(tbptt_frames).items():
            plan = {**options, "NUM_EPOCHS": 1, "BATCHES_PER_EPOCH": steps}
            changes = {f"OPTIMIZATION.{key}": value for key, value in plan.items()}
            changed = cfg.with_changes({"DATA_CONFIG.SEQ_LEN": length, **changes})
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                try:
                    peak, seconds = fresh.submit(_measure, changed, data, device).result()
                except torch.OutOfMemoryError:
                    yield StepCost(length, way, None, None)
                else:
                    yield StepCost(length, way, peak, seconds)


def _measure(cfg: Config, data: Path, device: str) -> tuple[int, float]:
    """Return peak memory in bytes and seconds of a step, in a fresh process."""
    kind, _, number = device.partition(":")
    if kind == "cpu" or number:
        os.environ["CUDA_VISIBLE_DEVICES"] = number
    if (kind == "cuda") != torch.cuda.is_available():
        raise UserError(f"device {device} is not available")
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
    """Measures peak memory since the first step began, and the seconds of each step."""

    def __init__(self, cfg: Config, timer: StageTimer) -> None:
        super().__init__(cfg)
        self.timer = timer
        self.on_cuda = timer.device.type == "cuda"
        self.peak = 0
        self.seconds: list[float] = []
        self._baseline = 0
        self._start = 0.0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Start the clock, and before the first step the memory measurement."""
        if batch_idx == 0:
            if self.on_cuda:
                torch.cuda.reset_peak_memory_stats()
            else:
                self._baseline = reset_peak()
        self._start = self.timer.now()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop the clock and read the peak."""
        self.seconds.append(self.timer.now() - self._start)
        self.peak = torch.cuda.max_memory_allocated() if self.on_cuda else peak() - self._baseline
