"""Activation checkpointing of a frame: the backward pass runs it again instead of keeping its activations."""

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


def checkpoint_step(step: Callable[[State], Result], state: State, module: nn.Module) -> Result:
    """Return ``step(state)``, keeping only the state; the backward pass runs the step again.

    It runs as the first time: with the same random numbers, under the same autocast, and with the running statistics
    that the batch normalisations of ``module`` had. These are updated once.
    """
    names = list(state.named())

    def run(*tensors: Tensor) -> Result:
        return step(state.with_named(dict(zip(names, tensors, strict=True))))

    # Tensors as arguments, because checkpoint restores the random number generators of the arguments' devices.
    return checkpoint(
        run,
        *state.named().values(),
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _RunningStatistics(module)),
    )


class _RunningStatistics:
    """Context with the running statistics of the time at which it was created."""

    def __init__(self, module: nn.Module) -> None:
        self._norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
        self._saved = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in self._norms]
        self._current: list[dict[str, Tensor]] = []

    def __enter__(self) -> None:
        self._current = [dict(norm.named_buffers()) for norm in self._norms]
        self._replace([{name: buffer.clone() for name, buffer in buffers.items()} for buffers in self._saved])

    def __exit__(self, *exception: object) -> None:
        self._replace(self._current)

    def _replace(self, statistics: list[dict[str, Tensor]]) -> None:
        """Replace the buffers rather than write to them: autograd has saved the present ones."""
        for norm, buffers in zip(self._norms, statistics, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
