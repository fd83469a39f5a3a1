"""The benchmark of the memory read."""

from __future__ import annotations

import sys

import pytest
import torch

from remembev.ops import bench
from remembev.ops.bench import ReadSize, bench_memory_read
from remembev.ops.peak import peak, reset_peak

SMALL = ReadSize(tokens=1500, queries=2000, key_dim=16, value_dim=16, top_k=10)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="peak memory on a CPU is Linux's to tell")


@on_linux
def test_the_peak_holds_what_was_given_back_before_anyone_looked() -> None:
    baseline = reset_peak()
    torch.ones(2**26).sum().item()
    assert peak() - baseline == pytest.approx(2**28, rel=0.1)
    assert reset_peak() == pytest.approx(baseline, abs=2**25)


def test_both_ways_read_the_same() -> None:
    inputs = bench._draw(SMALL)
    torch.testing.assert_close(bench._kernel(inputs, 10), bench._dense(inputs, 10), rtol=1e-4, atol=1e-5)


@on_linux
def test_the_dense_way_takes_its_two_matrices_of_all_pairs_and_the_kernel_less_than_one() -> None:
    measured = bench_memory_read(SMALL, repeats=1)
    matrix = 4 * SMALL.tokens * SMALL.queries
    assert measured.dense.peak_bytes > 1.8 * matrix
    assert measured.kernel.peak_bytes < measured.dense.peak_bytes
    assert min(measured.dense.seconds, measured.kernel.seconds) > 0
