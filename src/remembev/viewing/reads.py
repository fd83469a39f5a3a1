"""Selection of the memory reads and tokens of a frame that a recording shows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.viewing.views import MemoryView

MAX_CELLS, READS_PER_CELL, MIN_AFFINITY = 12, 3, 0.1
"""Number of cells whose reads are shown, of reads of each, and the least affinity of a read that is shown."""
MAX_TOKENS = 1_000
"""Number of tokens of a frame that are shown, those with the most affinity."""


@dataclass(frozen=True)
class Read:
    """A cell's read of one token."""

    cell: Tensor  # [2], centre of the cell in metres
    token: int  # index in the store
    affinity: float  # the token's share of what the cell read


def strongest_reads(memory: MemoryView, boxes: Tensor) -> list[Read]:
    """Return the reads of highest affinity of the cells under boxes [K, ≥2], in the order of the boxes."""
    row, column, inside = memory.grid.cells(boxes)
    cells = list(dict.fromkeys((row * memory.grid.width + column)[inside].tolist()))[:MAX_CELLS]
    centres = memory.grid.centres().flatten(0, 1)
    affinity, order = memory.read.affinity[0, cells].cpu().sort(dim=1, descending=True, stable=True)
    token = memory.read.token[0, cells].cpu().gather(1, order)
    return [
        Read(centres[cell], cell_token, cell_affinity)
        for cell, cell_tokens, cell_affinities in zip(cells, token.tolist(), affinity.tolist(), strict=True)
        for cell_token, cell_affinity in list(zip(cell_tokens, cell_affinities, strict=True))[:READS_PER_CELL]
        if cell_affinity >= MIN_AFFINITY
    ]


def most_read(memory: MemoryView) -> tuple[Tensor, Tensor]:
    """Return the indices [S] of the tokens that were read most, and the total affinity [S] of each."""
    read = memory.read
    total = torch.zeros_like(read.age[0], dtype=read.affinity.dtype)
    total = total.scatter_add(0, read.token[0].flatten(), read.affinity[0].flatten()).cpu()
    indices = total.argsort(descending=True, stable=True)[:MAX_TOKENS]
    indices = indices[total[indices] > 0]
    return indices, total[indices]
