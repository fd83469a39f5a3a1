from __future__ import annotations

import torch

from remembev.geometry import BEVGrid
from remembev.memory import TracedRead
from remembev.viewing.reads import most_read, strongest_reads
from remembev.viewing.views import MemoryView

GRID = BEVGrid(-4.0, -4.0, 4.0, 4.0, 2, 2)


def memory() -> MemoryView:
    """Four cells that read two of three tokens each; the first token is long-term memory."""
    token = torch.tensor([[[0, 1], [1, 2], [2, 0], [1, 0]]])
    affinity = torch.tensor([[[0.05, 0.95], [0.6, 0.4], [0.3, 0.7], [1.0, 0.0]]])
    position = torch.tensor([[[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    read = TracedRead(token, affinity, position, torch.tensor([[3.0, 0.5, 1.0]]), torch.ones(1, 3, dtype=torch.bool))
    return MemoryView(GRID, read, long_term=1)


def test_cells_under_boxes_are_shown_with_their_strongest_reads_without_weak_ones() -> None:
    boxes = torch.tensor([[2.0, -2.0], [-2.0, -2.0], [3.0, -1.0], [90.0, 0.0]])
    reads = [(read.cell.tolist(), read.token, round(read.affinity, 2)) for read in strongest_reads(memory(), boxes)]
    assert reads == [([2.0, -2.0], 1, 0.6), ([2.0, -2.0], 2, 0.4), ([-2.0, -2.0], 1, 0.95)]


def test_without_boxes_no_read_is_shown() -> None:
    assert strongest_reads(memory(), torch.zeros(0, 9)) == []


def test_tokens_are_sorted_by_the_total_affinity_of_all_cells() -> None:
    indices, affinity = most_read(memory())
    assert indices.tolist() == [1, 0, 2]
    torch.testing.assert_close(affinity, torch.tensor([2.55, 0.75, 0.70]))
