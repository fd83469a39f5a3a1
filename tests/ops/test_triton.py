"""The Triton kernels without a GPU: in Triton's interpreter against PyTorch, and that they compile for one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

PILLARS = """
import torch
from remembev.ops import pillars
from tests.ops.test_pillars import GRID, LIMITS, Z_RANGE, random_clouds, random_layer

assert pillars.runs_triton(torch.zeros(1))
for seed, limits in enumerate(LIMITS):
    layer = random_layer(seed, 11 + seed + seed % 2)
    inputs = *random_clouds(seed, 2, 25 * seed, 5 + seed), *layer, GRID, Z_RANGE, *limits
    bev = pillars.encode_pillars(*inputs)
    pillars.runs_triton, on = (lambda _: False), pillars.runs_triton
    torch.testing.assert_close(bev, pillars.encode_pillars(*inputs), rtol=1e-5, atol=1e-5)
    pillars.runs_triton = on
"""

MEMORY_READ = """
import torch
from remembev.ops import memory_read, memory_search
from tests.ops.test_memory_read import random_places, random_read, single

inputs = single(random_read(2, 2, 8, 4, 131, 70))
positions, age = random_places(inputs)
positions = memory_read.Positions(positions.query.float(), positions.token.float())
for further in ({"top_k": 1}, {"top_k": 3, "positions": positions, "age": age.float()}):
    read = memory_read.read_memory(**inputs, **further)
    memory_search.runs_triton, on = (lambda _: False), memory_search.runs_triton
    expected = memory_read.read_memory(**inputs, **further)
    memory_search.runs_triton = on
    torch.testing.assert_close(read.value, expected.value)
    torch.testing.assert_close(read.usage, expected.usage)
    assert torch.equal(read.nothing, expected.nothing)

scores = -torch.rand(1, 9, 640).mul(40).floor()
sorted_stably = scores.sort(dim=2, descending=True, stable=True).indices
assert torch.equal(memory_search._search_by_triton(torch.eye(9)[None], scores, 7), sorted_stably[..., :7])
"""

NMS = """
import torch
from remembev.ops import nms

generator = torch.Generator().manual_seed(0)
cases = (1.0, 1.0, 9, 0.2), (3.0, 0.5, 40, 0.0), (9.0, 0.9, 40, 0.6), (9.0, 0.0, 5, 0.2)
for spread, share, limit, threshold in cases:
    boxes = torch.rand(4, 37, 9, generator=generator) * 2 + 0.5
    boxes[..., :2] = torch.randn(4, 37, 2, generator=generator) * spread
    boxes[..., 6] *= 3
    boxes[0, 9] = boxes[0, 3]
    boxes[1, 5, 3] = torch.nan
    valid = torch.rand(4, 37, generator=generator) < share
    picked = nms.pick_best_first(boxes, valid, threshold, limit)
    nms.runs_triton, on = (lambda _: False), nms.runs_triton
    assert torch.equal(picked, nms.pick_best_first(boxes, valid, threshold, limit)), (spread, picked)
    nms.runs_triton = on
"""

COMPILES = """
import triton
from triton.backends.compiler import GPUTarget
from remembev.ops.triton import memory_read, nms, pillars

def compiles(kernel, constants, **arguments):
    signature = arguments | {name: "constexpr" for name in constants}
    source = triton.compiler.ASTSource(kernel, signature, constants)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]

numbers, places = "*fp32", "*i64"
compiles(
    pillars._encode_pillar, {"COLUMNS": 13, "WITH_DISTANCE": True, "CHANNELS": 64, "ROWS": 16},
    points=numbers, order=places, start=places, count=places, cell=places, centre=numbers, of_point=numbers,
    of_pillar=numbers, bev=numbers, max_points="i32", channels="i32",
)
sizes = {"factors": "i32", "queries": "i32", "tokens": "i32"}
compiles(
    memory_read._maxima_of_tile, {"QUERIES": 64, "TOKENS": 64, "FACTORS": 32, "BLOCK": 32},
    query=numbers, token=numbers, maxima=numbers, **sizes,
)
compiles(
    memory_read._scores_of_block, {"FACTORS": 32, "BLOCK": 32},
    query=numbers, token=numbers, block=places, scores=numbers, **sizes, count="i32",
)
compiles(
    nms._pick_row, {"BLOCK": 1024}, rects=numbers, valid="*i1", picked=places, count="i32", limit="i32",
    threshold="fp32",
)
"""


@pytest.mark.parametrize(
    ("program", "interpreted"),
    [(PILLARS, "1"), (MEMORY_READ, "1"), (NMS, "1"), (COMPILES, "0")],
    ids=["pillars", "memory read", "nms", "compiles"],
)
def test_the_kernels_agree_with_pytorch_and_compile(program: str, interpreted: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": interpreted}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
