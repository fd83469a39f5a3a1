"""What each stage of a step can't do without: its operations, and the bytes that have to come in and go out.

Counted on the real step as it runs. Operations are those of convolutions and matrix products. Bytes are the tensors
that a stage reads and didn't make, and those that it makes and a later stage, or the next step, reads: each once,
whatever the stage does in between. So the floor is one that no way of writing the stage gets under.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from remembev.bench.machine import MachineRates
from remembev.ops import StageObserver


@dataclass(frozen=True)
class Work:
    """What a stage has to do."""

    operations: float
    nbytes: float

    def floor(self, rates: MachineRates, dtype: torch.dtype) -> float:
        """Seconds under which it can't be done at these rates: the longer of computing and moving."""
        return max(self.operations / rates.peak(dtype), self.nbytes / rates.bandwidth)


def count_work(step: Callable[[], object], following: Callable[[], object]) -> dict[str, Work]:
    """The work of each stage of ``step``; ``following`` is the step after it, which reads what this one leaves."""
    counter = FlopCounterMode(display=False)
    operations, traffic = _Operations(counter), _Traffic()
    with counter, operations.recording():
        step()
    with traffic, traffic.recording():
        step()
        traffic.recorded = {name: list(spans) for name, spans in traffic.spans.items()}
        following()
    moved = traffic.nbytes()
    return {
        name: Work(sum(stop - start for start, stop in spans), moved[name]) for name, spans in operations.spans.items()
    }


class _Operations(StageObserver):
    """Reads how many operations have been counted."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.counter = counter

    def now(self) -> float:
        return self.counter.get_total_flops()


class _Traffic(TorchDispatchMode, StageObserver):  # type: ignore[no-untyped-call]
    """Follows which storages every operation reads and makes; reads how many operations there have been."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)  # type: ignore[no-untyped-call]
        StageObserver.__init__(self)
        self.recorded: dict[str, list[tuple[float, float]]] = {}
        self._reads: list[set[int]] = []
        self._made_at: dict[int, int] = {}
        self._size: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no storage gets the address of one that is gone

    def now(self) -> float:
        return len(self._reads)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        read = {self._storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = self._storage(leaf)
                if storage not in read:
                    self._made_at.setdefault(storage, len(self._reads))
        self._reads.append(read)
        return result

    def nbytes(self) -> dict[str, float]:
        """Bytes that have to come into and go out of each recorded stage."""
        return {name: sum(self._crossing(span) for span in spans) for name, spans in self.recorded.items()}

    def _crossing(self, span: tuple[float, float]) -> int:
        start, stop = map(int, span)
        inside = set().union(*self._reads[start:stop])
        later = set().union(*self._reads[stop:])
        made = {storage for storage, place in self._made_at.items() if start <= place < stop}
        return sum(self._size[storage] for storage in (inside - made) | (made & later))

    def _storage(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        used = min(storage.nbytes(), tensor.numel() * tensor.element_size())
        self._size[key] = max(used, self._size.get(key, 0))
        self._alive.append(storage)
        return key
