from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remembev.config.schema import AugmentorConfig
from remembev.data import Frame, NuScenesIndex
from remembev.data.augmentation import conjugate_poses, draw_similarity
from remembev.data.dataset import align_to_last, relative_poses
from remembev.geometry import points_in_boxes, transform_points

STRONG = AugmentorConfig(FLIP=("x", "y"), ROTATION=(-math.pi, math.pi), SCALING=(0.5, 2.0))
seeds = st.integers(0, 2**32 - 1)


def draw(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return draw_similarity(STRONG)


@pytest.fixture(scope="module")
def frames(index: NuScenesIndex) -> list[Frame]:
    return [index.load_frame(number, ["car"], num_sweeps=1) for number in (1, 2, 4)]


def drawn(**settings: object) -> torch.Tensor:
    return torch.stack([draw_similarity(AugmentorConfig(**settings)) for _ in range(60)])


def test_without_settings_nothing_is_changed() -> None:
    assert torch.equal(draw_similarity(AugmentorConfig()), torch.eye(4, dtype=torch.float64))


def test_flips_mirror_the_other_axis_in_half_of_the_draws() -> None:
    torch.manual_seed(0)
    along_x, along_y = drawn(FLIP=("x",)), drawn(FLIP=("y",))
    assert set(along_x[:, 1, 1].tolist()) == set(along_y[:, 0, 0].tolist()) == {-1.0, 1.0}
    assert (along_x[:, 0, 0] == 1).all()
    assert (along_y[:, 1, 1] == 1).all()
    assert 15 < (along_x[:, 1, 1] < 0).sum() < 45


def test_rotation_and_scaling_stay_in_their_intervals_and_fill_them() -> None:
    torch.manual_seed(0)
    angle = torch.atan2(*drawn(ROTATION=(-0.3, 0.4))[:, [1, 0], 0].unbind(dim=1))
    assert angle.min() >= -0.3
    assert angle.max() <= 0.4
    assert angle.max() - angle.min() > 0.6
    scale = torch.linalg.det(drawn(SCALING=(0.9, 1.1))[:, :3, :3]).pow(1 / 3)
    assert scale.min() >= 0.9 - 1e-9
    assert scale.max() <= 1.1 + 1e-9
    assert scale.max() - scale.min() > 0.17


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_relative_poses_are_augmented_too(frames: list[Frame], seed: int) -> None:
    similarity = draw(seed)
    last_from_frame, prev_from_frame = (conjugate_poses(similarity, poses) for poses in relative_poses(frames))
    moved = [frame.moved(similarity) for frame in frames]
    for t, frame in enumerate(moved):
        is_key = frame.points[:, 4] == 0
        points, last = frame.points[is_key][:, :3].double(), moved[-1].points[moved[-1].points[:, 4] == 0, :3].double()
        landmarks = slice(0, -1)  # all but the return from the ego car, which does not stand still
        torch.testing.assert_close(
            transform_points(last_from_frame[t], points)[landmarks], last[landmarks], atol=1e-3, rtol=0
        )
        before = moved[max(t - 1, 0)].points
        torch.testing.assert_close(
            transform_points(prev_from_frame[t], points)[landmarks],
            before[before[:, 4] == 0][landmarks, :3].double(),
            atol=1e-3,
            rtol=0,
        )


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_the_relative_poses_of_a_clip_stay_rigid(frames: list[Frame], seed: int) -> None:
    last_from_frame, _ = relative_poses(frames)
    rotation = conjugate_poses(draw(seed), last_from_frame)[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).double().expand(3, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(3, dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_augmentation_keeps_global_positions(frames: list[Frame], seed: int) -> None:
    for frame in frames:
        moved = frame.moved(draw(seed))
        before = transform_points(frame.global_from_lidar, frame.points[:, :3].double())
        after = transform_points(moved.global_from_lidar, moved.points[:, :3].double())
        torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_velocities_are_augmented_like_positions(frames: list[Frame], seed: int) -> None:
    similarity = draw(seed)
    moved = [frame.moved(similarity) for frame in align_to_last(frames)]
    for track in frames[0].track_ids.tolist():
        first, second = (frame.boxes[frame.track_ids == track][0] for frame in moved[:2])
        seconds = frames[1].timestamp - frames[0].timestamp
        torch.testing.assert_close(first[:2] + first[7:] * seconds, second[:2], atol=1e-2, rtol=0)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_points_stay_in_their_boxes(index: NuScenesIndex, seed: int) -> None:
    frame = index.load_frame(2)
    corners = torch.tensor([[x, y, z] for x in (-0.49, 0.49) for y in (-0.49, 0.49) for z in (-0.49, 0.49)])
    boxes = frame.boxes[:, None]
    local = corners * boxes[..., 3:6]
    cos, sin = boxes[..., 6].cos(), boxes[..., 6].sin()
    x, y = local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos
    inside = (torch.stack((x, y, local[..., 2]), dim=-1) + boxes[..., :3]).reshape(-1, 3)
    points = torch.cat((inside, torch.zeros(len(inside), 2)), dim=1)
    moved = Frame(**{**vars(frame), "points": points}).moved(draw(seed))
    near = frame.boxes[:, :2].norm(dim=1) < 100
    held = points_in_boxes(moved.points, moved.boxes).reshape(len(boxes), len(boxes), 8)
    assert held[range(len(boxes)), range(len(boxes))][near].all()
