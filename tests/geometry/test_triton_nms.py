"""The Triton kernel without a GPU: its function in Triton's interpreter, and that it compiles."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

AGREES = """
import torch
from remembev.geometry import pick_best_first, triton_nms
from remembev.geometry.overlap import rectangles

generator = torch.Generator().manual_seed(0)
cases = (1.0, 1.0, 9, 0.2), (3.0, 0.5, 40, 0.0), (9.0, 0.9, 40, 0.6), (9.0, 0.0, 5, 0.2)
for spread, share, limit, threshold in cases:
    boxes = torch.rand(4, 37, 9, generator=generator) * 2 + 0.5
    boxes[..., :2] = torch.randn(4, 37, 2, generator=generator) * spread
    boxes[..., 6] *= 3
    boxes[0, 9] = boxes[0, 3]
    boxes[1, 5, 3] = torch.nan
    valid = torch.rand(4, 37, generator=generator) < share
    picked = triton_nms.pick_best_first_triton(rectangles(boxes), valid, threshold, limit)
    assert torch.equal(picked, pick_best_first(boxes, valid, threshold, limit)), (spread, picked)
"""

COMPILES = """
import triton
from remembev.geometry import triton_nms
from triton.backends.compiler import GPUTarget

arguments = {"rects": "*fp32", "valid": "*i1", "picked": "*i64", "count": "i32", "limit": "i32", "threshold": "fp32"}
kernel = triton.compiler.ASTSource(triton_nms._pick_row, arguments | {"BLOCK": "constexpr"}, {"BLOCK": 1024})
assert triton.compile(kernel, target=GPUTarget("cuda", 80, 32)).asm["cubin"]
"""


@pytest.mark.parametrize(("program", "interpreted"), [(AGREES, "1"), (COMPILES, "0")], ids=["agrees", "compiles"])
def test_the_kernel_agrees_with_the_loop_in_pytorch_and_compiles(program: str, interpreted: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": interpreted}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
