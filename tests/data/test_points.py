from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.schema import AugmentorConfig
from remembev.data import NuScenesIndex
from remembev.data.augmentation import draw_similarity
from remembev.data.frame import Frame
from remembev.data.points import (
    move_cloud,
    move_points,
    near_rectangles,
    outlines,
    read_points,
    select_rows,
)
from remembev.errors import DataError
from remembev.geometry import bev_corners, points_in_boxes

from .handmade import EGO_RETURN, VERSION, landmarks

EGO_RETURN_ID = len(landmarks())


def write(path: Path, values: np.ndarray) -> Path:
    values.astype("<f4").tofile(path)
    return path


def test_a_point_file_is_read_unchanged(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float32).reshape(4, 5)
    points = read_points(write(tmp_path / "cloud.pcd.bin", values))
    assert points.dtype == torch.float32
    np.testing.assert_array_equal(points, values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(0), "is empty"),
        (np.zeros(13), "52 bytes.*truncated"),
        (np.array([[0, 0, 0, 1, 1], [0, np.nan, 0, 1, 1]]), "1 of 2 points are not finite"),
        (np.array([[0, 0, np.inf, 1, 1]]), "1 of 1 points are not finite"),
    ],
)
def test_a_broken_point_file_is_named(tmp_path: Path, values: np.ndarray, message: str) -> None:
    path = write(tmp_path / "cloud.pcd.bin", values)
    with pytest.raises(DataError, match=rf"cloud\.pcd\.bin: .*{message}"):
        read_points(path)


def test_a_point_file_cut_inside_a_number_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "cloud.pcd.bin"
    path.write_bytes(bytes(41))
    with pytest.raises(DataError, match=r"41 bytes.*truncated"):
        read_points(path)


def test_a_missing_point_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cloud\.pcd\.bin: .*cannot be read"):
        read_points(tmp_path / "cloud.pcd.bin")


def test_a_broken_sweep_is_named(hand_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(hand_root, tmp_path / "root")
    (root / "sweeps/LIDAR_TOP/0-009.pcd.bin").write_bytes(bytes(19))
    index = NuScenesIndex.open(root, VERSION)
    index.load_frame(2, num_sweeps=0)
    with pytest.raises(DataError, match=r"sweeps/LIDAR_TOP/0-009\.pcd\.bin"):
        index.load_frame(2, num_sweeps=1)


def test_sweeps_have_ages_in_seconds_and_the_key_frame_has_none(index: NuScenesIndex) -> None:
    age = index.load_frame(3, num_sweeps=4).points[:, 4]
    torch.testing.assert_close(age.unique(), torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4]))
    assert (age == 0).sum() == EGO_RETURN_ID + 1


def test_static_points_of_all_sweeps_coincide_in_the_key_frame(index: NuScenesIndex) -> None:
    frame = index.load_frame(4, num_sweeps=9)
    pose = frame.global_from_lidar
    of_landmarks = frame.points[frame.points[:, 3] < EGO_RETURN_ID].double()
    world = torch.from_numpy(landmarks())[of_landmarks[:, 3].long()]
    expected = (world - pose[:3, 3]) @ pose[:3, :3]
    assert len(of_landmarks) >= 9.5 * EGO_RETURN_ID
    torch.testing.assert_close(of_landmarks[:, :3], expected, atol=3e-5, rtol=0)


def test_ego_points_are_removed_from_sweeps_but_not_from_the_key_frame(index: NuScenesIndex) -> None:
    points = index.load_frame(4, num_sweeps=9).points
    on_ego = points[points[:, 3] == EGO_RETURN_ID]
    assert len(on_ego) == 1
    torch.testing.assert_close(on_ego[0, :3], torch.tensor(EGO_RETURN))
    assert on_ego[0, 4] == 0


def test_ego_points_are_within_a_metre_in_both_x_and_y() -> None:
    points = torch.tensor([[0.9, -0.9, 3.0, 0, 0], [1.1, 0.0, 0.0, 0, 0], [0.0, -1.1, 0.0, 0, 0]])
    identity = torch.eye(4, dtype=torch.float64)
    assert torch.equal(move_cloud(points.clone(), identity, 0.0, without_ego=True), points[1:])
    assert torch.equal(move_cloud(points.clone(), identity, 0.0, without_ego=False), points)


