"""Time and peak memory of the memory read, against the dense formulation with a matrix of all similarities."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from remembev.bench.peak_memory import peak, reset_peak
from remembev.config import Config
from remembev.geometry import BEVGrid
from remembev.ops.memory_read import Positions, read_memory
from remembev.ops.reference import read_memory_dense


@dataclass(frozen=True)
class ReadSize:
    """Size of a read of one agent: tokens, the grid of the queries, channels of keys and values, tokens per query."""

    tokens: int
    grid: BEVGrid
    key_dim: int = 64
    value_dim: int = 128
    top_k: int = 30
    distance: float = 2.0
    """Metres at which similarity has fallen by ½."""

    @classmethod
    def of(cls, cfg: Config, *, tokens: int | None = None) -> Self:
        """Return the size of a configuration's read of ``tokens``; None: of a full memory."""
        memory = cfg.MODEL.MEMORY
        capacity = memory.LONG_TERM.MAX_TOKENS + (memory.max_frames - 1) * memory.tokens_per_frame(cfg.memory_grid)
        return cls(
            tokens=tokens or capacity,
            grid=cfg.memory_grid,
            key_dim=memory.KEY_DIM,
            value_dim=memory.VALUE_DIM,
            top_k=memory.TOP_K,
            distance=memory.READ.DISTANCE or cls.distance,
        )

    @property
    def queries(self) -> int:
        """Queries: the cells of the grid."""
        return self.grid.height * self.grid.width


@dataclass(frozen=True)
class ReadCost:
    """Cost of a read: median seconds of several reads, and peak memory."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class ReadBench:
    """Three ways to read, timed in turn in one process: dense, and by the kernel without and with a distance term."""

    size: ReadSize
    dense: ReadCost
    kernel: ReadCost
    nearby: ReadCost


def bench_memory_read(size: ReadSize, *, repeats: int = 7) -> ReadBench:
    """Measure the ways to read on the CPU, with PyTorch's number of threads.

    Peak memory is the rise of resident memory in a fresh process.

    Raises:
        UserError: If peak memory can't be measured.
    """
    inputs = _draw(size)
    seconds: dict[Callable[[_Inputs], Tensor], list[float]] = {_dense: [], _kernel: [], _nearby: []}
    with torch.inference_mode():
        for way in [*seconds] * (repeats + 1):
            start = time.perf_counter()
            way(inputs)
            seconds[way].append(time.perf_counter() - start)
    costs = [ReadCost(median(times[1:]), _peak_of_fresh_process(way, size)) for way, times in seconds.items()]
    return ReadBench(size, *costs)


@dataclass(frozen=True)
class _Inputs:
    query_key: Tensor  # [1, C_k, Q]
    selection: Tensor  # [1, C_k, Q]
    key: Tensor  # [1, C_k, N]
    shrinkage: Tensor  # [1, 1, N]
    value: Tensor  # [1, 1, C_v, N]
    valid: Tensor  # [1, N]
    positions: Positions
    top_k: int


def _draw(size: ReadSize) -> _Inputs:
    """Draw random inputs: tokens of cells of the grid, one in twenty not valid; near cells are alike."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    centres = F.pad(size.grid.centres().flatten(0, 1), (0, 1)).T / size.distance
    cells = torch.randint(size.queries, (size.tokens,), generator=generator)
    shape = (size.grid.height, size.grid.width)
    cell_key = F.interpolate(normal(size.key_dim, 16, 16), shape, mode="bilinear").flatten(2)
    return _Inputs(
        query_key=cell_key + normal(size.key_dim, size.queries) / 4,
        selection=normal(size.key_dim, size.queries).sigmoid(),
        key=cell_key[..., cells] + normal(size.key_dim, size.tokens) / 4,
        shrinkage=normal(1, size.tokens).square() + 1,
        value=normal(1, size.value_dim, size.tokens),
        valid=torch.rand(1, size.tokens, generator=generator) < 0.95,
        positions=Positions(centres[None], centres[None, :, cells]),
        top_k=size.top_k,
    )


def _dense(inputs: _Inputs) -> Tensor:
    keys = (inputs.query_key, inputs.selection, inputs.key, inputs.shrinkage)
    return read_memory_dense(*keys, inputs.value[:, 0], inputs.valid, top_k=inputs.top_k)


def _kernel(inputs: _Inputs) -> Tensor:
    return _read(inputs, None)


def _nearby(inputs: _Inputs) -> Tensor:
    return _read(inputs, inputs.positions)


def _read(inputs: _Inputs, positions: Positions | None) -> Tensor:
    keys = (inputs.query_key, inputs.selection, inputs.key, inputs.shrinkage)
    has_value = torch.ones_like(inputs.value[:, :, 0], dtype=torch.bool)
    read = read_memory(*keys, inputs.value, has_value, inputs.valid, top_k=inputs.top_k, positions=positions)
    return read.value[:, 0]


def _peak_of_fresh_process(way: Callable[[_Inputs], Tensor], size: ReadSize) -> int:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_peak, way, size, torch.get_num_threads()).result()


def _peak(way: Callable[[_Inputs], Tensor], size: ReadSize, threads: int) -> int:
    """Return the bytes by which a read raises the memory of this process, after a small one to warm libraries up."""
    torch.set_num_threads(threads)
    inputs = _draw(size)
    with torch.inference_mode():
        way(_draw(replace(size, tokens=64)))
        before = reset_peak()
        way(inputs)
    return peak() - before
