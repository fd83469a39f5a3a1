"""Progress of a training where output is no terminal."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console

from remembev.progress import ProgressLines


class TrainingLines(ProgressBar):
    """Takes the place of Lightning's bar: a line every half minute, with the step and its loss."""

    def __init__(self, what: str) -> None:
        """Call the training ``what``."""
        super().__init__()
        self._what, self._enabled = what, True

    def disable(self) -> None:
        """Write nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """Write lines again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start to count, at the step of the checkpoint if the run is resumed."""
        steps = int(trainer.estimated_stepping_batches)
        self._lines = ProgressLines(self._what, steps, Console(stderr=True), done=trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step."""
        if self._enabled and trainer.is_global_zero:
            self._lines.advance(note=f", loss {trainer.callback_metrics['train/loss']:.3f}")
