"""Work that each stage of a step can't avoid: operations, and bytes that have to be read and written.

Counted on the real step as it runs. Operations are those of convolutions and matrix products. Bytes are the inputs that
a stage reads, and the outputs that a later stage or the next step reads, each once. The floor that follows holds for
any implementation of the stage.
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
    """Work of a stage."""

    operations: float
    nbytes: float

    def floor(self, rates: MachineRates, dtype: torch.dtype) -> float:
        """Return the minimum seconds at these rates: the longer of computing and moving bytes."""
        return max(self.operations / rates.peak(dtype), self.nbytes / rates.bandwidth)


def count_work(step: Callable[[], object], following: Callable[[], object]) -> dict[str, Work]:
    """Count the work of each stage of ``step``; ``following`` is the next step, which reads its outputs."""
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
    """Observes the count of operations."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.counter = counter

    def now(self) -> float:
        return self.counter.get_total_flops()


class _Traffic(TorchDispatchMode, StageObserver):  # type: ignore[no-untyped-call]
    """Records which storages every operation reads and makes; observes the number of operations."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)  # type: ignore[no-untyped-call]
        StageObserver.__init__(self)
        self.recorded: dict[str, list[tuple[float, float]]] = {}
        self._reads: list[set[int]] = []
        self._made_at: dict[int, int] = {}
        self._size: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no address is used twice

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
        """Return the bytes that each recorded stage has to read and write."""
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
