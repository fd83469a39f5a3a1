"""A moving average of the weights, which is what is validated, evaluated and streamed with."""

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
    """Updates averages of one type; torch's own rounds whole numbers down: at a decay of 0.9 an index 3 to 2."""
    update_floats = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(averages: Tensors, values: Tensors, count: Tensor) -> None:
        if averages[0].is_floating_point():
            update_floats(averages, values, count)
            return
        for average, value in zip(averages, values, strict=True):
            average.copy_(value)

    return update


class AveragedWeights(WeightAveraging):
    """After each step of the optimiser average ← decay · average + (1 − decay) · weights; the first step's is a copy.

    Running statistics of batch normalisation are averaged like weights, so that they go with them; whole numbers are
    copied. Lightning swaps the average in for validation, and keeps both it and the weights in its checkpoints.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=_moving_average(decay))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make the average where the weights will be: Lightning moves them to their device only after this."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    @property
    def model(self) -> TemporalPointPillar:
        """The model with the averaged weights."""
        assert self._average_model is not None
        return cast(TemporalPointPillar, self._average_model.module.model)
