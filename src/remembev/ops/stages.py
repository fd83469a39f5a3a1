"""Named stages of a streaming step, so that a benchmark can watch them in the one code path there is."""

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
    """Takes a reading where each stage begins and where it ends, while ``recording()``."""

    def __init__(self) -> None:
        self.spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
        """Readings at both ends of every run of each stage; stages in order of first appearance."""

    @abstractmethod
    def now(self) -> float:
        """The reading."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Observe every ``stage`` entered inside."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)


class StageTimer(StageObserver):
    """Reads seconds on a steady clock, once the device has done all that it was given."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def now(self) -> float:
        """Seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @property
    def seconds(self) -> dict[str, list[float]]:
        """The seconds that every run of each stage took."""
        return {name: [stop - start for start, stop in spans] for name, spans in self.spans.items()}


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark the code inside as one stage; costs nothing worth naming unless a ``StageObserver`` is recording."""
    observer = _active.get()
    if observer is None:
        yield
        return
    start = observer.now()
    yield
    observer.spans[name].append((start, observer.now()))