@given(st.integers(0, 2**32 - 1), st.integers(0, 200), st.booleans())
def test_move_cloud_equals_its_steps_one_by_one(seed: int, count: int, without_ego: bool) -> None:
    torch.manual_seed(seed)
    within = (-3.0, -4.0, -1.0, 4.0, 3.0, 1.0)
    points = torch.randn(count, 5) * torch.tensor([4.0, 4.0, 1.0, 20.0, 9.0])
    similarity = draw_similarity(AugmentorConfig(FLIP=("x", "y"), ROTATION=(-3.0, 3.0), SCALING=(0.5, 2.0)))
    similarity[:3, 3] = torch.randn(3)
    from_edge = (move_points(similarity, points)[:, :3, None] - torch.tensor(within).reshape(2, 3).T).abs()
    points = points[(from_edge > 1e-3).all(dim=2).all(dim=1)]  # which side of an edge may be a matter of rounding
    outside_ego = ~(points[:, :2].abs() < 1).all(dim=1) if without_ego else torch.ones(len(points), dtype=torch.bool)
    moved = move_points(similarity, points[outside_ego])
    moved[:, 4] = 0.35
    nobody = torch.zeros(0, dtype=torch.int64)
    expected = Frame(
        moved, torch.eye(4), 0.0, "", "", torch.zeros(0, 9), nobody, nobody, nobody, nobody
    ).cropped(within)  # fmt: skip
    cloud = move_cloud(points.clone(), similarity, 0.35, without_ego=without_ego, within=within)
    torch.testing.assert_close(cloud, expected.points)


seeds = st.integers(0, 2**32 - 1)


def random_boxes(count: int) -> Tensor:
    return torch.cat((torch.randn(count, 3) * 6, torch.rand(count, 3) * 5 + 0.3, torch.randn(count, 1) * 3), dim=1)


@given(seeds, st.integers(0, 6), st.integers(0, 300))
def test_points_in_boxes_to_be_cleared_are_dropped_and_no_others(seed: int, boxes: int, count: int) -> None:
    torch.manual_seed(seed)
    points, clear = torch.randn(count, 5) * 6, random_boxes(boxes)
    points[:, 4] = 0
    identity = torch.eye(4, dtype=torch.float64)
    kept = points[~points_in_boxes(points, clear).any(dim=0)]
    assert torch.equal(move_cloud(points.clone(), identity, 0.0, without_ego=False, clear=clear), kept)


@given(seeds, st.integers(1, 6), st.integers(0, 300))
def test_near_rectangles_misses_no_point_and_includes_no_far_one(seed: int, count: int, points: int) -> None:
    torch.manual_seed(seed)
    low = torch.randn(count, 2) * 9
    high, xy = low + torch.rand(count, 2) * 6, torch.randn(points, 2) * 12
    away = torch.maximum(low - xy[:, None], xy[:, None] - high).amax(dim=2).amin(dim=1)
    near = torch.from_numpy(near_rectangles(xy[:, 0], xy[:, 1], low, high))
    assert near[away <= 0].all()
    assert not near[away > 0.6].any()


@given(seeds)
def test_the_rectangle_around_a_box_holds_its_corners_and_touches_them(seed: int) -> None:
    torch.manual_seed(seed)
    boxes = random_boxes(5)
    low, high = outlines(boxes)
    torch.testing.assert_close(low, bev_corners(boxes).amin(dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(high, bev_corners(boxes).amax(dim=1), atol=1e-5, rtol=0)


def test_rows_are_selected_as_numpy_does_it() -> None:
    rows = np.arange(35, dtype=np.float32).reshape(7, 5)
    for keep in (np.arange(7) % 2 == 0, np.zeros(7, dtype=bool), np.ones(7, dtype=bool)):
        np.testing.assert_array_equal(select_rows(rows, keep), rows[keep])


@pytest.mark.parametrize(("frame", "sweeps"), [(0, 0), (5, 0), (1, 5), (6, 5)])
def test_sweeps_never_cross_the_start_of_a_scene(index: NuScenesIndex, frame: int, sweeps: int) -> None:
    ages = index.load_frame(frame, num_sweeps=9).points[:, 4].unique()
    torch.testing.assert_close(ages, torch.arange(sweeps + 1) * 0.1)


def test_sweeps_reach_past_the_previous_key_frame(index: NuScenesIndex) -> None:
    assert index.load_frame(2, num_sweeps=7).points[:, 4].max() == pytest.approx(0.7)
