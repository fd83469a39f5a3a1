"""Which of the many reads of a frame are worth looking at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.viewing.frame import MemoryView

READING_CELLS, READS_OF_A_CELL, LEAST_AFFINITY = 12, 3, 0.1
"""Cells whose reads are shown, how many reads of each, and how much of what a cell read the least of them is."""
MAX_TOKENS = 1_000
"""Tokens of a frame that are shown: those that were read most."""


@dataclass(frozen=True)
class Read:
    """A cell that read a token."""

    cell: Tensor  # [2], its centre in metres
    token: int  # place in the store
    affinity: float  # share of the token in what the cell read


def strongest_reads(memory: MemoryView, boxes: Tensor) -> list[Read]:
    """What the cells under boxes [K, ≥2] read most, cells in the order of their boxes."""
    row, column, inside = memory.grid.cells(boxes)
    cells = list(dict.fromkeys((row * memory.grid.width + column)[inside].tolist()))[:READING_CELLS]
    centres = memory.grid.centres().flatten(0, 1)
    affinity, order = memory.read.affinity[0, cells].cpu().sort(dim=1, descending=True, stable=True)
    token = memory.read.token[0, cells].cpu().gather(1, order)
    return [
        Read(centres[cell], one, share)
        for cell, tokens, shares in zip(cells, token.tolist(), affinity.tolist(), strict=True)
        for one, share in list(zip(tokens, shares, strict=True))[:READS_OF_A_CELL]
        if share >= LEAST_AFFINITY
    ]


def most_read(memory: MemoryView) -> tuple[Tensor, Tensor]:
    """Places [S] in the store of the tokens that were read most, and the affinity [S] that each received in all."""
    read = memory.read
    received = torch.zeros_like(read.age[0], dtype=read.affinity.dtype)
    received = received.scatter_add(0, read.token[0].flatten(), read.affinity[0].flatten()).cpu()
    places = received.argsort(descending=True, stable=True)[:MAX_TOKENS]
    places = places[received[places] > 0]
    return places, received[places]
