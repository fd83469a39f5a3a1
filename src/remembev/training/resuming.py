"""Exact resume after a kill: atomic checkpoints that also hold the logged curves.

No random state is saved. Clips are seeded by seed, epoch and position (``ClipSampler``), the model's steps by seed,
epoch and step (``SeedSteps``).
"""

from __future__ import annotations

import csv
import os
import pickle
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import CSVLogger

from remembev.config.sizes import Seconds
from remembev.data import mixed_seed
from remembev.errors import CheckpointError
from remembev.files import atomic_write

_KEY = "remembev"


@dataclass(frozen=True)
class Progress:
    """Progress of a run, stored in Lightning's checkpoint beside Lightning's own."""

    seed: int
    processes: int
    step: int  # optimiser steps so far
    epoch: int
    batches: int  # batches of the epoch that each process has done
    curves: str  # text of metrics.csv so far

    @classmethod
    def read(cls, path: Path) -> Progress:
        """Read the progress in a checkpoint. Raises CheckpointError if the file isn't a training checkpoint."""
        try:
            return cls(**torch.load(path, map_location="cpu", mmap=True, weights_only=True)[_KEY])
        except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{path}: not a training checkpoint, or truncated: {error}") from error


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written atomically.

    Lightning itself writes to the system's temporary folder first, from which a file may be copied rather than moved:
    a kill could truncate it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint. Until it is complete and on the disk, ``path`` is unchanged."""
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class SaveProgress(Checkpoint):
    """Checkpoints at an interval of steps or seconds, and at the end of every epoch.

    Lightning's ``ModelCheckpoint`` has no interval in seconds in manual optimisation, and doesn't combine steps with
    epochs. As a ``Checkpoint`` this runs after all other callbacks, whose state is then saved too.

    Args:
        path: The checkpoint file, overwritten each time.
        curves: The table of logged values, copied into the checkpoint.
        seed: Seed of the run.
        every: Interval in steps or seconds.
        log_every: Interval of logging, in steps.
    """

    def __init__(self, path: Path, curves: Path, *, seed: int, every: int | Seconds, log_every: int) -> None:
        self.path = path
        self.curves = curves
        self.seed = seed
        self.log_every = log_every
        self.every = every
        self._position = 0, 0  # epoch, batches

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the first interval."""
        self._start_interval(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if the interval is over.

        Not after a step whose losses are logged: Lightning logs them after this call, so that they would be missing
        from a resumed run. Not after an epoch's last step, which ends with a checkpoint anyway.
        """
        logged = trainer.global_step % self.log_every == 0
        last = batch_idx + 1 == trainer.num_training_batches
        if not logged and not last and self._is_due(trainer):
            self._save(trainer, trainer.current_epoch, batch_idx + 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save at the end of the epoch."""
        self._save(trainer, trainer.current_epoch + 1, 0)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the run's progress to a checkpoint."""
        curves = self.curves.read_bytes().decode() if trainer.is_global_zero and self.curves.is_file() else ""
        progress = Progress(self.seed, trainer.world_size, trainer.global_step, *self._position, curves)
        checkpoint[_KEY] = asdict(progress)

    def _is_due(self, trainer: L.Trainer) -> bool:
        if isinstance(self.every, int):
            return trainer.global_step - self._step >= self.every
        due = time.monotonic() - self._time >= self.every
        return bool(trainer.strategy.broadcast(due))  # clocks differ, but all processes have to save at the same step

    def _save(self, trainer: L.Trainer, epoch: int, batches: int) -> None:
        self._position = epoch, batches
        trainer.save_checkpoint(self.path)
        self._start_interval(trainer)

    def _start_interval(self, trainer: L.Trainer) -> None:
        self._step, self._time = trainer.global_step, time.monotonic()


class SeedSteps(Callback):
    """Seed the model's random numbers of a step by the run's seed, the epoch, the step and the process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed a training step."""
        torch.manual_seed(mixed_seed(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank))

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Seed a validation step, the same in every epoch."""
        torch.manual_seed(mixed_seed(self.seed, batch_idx, trainer.global_rank))


def restore_curves(logger: CSVLogger, curves: str) -> None:
    """Restore the table of logged values of a checkpoint. Later steps run again and are logged again."""
    writer = logger.experiment  # deletes an existing table when it is created
    if curves:
        with atomic_write(Path(writer.metrics_file_path)) as temporary:
            temporary.write_bytes(curves.encode())
        writer.metrics_keys = next(csv.reader(curves.splitlines()))
