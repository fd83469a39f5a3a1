"""Named stages of a streaming step, for benchmarks to observe."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_active: ContextVar[StageObserver | None] = ContextVar("remembev_stage_observer", default=None)


class StageObserver(ABC):
    """Takes a reading at the begin and end of each stage while ``recording()``."""

    def __init__(self) -> None:
        self.spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
        """Readings at begin and end of every run of each stage, in order of first appearance."""

    @abstractmethod
    def now(self) -> float:
        """Return the reading."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Observe every ``stage`` entered inside."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)


class StageTimer(StageObserver):
    """Reads seconds of a monotonic clock after synchronising the device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def now(self) -> float:
        """Return seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @property
    def seconds(self) -> dict[str, list[float]]:
        """Seconds of every run of each stage."""
        return {name: [stop - start for start, stop in spans] for name, spans in self.spans.items()}


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark the code inside as one stage; free unless a ``StageObserver`` is recording."""
    observer = _active.get()
    if observer is None:
        yield
        return
    start = observer.now()
    yield
    observer.spans[name].append((start, observer.now()))
