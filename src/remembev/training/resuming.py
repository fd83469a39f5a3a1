"""What a run that was killed needs to go on as if nothing had been: whole checkpoints, with the curves in them.

Random numbers need no saving: those of the clips are a function of seed, epoch and place (``ClipSampler``), those of
the model one of seed, epoch and step (``SeedSteps``).
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
    """How far a run is, beside what Lightning keeps of it in its checkpoint.

    seed, processes  what it was begun with
    step             steps of the optimiser so far
    epoch, batches   the epoch it is in, and how many batches of that each process has done
    curves           the table of its curves so far
    """

    seed: int
    processes: int
    step: int
    epoch: int
    batches: int
    curves: str

    @classmethod
    def read(cls, path: Path) -> Progress:
        """That of a checkpoint. Raises CheckpointError for a file that is none of a training's."""
        try:
            return cls(**torch.load(path, map_location="cpu", mmap=True, weights_only=True)[_KEY])
        except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{path}: not a checkpoint of a training, or not all of it: {error}") from error


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written beside their place and moved there.

    Lightning's own writing goes by the system's folder for temporary files: a kill leaves them there, and from another
    file system they are copied, not moved, so that a kill may leave half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint; until it is whole and on the disk, ``path`` stays what it was."""
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class SaveProgress(Checkpoint):
    """Saves a checkpoint every so many steps or seconds, and at the end of every epoch.

    ``ModelCheckpoint`` has no seconds in manual optimisation, warns of every step's checkpoint there, and does not do
    steps and epochs in one. Lightning calls a ``Checkpoint`` after all other callbacks, whose work is then saved too.
    """

    def __init__(self, path: Path, curves: Path, *, seed: int, every: int | Seconds, log_every: int) -> None:
        self.path = path
        self.curves = curves
        self.seed = seed
        self.log_every = log_every
        self.steps = every if isinstance(every, int) else None
        self.seconds = None if isinstance(every, int) else every
        self._place = 0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start counting."""
        self._saved(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time for it.

        Not after a step whose losses are logged: Lightning logs them after this, and not again when it goes on from
        here. Nor after an epoch's last step, which validation and the epoch's own checkpoint follow.
        """
        logged = trainer.global_step % self.log_every == 0
        last = batch_idx + 1 == trainer.num_training_batches
        if not logged and not last and self._is_due(trainer):
            self._save(trainer, trainer.current_epoch, batch_idx + 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch."""
        self._save(trainer, trainer.current_epoch + 1, 0)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the run's progress into a checkpoint."""
        curves = self.curves.read_bytes().decode() if trainer.is_global_zero and self.curves.is_file() else ""
        progress = Progress(self.seed, trainer.world_size, trainer.global_step, *self._place, curves)
        checkpoint[_KEY] = asdict(progress)

    def _is_due(self, trainer: L.Trainer) -> bool:
        if self.seconds is None:
            return trainer.global_step - self._step >= (self.steps or 1)
        due = time.monotonic() - self._time >= self.seconds
        return bool(trainer.strategy.broadcast(due))  # the processes' clocks differ, and all have to save at once

    def _save(self, trainer: L.Trainer, epoch: int, batches: int) -> None:
        self._place = epoch, batches
        trainer.save_checkpoint(self.path)
        self._saved(trainer)

    def _saved(self, trainer: L.Trainer) -> None:
        self._step, self._time = trainer.global_step, time.monotonic()


class SeedSteps(Callback):
    """Seeds what the model draws in a step by the run's seed, the epoch, the step and the process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed a step."""
        torch.manual_seed(mixed_seed(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank))

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Seed a clip of validation, alike in every epoch."""
        torch.manual_seed(mixed_seed(self.seed, batch_idx, trainer.global_rank))


def restore_curves(logger: CSVLogger, curves: str) -> None:
    """Let a table of curves be what it was at a checkpoint: what was logged since is done, and logged, again."""
    writer = logger.experiment  # which removes the table when it is made: hence the copy in the checkpoint
    if curves:
        with atomic_write(Path(writer.metrics_file_path)) as temporary:
            temporary.write_bytes(curves.encode())
        writer.metrics_keys = next(csv.reader(curves.splitlines()))
