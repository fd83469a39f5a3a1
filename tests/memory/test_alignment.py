"""What is remembered moves with the ego car, exactly where it can and bilinearly where it must."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.geometry import BEVGrid, invert_pose, make_pose, relative_pose, transform_points
from remembev.memory.alignment import align_state, extrapolate_boxes, move_positions, resample_hidden

from .small import assert_same, features, planar, run_step, small_memory, stream, working

GRID = BEVGrid(-8.0, -4.0, 8.0, 4.0, height=8, width=16)


def test_without_motion_the_grid_is_unchanged() -> None:
    hidden = torch.randn(2, 3, 4, 8, 16)
    torch.testing.assert_close(resample_hidden(hidden, torch.eye(4).expand(2, 4, 4), GRID), hidden, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("columns", "rows"), [(1, 0), (0, 2), (-3, 1)])
def test_moving_by_whole_cells_shifts_the_grid(columns: int, rows: int) -> None:
    """As the loader does it: what is explicitly moved by whole cells lies in other cells, and is the same there."""
    hidden = torch.randn(1, 1, 2, 8, 16)
    shifted = resample_hidden(hidden, planar(columns * GRID.cell_x, rows * GRID.cell_y), GRID)
    for row in range(8):
        for column in range(16):
            source_row, source_column = row + rows, column + columns
            if 0 <= source_row < 8 and 0 <= source_column < 16:
                expected = hidden[0, 0, :, source_row, source_column]
                torch.testing.assert_close(shifted[0, 0, :, row, column], expected, atol=1e-4, rtol=0)
            else:
                assert shifted[0, 0, :, row, column].abs().max() < 1e-4


def test_turning_by_a_quarter_turns_the_grid() -> None:
    grid = BEVGrid(-8.0, -8.0, 8.0, 8.0, height=16, width=16)
    hidden = torch.randn(1, 2, 3, 16, 16)
    turned = resample_hidden(hidden, planar(0.0, 0.0, math.pi / 2), grid)
    torch.testing.assert_close(turned, hidden.rot90(1, dims=(3, 4)), atol=1e-4, rtol=0)


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
@settings(max_examples=30)
def test_token_positions_move_exactly(x: float, y: float, yaw: float, seed: int) -> None:
    prev_from_frame = planar(x, y, yaw)
    in_frame = torch.rand(1, 6, 3, generator=torch.Generator().manual_seed(seed)).double() * 100 - 50
    in_previous = transform_points(prev_from_frame.double(), in_frame)
    moved = move_positions(in_previous.transpose(1, 2), prev_from_frame)
    torch.testing.assert_close(moved.transpose(1, 2), in_frame, atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_after_40_motions_tokens_lie_where_explicit_alignment_puts_them(seed: int) -> None:
    """Driving, turning and nodding at up to 20 m/s, far from the map's origin; a batch has float32 poses."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    in_first = draw(1, 3, 500) * torch.tensor([50.0, 50.0, 2.0]).double()[:, None]
    position = in_first
    global_from_first = global_from_frame = make_pose(draw(3) * 1e6, draw(4))
    for _ in range(40):
        turn = torch.cat((torch.ones(1).double(), draw(3) * torch.tensor([0.01, 0.01, 0.15]).double()))
        before = global_from_frame
        global_from_frame = before @ make_pose(torch.tensor([5.0, 0.0, 0.0]) + 5 * draw(3), turn)
        position = move_positions(position, relative_pose(before, global_from_frame)[None].float())
    last_from_first = relative_pose(global_from_frame, global_from_first)
    expected = transform_points(last_from_first, in_first.transpose(1, 2)).transpose(1, 2)
    assert expected.norm(dim=1).max() > 100
    torch.testing.assert_close(position, expected, atol=1e-4, rtol=0)


def test_token_positions_follow_the_ego_motion() -> None:
    memory = small_memory().eval()
    state = run_step(memory, 0, features(0)).state
    state = run_step(memory, 1, features(1), state=state, prev_from_frame=planar(4.0, 0.0)).state
    old, new = working(memory, state).position[0].split(16, dim=1)
    torch.testing.assert_close(old, new - torch.tensor([[4.0], [0.0], [0.0]]).double())


def test_a_whole_state_moves_by_a_motion_and_back() -> None:
    memory = small_memory(agents=2).eval()
    state = stream(memory, 4)[-1].state
    boxes = torch.tensor([[[0.0] * 9, [3.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.4, 2.0, 1.0]]])
    state = replace(state, slots=replace(state.slots, boxes=boxes))
    motion, still = planar(2.0, 1.0, 0.5), torch.zeros(1)
    there = align_state(state, motion, still, memory.grid)
    back = align_state(there, invert_pose(motion), still, memory.grid)
    torch.testing.assert_close(back.tokens.position, state.tokens.position, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.slots.boxes, state.slots.boxes, atol=1e-5, rtol=0)
    assert not torch.allclose(there.tokens.position, state.tokens.position, atol=0.1)
    assert_same(align_state(state, None, still, memory.grid), state)


def test_a_box_moves_by_its_velocity_and_the_ego_motion() -> None:
    memory = small_memory(agents=2).eval()
    state = memory.initial_state(1)
    boxes = torch.tensor([[[0.0] * 9, [3.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.0, 2.0, 0.0]]])
    state = replace(state, slots=replace(state.slots, boxes=boxes))
    moved = align_state(state, planar(1.0, 0.0, math.pi / 2), torch.tensor([0.5]), memory.grid)
    expected = torch.tensor([1.0, -3.0, 0.0, 4.0, 2.0, 1.5, -math.pi / 2, 0.0, -2.0])
    torch.testing.assert_close(moved.slots.boxes[0, 1], expected, atol=1e-5, rtol=0)


def test_a_box_without_velocity_stays() -> None:
    boxes = torch.randn(2, 3, 9)
    boxes[..., 7:] = 0
    assert torch.equal(extrapolate_boxes(boxes, torch.tensor([0.5, 2.0])), boxes)


def test_explicit_alignment_is_implicit_alignment_without_motion() -> None:
    memory = small_memory().eval()
    state = run_step(memory, 0, features(0)).state
    still = run_step(memory, 1, features(1), state=state, prev_from_frame=torch.eye(4)[None])
    unmoved = run_step(memory, 1, features(1), state=state)
    torch.testing.assert_close(still.occ_logits, unmoved.occ_logits, atol=1e-4, rtol=1e-4)
