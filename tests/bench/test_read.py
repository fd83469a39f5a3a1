"""The benchmark of the memory read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from remembev.bench import read
from remembev.bench.read import ReadSize, bench_memory_read
from remembev.config import load_config
from remembev.geometry import BEVGrid

GRID = BEVGrid(-32.0, -32.0, 32.0, 32.0, height=45, width=45)
SMALL = ReadSize(tokens=1500, grid=GRID, key_dim=16, value_dim=16, top_k=10)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="peak CPU memory can only be measured on Linux")


@on_linux
def test_the_peak_holds_what_was_given_back_before_anyone_looked() -> None:
    program = (
        "import torch\n"
        "from remembev.bench.peak_memory import peak, reset_peak\n"
        "for _ in range(3):\n"
        "    baseline = reset_peak()\n"
        "    torch.ones(2**26).sum().item()\n"
        "    print(peak() - baseline)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # A system that takes idle pages away meanwhile lowers what is seen, nothing raises it: the highest counts.
    assert max(map(int, done.stdout.split())) == pytest.approx(2**28, rel=0.1)


def test_the_dense_way_and_the_kernel_read_the_same_and_a_wide_distance_term_nearly_that() -> None:
    inputs = read._draw(SMALL)
    torch.testing.assert_close(read._kernel(inputs), read._dense(inputs), rtol=1e-4, atol=1e-5)
    wide = read._draw(replace(SMALL, distance=1e5))
    torch.testing.assert_close(read._nearby(wide), read._kernel(wide), rtol=1e-4, atol=1e-5)
    assert (read._nearby(inputs) - read._kernel(inputs)).abs().max() > 0.1


def test_the_size_is_that_of_a_full_memory_unless_told_otherwise() -> None:
    cfg = load_config("nuscenes", ["MODEL.MEMORY.READ.DISTANCE=3 m"])
    size = ReadSize.of(cfg)
    assert (size.tokens, size.queries, size.distance) == (20_480, 4096, 3.0)
    assert ReadSize.of(cfg, tokens=100).tokens == 100


@on_linux
def test_the_dense_way_takes_its_two_matrices_of_all_pairs_and_the_kernel_less_than_one() -> None:
    measured = [bench_memory_read(SMALL, repeats=1) for _ in range(2)]
    matrix = 4 * SMALL.tokens * SMALL.queries
    dense = max(found.dense.peak_bytes for found in measured)
    assert dense > 1.8 * matrix
    assert max(found.kernel.peak_bytes for found in measured) < dense
    assert min(min(way.seconds for way in (found.dense, found.kernel, found.nearby)) for found in measured) > 0
