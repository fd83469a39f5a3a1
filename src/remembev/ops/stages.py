"""Named stages of a streaming step, so that a benchmark can time them where they are, in the one code path there is."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_active: ContextVar[StageTimer | None] = ContextVar("remembev_stage_timer", default=None)


class StageTimer:
    """Collects the seconds that each stage took, in order of first appearance, while ``recording()``."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Time every ``stage`` entered inside."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def now(self) -> float:
        """Seconds on a steady clock, once the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark the code inside as one stage; costs nothing worth naming unless a ``StageTimer`` is recording."""
    timer = _active.get()
    if timer is None:
        yield
        return
    start = timer.now()
    yield
    timer.seconds[name].append(timer.now() - start)
