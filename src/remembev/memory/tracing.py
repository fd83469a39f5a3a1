"""Records of which tokens a read used, for looking at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor

from remembev.memory.state import TokenStore
from remembev.ops.memory_read import Readout


@dataclass(frozen=True)
class TracedRead:
    """One read of a store of N tokens by Q cells, row by row, each from its K most similar tokens."""

    token: Tensor  # [B, Q, K] int64, places in the store
    affinity: Tensor  # [B, Q, K], the softmax weights of their values; 0 for empty places
    position: Tensor  # [B, 3, N] float64, metres in the LiDAR frame of the reading step
    age: Tensor  # [B, N], seconds since the token was written
    valid: Tensor  # [B, N] bool, False for empty places


_trace: ContextVar[list[TracedRead] | None] = ContextVar("remembev_read_trace", default=None)


@contextmanager
def trace_reads() -> Iterator[list[TracedRead]]:
    """Record every memory read inside the block.

    Yields:
        A list that grows by a ``TracedRead`` a read.
    """
    reads: list[TracedRead] = []
    before = _trace.set(reads)
    try:
        yield reads
    finally:
        _trace.reset(before)


def record_read(store: TokenStore, readout: Readout) -> None:
    """Append a read to the trace, if there is one."""
    reads = _trace.get()
    if reads is not None:
        affinity = readout.affinity.detach()
        reads.append(TracedRead(readout.token, affinity, store.position, store.age, store.valid))
