"""Recordings of a few real frames: a key frame's folder, stacked sweeps, a small data set, play to and fro."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import REPOSITORY

from remembev.config.classes import DETECTION_NAMES
from remembev.data import Frame
from remembev.data.keyframe import read_keyframe
from remembev.errors import DataError
from remembev.streaming.sources.recordings import (
    Recording,
    open_recordings,
    play_to_and_fro,
    read_stacked_sweeps,
)

REAL = REPOSITORY.parent / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real LiDAR at {REAL}")

IDENTITY = np.eye(4).tolist()
RECORD = {
    "sample_token": "sample",
    "timestamp_s": 12.5,
    "global_from_ego": [[1.0, 0.0, 0.0, 10.0], *IDENTITY[1:]],
    "ego_from_lidar": [[1.0, 0.0, 0.0, 1.0], *IDENTITY[1:]],
    "boxes": [
        {"name": "car", "box": [5.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.5], "velocity": [3.0, 4.0], "num_lidar_pts": 7},
        {"name": None, "box": [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0], "velocity": None, "num_lidar_pts": 1},
        {"name": "pedestrian", "box": [2.0, 0.0, 0.0, 0.7, 0.6, 1.8, 0.0], "velocity": None, "num_lidar_pts": 0},
    ],
}


def write_keyframe(folder: Path, record: Any = RECORD, points: int = 3) -> Path:
    (folder / "frame.json").write_text(json.dumps(record))
    np.arange(5 * points, dtype="<f4").tofile(folder / "LIDAR_TOP.pcd.bin")
    return folder


def turn(x: float, time: float, pose_x: float) -> Frame:
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = pose_x
    none = torch.zeros(0, dtype=torch.int64)
    points = torch.tensor([[x, 5.0, 0.0, 9.0, 0.0]])
    return Frame(points, pose, time, "scene", f"at {pose_x}", torch.zeros(0, 9), none, none, none, none)


def recording(*frames: Frame) -> Recording:
    return Recording("made", True, lambda _: frames)


def test_a_key_frame_has_points_of_age_zero_its_pose_and_its_boxes_of_known_classes(tmp_path: Path) -> None:
    frame = read_keyframe(write_keyframe(tmp_path), ("pedestrian", "car"))
    assert frame.points.tolist() == [[0, 1, 2, 3, 0], [5, 6, 7, 8, 0], [10, 11, 12, 13, 0]]
    assert frame.global_from_lidar[:, 3].tolist() == [11.0, 0.0, 0.0, 1.0]
    assert frame.timestamp == 12.5
    assert frame.labels.tolist() == [1, 0]
    assert frame.num_points.tolist() == [7, 0]
    assert frame.boxes.tolist() == [
        [5.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.5, 3.0, 4.0],
        pytest.approx([2, 0, 0, 0.7, 0.6, 1.8, 0, 0, 0]),
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "frame.json: not the record"),
        ({}, "frame.json: no key 'boxes'"),
        ({**RECORD, "global_from_ego": [[1.0]]}, r"frame.json: .*not \[4, 4\]"),
        ({**RECORD, "boxes": [{**RECORD["boxes"][0], "box": [1.0, 2.0]}]}, "frame.json: not the record"),  # type: ignore[index]
    ],
)
def test_a_broken_record_of_a_key_frame_is_named(tmp_path: Path, record: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_keyframe(write_keyframe(tmp_path, record), DETECTION_NAMES)


def test_a_missing_or_truncated_cloud_of_a_key_frame_is_named(tmp_path: Path) -> None:
    cloud = write_keyframe(tmp_path) / "LIDAR_TOP.pcd.bin"
    cloud.write_bytes(b"\0" * 21)
    with pytest.raises(DataError, match=r"LIDAR_TOP.pcd.bin: 21 bytes"):
        read_keyframe(tmp_path, DETECTION_NAMES)
    cloud.unlink()
    with pytest.raises(DataError, match=r"LIDAR_TOP.pcd.bin: .*cannot be read"):
        read_keyframe(tmp_path, DETECTION_NAMES)


def test_a_folder_that_is_neither_key_frame_nor_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}: neither .*frame.json.* nor a data set of version 'v1.0-mini'"):
        open_recordings(tmp_path, DETECTION_NAMES, version="v1.0-mini", split=None, cache=tmp_path)


def test_stacked_sweeps_become_turns_in_order_of_time(tmp_path: Path) -> None:
    rows = [[1, 5, 0, 9, 0.0], [2, 5, 0, 9, 0.1], [3, 5, 0, 9, 0.0], [4, 5, 0, 9, 0.05]]
    np.array(rows, dtype="<f2").tofile(tmp_path / "stack.bin")
    turns = read_stacked_sweeps(tmp_path / "stack.bin")
    assert [frame.points[:, 0].tolist() for frame in turns] == [[2.0], [4.0], [1.0, 3.0]]
    assert [frame.timestamp for frame in turns] == pytest.approx([-0.1, -0.05, 0.0], abs=1e-4)
    assert all((frame.points[:, 4] == 0).all() for frame in turns)


def test_stacked_turns_are_restored_with_their_ages(tmp_path: Path) -> None:
    rows = [[1, 5, 0, 9, 0.0], [2, 5, 0, 9, 0.125]]
    np.array(rows, dtype="<f2").tofile(tmp_path / "stack.bin")
    (opened,) = open_recordings(tmp_path / "stack.bin", DETECTION_NAMES, version="", split=None, cache=tmp_path)
    assert not opened.annotated
    assert [frame.points[:, [0, 4]].tolist() for frame in opened.load(9)] == [[[2, 0]], [[1, 0], [2, 0.125]]]


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 99.0], [1.0, 2.0, 3.0, 4.0, float("nan")]])
def test_a_file_that_is_no_stack_of_sweeps_is_named(tmp_path: Path, values: list[float]) -> None:
    np.array(values, dtype="<f2").tofile(tmp_path / "stack.bin")
    with pytest.raises(DataError, match=r"stack.bin: "):
        read_stacked_sweeps(tmp_path / "stack.bin")


def test_frames_are_played_to_and_fro_with_their_poses_and_a_time_that_goes_on() -> None:
    played = list(play_to_and_fro(recording(turn(1, 0.0, 0.0), turn(2, 0.1, 1.0), turn(3, 0.4, 2.0)), 6).load(0))
    assert [frame.sample_token for frame in played] == ["at 0.0", "at 1.0", "at 2.0", "at 1.0", "at 0.0", "at 1.0"]
    assert [frame.timestamp for frame in played] == pytest.approx([0.0, 0.1, 0.4, 0.7, 0.8, 0.9])
    assert [float(frame.global_from_lidar[0, 3]) for frame in played] == [0, 1, 2, 1, 0, 1]


def test_two_frames_alternate_and_a_single_frame_is_repeated() -> None:
    pair = list(play_to_and_fro(recording(turn(1, 5.0, 0.0), turn(2, 5.1, 1.0)), 4).load(0))
    assert [frame.points[0, 0].item() for frame in pair] == [1, 2, 1, 2]
    assert [frame.timestamp for frame in pair] == pytest.approx([5.0, 5.1, 5.2, 5.3])
    single = list(play_to_and_fro(recording(turn(1, 5.0, 0.0)), 3).load(0))
    assert [frame.timestamp for frame in single] == pytest.approx([5.0, 5.05, 5.1])


def test_played_frames_stack_the_turns_of_the_last_half_second_in_their_own_coordinates() -> None:
    frames = (turn(10, 0.0, 0.0), turn(20, 0.3, 4.0))
    played = list(play_to_and_fro(recording(*frames), 3).load(5))
    assert played[1].points[:, [0, 4]].tolist() == [[20.0, 0.0], pytest.approx([6.0, 0.3])]
    assert played[2].points[:, [0, 4]].tolist() == [[10.0, 0.0], pytest.approx([24.0, 0.3])]


def test_the_turns_of_a_recording_are_unchanged_by_stacking() -> None:
    frames = (turn(10, 0.0, 0.0), turn(20, 0.1, 4.0))
    before = [replace(frame, points=frame.points.clone()) for frame in frames]
    list(play_to_and_fro(recording(*frames), 6).load(3))
    assert all(torch.equal(frame.points, old.points) for frame, old in zip(frames, before, strict=True))


@needs_real_data
def test_the_real_key_frame_has_69_boxes_68_of_them_of_a_detection_class() -> None:
    record = json.loads((REAL / "nuscenes_keyframe" / "frame.json").read_text())
    assert len(record["boxes"]) == 69
    frame = read_keyframe(REAL / "nuscenes_keyframe", DETECTION_NAMES)
    assert frame.boxes.shape == (68, 9)
    assert frame.points.shape == (34_688, 5)


@needs_real_data
def test_the_real_pair_is_one_scene_of_two_frames_and_its_folder_stays_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("nuscenes")
    root = REAL / "av2_7fab2350_nuscenes"
    files = sorted(root.rglob("*"))
    (pair,) = open_recordings(root, DETECTION_NAMES, version="v1.0-av2", split=None, cache=tmp_path)
    first, second = pair.load(0)
    assert second.timestamp - first.timestamp == pytest.approx(0.1, abs=0.001)
    assert len(first.boxes) == len(second.boxes) == 73
    assert sorted(root.rglob("*")) == files


@needs_real_data
def test_the_real_stacked_sweeps_are_ten_turns_at_20_hz() -> None:
    (file,) = (REAL / "nuscenes_ten_sweeps").glob("*.bin")
    turns = read_stacked_sweeps(file)
    assert sum(len(frame.points) for frame in turns) == 271_156
    assert [frame.timestamp for frame in turns] == pytest.approx(np.arange(-0.45, 0.01, 0.05), abs=0.001)
