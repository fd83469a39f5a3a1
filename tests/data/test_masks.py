from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.data.masks import agent_masks, scene_masks
from remembev.geometry import BEVGrid, points_in_boxes

GRID = BEVGrid(-8.0, -6.0, 8.0, 6.0, 24, 40)


def box(x: float, y: float, length: float = 4.0, width: float = 2.0, yaw: float = 0.0) -> Tensor:
    return torch.tensor([[x, y, 0.0, length, width, 1.5, yaw, 0.0, 0.0]])


boxes_of_a_frame = st.lists(
    st.builds(
        box,
        st.floats(-9, 9),
        st.floats(-7, 7),
        st.floats(1, 6),
        st.floats(1, 3),
        st.floats(-math.pi, math.pi),
    ),
    max_size=4,
).map(lambda rows: torch.cat([torch.zeros(0, 9), *rows]))


@settings(max_examples=50, deadline=None)
@given(st.lists(boxes_of_a_frame, min_size=1, max_size=3))
def test_the_scene_mask_has_the_cells_whose_centres_are_in_rotated_boxes(frames: list[Tensor]) -> None:
    masks = scene_masks(frames, GRID)
    assert masks.shape == (len(frames), 1, 24, 40)
    centres = torch.cat((GRID.centres(), torch.zeros(24, 40, 1)), dim=-1).reshape(-1, 3)
    for mask, boxes in zip(masks, frames, strict=True):
        covered = points_in_boxes(centres, boxes).any(dim=0).reshape(24, 40)
        row, column, inside = GRID.cells(boxes[:, :2])
        covered[row[inside], column[inside]] = True
        assert torch.equal(mask[0] > 0, covered)


def test_a_mask_is_zero_or_one_where_boxes_overlap_too() -> None:
    masks = scene_masks([torch.cat((box(0, 0), box(0.5, 0)))], GRID)
    assert set(masks.unique().tolist()) == {0.0, 1.0}


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 8))
def test_however_many_slots_there_are_the_agents_are_the_scene(data: st.DataObject, slots: int) -> None:
    frames = data.draw(st.lists(boxes_of_a_frame, min_size=1, max_size=4))
    tracks = [torch.tensor(data.draw(st.permutations(range(6)))[: len(boxes)], dtype=torch.int64) for boxes in frames]
    masks, valid = agent_masks(frames, tracks, GRID, slots)
    assert masks.shape == (len(frames), slots, 24, 40)
    assert torch.equal(masks.amax(dim=1, keepdim=True), scene_masks(frames, GRID))
    assert valid[:, 0].all()
    assert not masks[~valid].any()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_with_enough_slots_every_agent_has_one_and_the_first_is_empty(data: st.DataObject) -> None:
    frames = data.draw(st.lists(boxes_of_a_frame, min_size=1, max_size=4))
    tracks = [torch.tensor(data.draw(st.permutations(range(6)))[: len(boxes)], dtype=torch.int64) for boxes in frames]
    masks, valid = agent_masks(frames, tracks, GRID, slots=7)
    assert not masks[:, 0].any()
    assert valid[:, 1:].sum(dim=1).tolist() == [len(boxes) for boxes in frames]


def test_one_slot_is_the_scene() -> None:
    frames = [torch.cat((box(5, 0), box(1, 0))), box(2, 0)]
    masks, valid = agent_masks(frames, [torch.tensor([10, 20]), torch.tensor([20])], GRID, slots=1)
    assert torch.equal(masks, scene_masks(frames, GRID))
    assert valid.all()


def test_a_track_keeps_its_slot_when_it_goes_and_comes_back() -> None:
    frames = [torch.cat((box(5, 0), box(1, 0))), box(2, 0), torch.cat((box(4, 1), box(0, 5)))]
    tracks = [torch.tensor([10, 20]), torch.tensor([20]), torch.tensor([10, 30])]
    masks, valid = agent_masks(frames, tracks, GRID, slots=4)
    assert valid.tolist() == [[True, True, True, False], [True, True, False, False], [True, False, True, True]]
    assert torch.equal(masks[2, 2], scene_masks([box(4, 1)], GRID)[0, 0])
    assert torch.equal(masks[2, 3], scene_masks([box(0, 5)], GRID)[0, 0])


def test_slots_go_by_appearance_then_distance_and_the_rest_share_the_first() -> None:
    frames = [torch.cat((box(6, 0), box(0, 3))), torch.cat((box(0.5, 0), box(6, 0), box(0, 3), box(4, 4), box(-5, -4)))]
    tracks = [torch.tensor([1, 2]), torch.tensor([3, 1, 2, 4, 5])]
    masks, valid = agent_masks(frames, tracks, GRID, slots=4)
    assert valid.tolist() == [[True, True, True, False], [True, True, True, True]]
    for slot, of in enumerate((box(0, 3), box(6, 0), box(0.5, 0)), start=1):
        assert torch.equal(masks[1, slot], scene_masks([of], GRID)[0, 0])
    assert torch.equal(masks[1, 0], scene_masks([torch.cat((box(4, 4), box(-5, -4)))], GRID)[0, 0])


def test_a_clip_without_boxes_has_empty_masks() -> None:
    empty = [torch.zeros(0, 9)] * 2
    masks, valid = agent_masks(empty, [torch.zeros(0, dtype=torch.int64)] * 2, GRID, slots=2)
    assert not masks.any()
    assert valid.tolist() == [[True, False]] * 2
    assert not scene_masks(empty, GRID).any()
