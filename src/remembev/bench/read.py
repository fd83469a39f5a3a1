"""Time and peak memory of the memory read, against the dense formulation with a matrix of all similarities."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median

import torch
from torch import Tensor

from remembev.bench.peak_memory import peak, reset_peak
from remembev.ops.memory_read import read_memory
from remembev.ops.reference import read_memory_dense

_Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class ReadSize:
    """Size of a read of one agent: tokens, queries, channels of keys and values, tokens per query."""

    tokens: int = 10_000
    queries: int = 4096
    key_dim: int = 64
    value_dim: int = 128
    top_k: int = 30


@dataclass(frozen=True)
class ReadCost:
    """Cost of a read: median seconds of several reads, and peak memory."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class ReadBench:
    """Both ways to read, timed in turn in one process."""

    size: ReadSize
    dense: ReadCost
    kernel: ReadCost


def bench_memory_read(size: ReadSize | None = None, *, repeats: int = 7) -> ReadBench:
    """Measure both ways to read on the CPU, with PyTorch's number of threads.

    Peak memory is the rise of resident memory in a fresh process.

    Raises:
        UserError: If peak memory can't be measured.
    """
    size = size or ReadSize()
    inputs = _draw(size)
    seconds: dict[Callable[..., Tensor], list[float]] = {_dense: [], _kernel: []}
    with torch.inference_mode():
        for way in [*seconds] * (repeats + 1):
            start = time.perf_counter()
            way(inputs, size.top_k)
            seconds[way].append(time.perf_counter() - start)
    costs = [ReadCost(median(times[1:]), _peak_of_fresh_process(way, size)) for way, times in seconds.items()]
    return ReadBench(size, *costs)


def _dense(inputs: _Inputs, top_k: int) -> Tensor:
    query_key, selection, key, shrinkage, value, valid = inputs
    return read_memory_dense(query_key, selection, key, shrinkage, value[:, 0], valid, top_k=top_k)


def _kernel(inputs: _Inputs, top_k: int) -> Tensor:
    *tensors, value, valid = inputs
    has_value = torch.ones_like(value[:, :, 0], dtype=torch.bool)
    query_key, selection, key, shrinkage = tensors
    return read_memory(query_key, selection, key, shrinkage, value, has_value, valid, top_k=top_k).value[:, 0]


def _draw(size: ReadSize) -> _Inputs:
    """Draw random inputs; one token in twenty is not valid."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    query_key, selection = normal(size.key_dim, size.queries), normal(size.key_dim, size.queries).sigmoid()
    key, shrinkage = normal(size.key_dim, size.tokens), normal(1, size.tokens).square() + 1
    valid = torch.rand(1, size.tokens, generator=generator) < 0.95
    return query_key, selection, key, shrinkage, normal(1, size.value_dim, size.tokens), valid


def _peak_of_fresh_process(way: Callable[..., Tensor], size: ReadSize) -> int:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_peak, way, size, torch.get_num_threads()).result()


def _peak(way: Callable[..., Tensor], size: ReadSize, threads: int) -> int:
    """Return the bytes by which a read raises the memory of this process, after a small one to warm libraries up."""
    torch.set_num_threads(threads)
    inputs = _draw(size)
    with torch.inference_mode():
        way(_draw(ReadSize(tokens=64, queries=8)), 30)
        before = reset_peak()
        way(inputs, size.top_k)
    return peak() - before
