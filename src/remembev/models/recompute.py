"""Activation checkpointing of a frame: what back-propagation needs of it is worked out a second time, not kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from remembev.structs import TensorStruct

State = TypeVar("State", bound=TensorStruct)
Result = TypeVar("Result")


def recomputed(step: Callable[[State], Result], state: State, module: nn.Module) -> Result:
    """``step(state)``, of which no more than the state is kept: to be back-propagated, the step runs again.

    It runs as it did the first time: with the same random numbers, under the same autocast, and with the statistics
    that the batch normalisations of ``module`` had then. Their running statistics are updated once.
    """
    names = list(state.named())

    def run(*tensors: Tensor) -> Result:
        return step(state.with_named(dict(zip(names, tensors, strict=True))))

    # The tensors are arguments, because it is their devices whose random number generators are put back.
    return checkpoint(
        run, *state.named().values(), use_reentrant=False, context_fn=lambda: (nullcontext(), _Statistics(module))
    )


class _Statistics:
    """The running statistics as they are when this is made, for as long as it is entered."""

    def __init__(self, module: nn.Module) -> None:
        self._norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
        self._then = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in self._norms]
        self._now: list[dict[str, Tensor]] = []

    def __enter__(self) -> None:
        self._now = [dict(norm.named_buffers()) for norm in self._norms]
        self._put([{name: buffer.clone() for name, buffer in buffers.items()} for buffers in self._then])

    def __exit__(self, *exception: object) -> None:
        self._put(self._now)

    def _put(self, statistics: list[dict[str, Tensor]]) -> None:
        """Other tensors in their place: what autograd has saved of the present ones must not change."""
        for norm, buffers in zip(self._norms, statistics, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
