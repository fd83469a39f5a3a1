"""What a read took from where, noted while somebody watches, in the one code path there is."""

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
    affinity: Tensor  # [B, Q, K], the softmax that weighted their values; 0 where nothing is stored
    position: Tensor  # [B, 3, N] float64, metres in the LiDAR frame of the reading step
    age: Tensor  # [B, N], seconds since the token was written
    valid: Tensor  # [B, N] bool, False where nothing is stored


_traced: ContextVar[list[TracedRead] | None] = ContextVar("remembev_watched_reads", default=None)


@contextmanager
def trace_reads() -> Iterator[list[TracedRead]]:
    """Every read of a memory inside the block, in order, in a list that fills as they happen."""
    reads: list[TracedRead] = []
    before = _traced.set(reads)
    try:
        yield reads
    finally:
        _traced.reset(before)


def record_read(store: TokenStore, read: Readout) -> None:
    """Tell whoever watches; costs nothing worth naming where nobody does."""
    reads = _traced.get()
    if reads is not None:
        affinity = read.affinity.detach()
        reads.append(TracedRead(read.token, affinity, store.position, store.age, store.valid))
