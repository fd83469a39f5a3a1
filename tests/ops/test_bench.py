"""The benchmark of the memory read."""

from __future__ import annotations

import torch

from remembev.ops import bench
from remembev.ops.bench import ReadSize, bench_memory_read

SMALL = ReadSize(tokens=1500, queries=2000, key_dim=16, value_dim=16, top_k=10)


def test_both_ways_read_the_same() -> None:
    inputs = bench._draw(SMALL)
    torch.testing.assert_close(bench._kernel(inputs, 10), bench._dense(inputs, 10), rtol=1e-4, atol=1e-5)


def test_the_dense_way_takes_its_two_matrices_of_all_pairs_and_the_kernel_less_than_one() -> None:
    measured = bench_memory_read(SMALL, repeats=1)
    matrix = 4 * SMALL.tokens * SMALL.queries
    assert measured.dense.peak_bytes > 1.8 * matrix
    assert measured.kernel.peak_bytes < measured.dense.peak_bytes
    assert min(measured.dense.seconds, measured.kernel.seconds) > 0
