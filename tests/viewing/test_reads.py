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


def test_the_cells_under_boxes_are_shown_with_what_they_read_most_the_weakest_left_out() -> None:
    boxes = torch.tensor([[2.0, -2.0], [-2.0, -2.0], [3.0, -1.0], [90.0, 0.0]])
    found = [(read.cell.tolist(), read.token, round(read.affinity, 2)) for read in strongest_reads(memory(), boxes)]
    assert found == [([2.0, -2.0], 1, 0.6), ([2.0, -2.0], 2, 0.4), ([-2.0, -2.0], 1, 0.95)]


def test_no_box_shows_no_read() -> None:
    assert strongest_reads(memory(), torch.zeros(0, 9)) == []


def test_tokens_come_with_the_affinity_that_all_cells_gave_them_the_most_read_first() -> None:
    places, received = most_read(memory())
    assert places.tolist() == [1, 0, 2]
    torch.testing.assert_close(received, torch.tensor([2.55, 0.75, 0.70]))
