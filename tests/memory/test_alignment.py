"""What is remembered moves with the ego car, exactly where it can and bilinearly where it must."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.geometry import BEVGrid, make_pose, transform_points
from remembev.memory.alignment import move_positions, resample_hidden

GRID = BEVGrid(-8.0, -4.0, 8.0, 4.0, height=8, width=16)


def planar(x: float, y: float, yaw: float) -> Tensor:
    return make_pose((x, y, 0.0), (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)))[None].float()


def test_the_grid_stays_as_it_is_where_nothing_moves() -> None:
    hidden = torch.randn(2, 3, 4, 8, 16)
    torch.testing.assert_close(resample_hidden(hidden, torch.eye(4).expand(2, 4, 4), GRID), hidden, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("columns", "rows"), [(1, 0), (0, 2), (-3, 1)])
def test_moving_by_whole_cells_shifts_the_grid(columns: int, rows: int) -> None:
    hidden = torch.randn(1, 1, 2, 8, 16)
    shifted = resample_hidden(hidden, planar(columns * GRID.cell_x, rows * GRID.cell_y, 0.0), GRID)
    for row in range(8):
        for column in range(16):
            source_row, source_column = row + rows, column + columns
            if 0 <= source_row < 8 and 0 <= source_column < 16:
                expected = hidden[0, 0, :, source_row, source_column]
                torch.testing.assert_close(shifted[0, 0, :, row, column], expected, atol=1e-4, rtol=0)
            else:
                assert shifted[0, 0, :, row, column].abs().max() < 1e-4


def test_a_landmark_is_found_where_the_turned_car_sees_it() -> None:
    """A mark at (5, 0) of the previous frame, seen after a left turn of a quarter, lies to the right, at (0, −5)."""
    grid = BEVGrid(-8.0, -8.0, 8.0, 8.0, height=16, width=16)
    hidden = torch.zeros(1, 1, 1, 16, 16)
    row, column, _ = grid.cells(torch.tensor([4.5, 0.5]))
    hidden[0, 0, 0, row, column] = 1.0
    turned = resample_hidden(hidden, planar(0.0, 0.0, math.pi / 2), grid)
    row, column, _ = grid.cells(torch.tensor([0.5, -4.5]))
    assert turned[0, 0, 0, row, column] > 0.99
    assert turned.sum() == pytest.approx(1.0, abs=1e-3)


@given(x=st.floats(-3, 3), y=st.floats(-3, 3), yaw=st.floats(-3, 3), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_token_positions_move_exactly(x: float, y: float, yaw: float, seed: int) -> None:
    prev_from_frame = planar(x, y, yaw)
    in_frame = torch.rand(1, 6, 3, generator=torch.Generator().manual_seed(seed)) * 100 - 50
    in_previous = transform_points(prev_from_frame, in_frame)
    moved = move_positions(in_previous.transpose(1, 2), prev_from_frame)
    torch.testing.assert_close(moved.transpose(1, 2), in_frame, atol=1e-4, rtol=0)
