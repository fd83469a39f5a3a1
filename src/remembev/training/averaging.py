"""Exponential moving average of the weights (``OPTIMIZATION.EMA``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from remembev.models import TemporalPointPillar

Tensors = Sequence[Tensor]


def _moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor], None]:
    """Return the update of averages of one dtype. Integers are copied: torch's own update would round them down."""
    update_floats = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(averages: Tensors, values: Tensors, count: Tensor) -> None:
        if averages[0].is_floating_point():
            update_floats(averages, values, count)
            return
        for average, value in zip(averages, values, strict=True):
            average.copy_(value)

    return update


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights: average ← decay · average + (1 − decay) · weights after every step.

    The first step copies the weights. Running statistics of batch normalisation are averaged like weights, integers
    are copied. Lightning swaps the average in for validation, and keeps both in its checkpoints.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=_moving_average(decay))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Create the average on the training device, to which Lightning moves the weights only after this."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    @property
    def model(self) -> TemporalPointPillar:
        """The model with the averaged weights."""
        assert self._average_model is not None
        return cast(TemporalPointPillar, self._average_model.module.model)
