"""The benchmark of the memory read."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from remembev.bench import read
from remembev.bench.read import ReadSize, bench_memory_read

SMALL = ReadSize(tokens=1500, queries=2000, key_dim=16, value_dim=16, top_k=10)


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


def test_both_ways_read_the_same() -> None:
    inputs = read._draw(SMALL)
    torch.testing.assert_close(read._kernel(inputs, 10), read._dense(inputs, 10), rtol=1e-4, atol=1e-5)


@on_linux
def test_the_dense_way_takes_its_two_matrices_of_all_pairs_and_the_kernel_less_than_one() -> None:
    measured = [bench_memory_read(SMALL, repeats=1) for _ in range(2)]
    matrix = 4 * SMALL.tokens * SMALL.queries
    dense = max(found.dense.peak_bytes for found in measured)
    assert dense > 1.8 * matrix
    assert max(found.kernel.peak_bytes for found in measured) < dense
    assert min(min(found.dense.seconds, found.kernel.seconds) for found in measured) > 0
