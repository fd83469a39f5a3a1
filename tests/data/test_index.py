from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nuscenes import NuScenes

from remembev.data import NuScenesIndex
from remembev.data.index import INDEX_FILE
from remembev.errors import DataError

from .handmade import KEY_FRAME_US, START_US, THINGS, VERSION, global_from_lidar, place_of, write_handmade

Edit = Callable[[list[dict]], object]


def edit_table(root: Path, table: str, edit: Edit) -> None:
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    edit(rows)
    path.write_text(json.dumps(rows))


def test_boxes_are_those_of_the_devkit_in_the_lidar_frame(hand_root: Path, index: NuScenesIndex) -> None:
    nusc = NuScenes(VERSION, str(hand_root), verbose=False)
    for scene in range(2):
        for number in index.scene_frames(scene):
            frame = index.load_frame(number)
            sample = nusc.get("sample", frame.sample_token)
            _, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
            boxes = [box for box in boxes if box.name != "animal"]
            assert len(boxes) == len(frame.boxes)
            pose = global_from_lidar(scene, (number - index.scene_frames(scene)[0]) * KEY_FRAME_US)
            for ours, theirs in zip(frame.boxes.double().numpy(), boxes, strict=True):
                width, length, height = theirs.wlh
                heading = theirs.orientation.rotation_matrix[:2, 0]
                velocity = (pose[:3, :3].T @ nusc.box_velocity(theirs.token))[:2]
                np.testing.assert_allclose(ours[:3], theirs.center, atol=2e-5)
                np.testing.assert_allclose(ours[3:6], (length, width, height), rtol=1e-6)
                np.testing.assert_allclose(ours[6], np.arctan2(heading[1], heading[0]), atol=1e-6)
                np.testing.assert_allclose(ours[7:], np.nan_to_num(velocity), atol=1e-4)


def test_moving_boxes_follow_their_path(index: NuScenesIndex) -> None:
    for number in index.scene_frames(1):
        frame = index.load_frame(number, ["car"])
        time_us = round((frame.timestamp - START_US * 1e-6 - 100) * 1e6)
        centre = frame.global_from_lidar @ torch.cat((frame.boxes[0, :3].double(), torch.ones(1, dtype=torch.float64)))
        np.testing.assert_allclose(centre[:3], place_of(THINGS[0], time_us), atol=1e-5)
        velocity = frame.global_from_lidar[:2, :2] @ frame.boxes[0, 7:].double()
        np.testing.assert_allclose(velocity, THINGS[0].velocity, atol=0.01)


def test_annotations_are_kept(index: NuScenesIndex) -> None:
    frame = index.load_frame(2, ["pedestrian", "car"])
    assert frame.labels.tolist() == [1, 0, 1, 1]
    assert frame.visibility.tolist() == [3, 1, 4, 4]
    assert frame.num_points.tolist() == [7, 7, 7, 7]
    assert (frame.scene_token, frame.sample_token) == ("scene-token-0", "sample-0-2")
    assert frame.timestamp == pytest.approx(START_US * 1e-6 + 1.0, abs=1e-6)
    assert frame.global_from_lidar.dtype == torch.float64
    np.testing.assert_allclose(frame.global_from_lidar, global_from_lidar(0, 2 * KEY_FRAME_US), atol=1e-9)


def test_a_track_keeps_its_number_through_a_scene_and_shares_it_with_no_other(index: NuScenesIndex) -> None:
    tracks = [[index.load_frame(n, ["car"]).track_ids.tolist() for n in index.scene_frames(s)] for s in range(2)]
    for scene in tracks:
        assert scene[1] == scene[2] == scene[3] == scene[4]
        assert set(scene[0]) < set(scene[1])
    assert not set(tracks[0][1]) & set(tracks[1][1])


def test_an_unknown_velocity_is_zero(index: NuScenesIndex) -> None:
    pedestrian = index.load_frame(2, ["pedestrian"])
    assert pedestrian.boxes[:, 7:].tolist() == [[0.0, 0.0]]


def test_scenes_and_splits_are_those_of_the_tables(index: NuScenesIndex) -> None:
    assert index.num_scenes == 2
    assert index.splits == ["hand_all", "hand_first", "hand_last"]
    assert index.split_scenes("hand_all") == [0, 1]
    assert index.split_scenes("hand_last") == [1]
    assert [index.scene_frames(scene) for scene in (0, 1)] == [range(5), range(5, 10)]
    assert (index.scene_name(1), index.scene_token(1)) == ("hand-1", "scene-token-1")


def test_an_official_version_has_the_official_splits(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "mini", (2, 2), "v1.0-mini", ["scene-0103", "scene-0061"])
    index = NuScenesIndex.open(root, "v1.0-mini")
    assert index.split_scenes("mini_train") == [1]
    assert index.split_scenes("mini_val") == [0]
    assert "train" not in index.splits


def test_a_built_index_opens_without_devkit_and_without_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_handmade(tmp_path / "root", (3,))
    expected = NuScenesIndex.open(root, VERSION).load_frame(1, num_sweeps=2)
    for name in [name for name in sys.modules if name.split(".")[0] == "nuscenes"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nuscenes", None)
    for with_tables in (True, False):
        if not with_tables:
            for table in (root / VERSION).glob("*.json"):
                table.unlink()
        frame = NuScenesIndex.open(root, VERSION).load_frame(1, num_sweeps=2)
        assert torch.equal(frame.points, expected.points)
        assert torch.equal(frame.boxes, expected.boxes)


def test_building_an_index_without_the_devkit_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    monkeypatch.setitem(sys.modules, "nuscenes", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[nuscenes\]'"):
        NuScenesIndex.open(root, VERSION)


def test_the_index_is_one_file_that_is_built_once(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    before = {path.name for path in (root / VERSION).iterdir()}
    NuScenesIndex.open(root, VERSION)
    assert {path.name for path in (root / VERSION).iterdir()} - before == {INDEX_FILE}
    written = (root / VERSION / INDEX_FILE).stat().st_mtime_ns
    NuScenesIndex.open(root, VERSION)
    assert (root / VERSION / INDEX_FILE).stat().st_mtime_ns == written


def test_the_index_is_rebuilt_when_a_table_changes(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    NuScenesIndex.open(root, VERSION)
    edit_table(root, "sample_annotation", lambda rows: rows[0].update(num_lidar_pts=4321))
    assert NuScenesIndex.open(root, VERSION).load_frame(0).num_points[0] == 4321


def test_the_index_is_rebuilt_when_a_table_is_touched(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    NuScenesIndex.open(root, VERSION)
    written = (root / VERSION / INDEX_FILE).stat().st_mtime_ns
    os.utime(root / VERSION / "scene.json", ns=(1, 1))
    NuScenesIndex.open(root, VERSION)
    assert (root / VERSION / INDEX_FILE).stat().st_mtime_ns > written


def test_a_damaged_index_is_rebuilt_or_without_tables_an_error(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    NuScenesIndex.open(root, VERSION)
    file = root / VERSION / INDEX_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert len(NuScenesIndex.open(root, VERSION).load_frame(0).boxes) == 3
    file.write_bytes(whole[: len(whole) // 2])
    for table in (root / VERSION).glob("*.json"):
        table.unlink()
    with pytest.raises(DataError, match=INDEX_FILE):
        NuScenesIndex.open(root, VERSION)


def test_the_index_can_be_kept_elsewhere(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    elsewhere = tmp_path / "new folder" / "hand.index"
    assert NuScenesIndex.open(root, VERSION, cache=elsewhere).num_scenes == 1
    assert elsewhere.is_file()
    assert not (root / VERSION / INDEX_FILE).exists()


def test_an_unwritable_index_is_an_error_that_names_cache(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/index.*cache"):
        NuScenesIndex.open(root, VERSION, cache=tmp_path / "file" / "index")


def test_workers_receive_the_path_of_the_index_not_its_contents(index: NuScenesIndex) -> None:
    sent = pickle.dumps(index)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).load_frame(3).boxes, index.load_frame(3).boxes)


def test_a_missing_folder_is_named_with_the_existing_versions_and_not_created(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    with pytest.raises(DataError, match=rf"v1\.0-trainval.*found {VERSION}"):
        NuScenesIndex.open(root, "v1.0-trainval")
    assert not (root / "v1.0-trainval").exists()


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    (root / VERSION / "ego_pose.json").unlink()
    with pytest.raises(DataError, match=r"missing table ego_pose\.json"):
        NuScenesIndex.open(root, VERSION)


BROKEN: dict[str, tuple[str, Edit, str]] = {
    "ego pose": ("ego_pose", lambda rows: rows.pop(3), r"'ego-cloud-0-3' is missing; sample_data\.json"),
    "calibration": ("calibrated_sensor", lambda rows: rows.clear(), r"'mounted' is missing; sample_data\.json"),
    "instance": ("instance", lambda rows: rows.pop(), r"'instance-0-\d' is missing; sample_annotation\.json"),
    "visibility": ("visibility", lambda rows: rows.pop(), r"'4' is missing; sample_annotation\.json"),
    "sweep": ("sample_data", lambda rows: rows.pop(2), r"'cloud-0-2' is missing; sample_data\.json"),
    "scene": ("scene", lambda rows: rows[0].update(token="other"), r"'scene-token-0' is missing; sample\.json"),
    "key frame": ("sample_data", lambda rows: rows[-1].update(is_key_frame=False), r"LIDAR_TOP.*sample-0-1"),
    "times": ("sample_data", lambda rows: rows[1].update(timestamp=0), r"cloud-0-1 is not later"),
    "map": ("map", lambda rows: rows.clear(), r"the devkit cannot use these tables"),
    "column": ("sample_annotation", lambda rows: [row.pop("size") for row in rows], r"'size' is missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_missing_token_is_named_and_nothing_is_left_behind(tmp_path: Path, case: str) -> None:
    table, edit, message = BROKEN[case]
    root = write_handmade(tmp_path / "root", (2,))
    edit_table(root, table, edit)
    before = set((root / VERSION).iterdir())
    with pytest.raises(DataError, match=message):
        NuScenesIndex.open(root, VERSION)
    assert set((root / VERSION).iterdir()) == before


@pytest.mark.parametrize("table", ["sample_data", "splits"])
def test_a_truncated_table_is_named(tmp_path: Path, table: str) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    path = root / VERSION / f"{table}.json"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(DataError, match=rf"{table}\.json: not valid JSON"):
        NuScenesIndex.open(root, VERSION)


def test_a_split_that_names_an_unknown_scene_is_an_error(tmp_path: Path) -> None:
    root = write_handmade(tmp_path / "root", (2,))
    (root / VERSION / "splits.json").write_text('{"hand_all": ["hand-0", "hand-9"]}')
    with pytest.raises(DataError, match=r"splits\.json: split 'hand_all' names scene 'hand-9'"):
        NuScenesIndex.open(root, VERSION)


def test_an_unknown_split_is_an_error_that_lists_the_known_ones(index: NuScenesIndex) -> None:
    with pytest.raises(DataError, match=r"no split 'val'; expected one of hand_all, hand_first, hand_last"):
        index.split_scenes("val")


def test_an_unknown_class_is_an_error_that_lists_the_known_ones(index: NuScenesIndex) -> None:
    with pytest.raises(DataError, match=r"'lorry' is not a nuScenes detection class.*truck"):
        index.load_frame(0, ["car", "lorry"])


@pytest.mark.parametrize("num_sweeps", [0, 2, 9])
def test_the_clouds_of_half_a_second_are_frames_in_order_that_stack_nothing_older(
    index: NuScenesIndex, num_sweeps: int
) -> None:
    """Sweeps come at 10 Hz: five clouds before a key frame, of which the first is the key frame before it."""
    recent = list(index.load_recent(3, 0.5, num_sweeps))
    times = [START_US * 1e-6 + 1.5 - 0.1 * back for back in (5, 4, 3, 2, 1, 0)]
    assert [sweep.timestamp for sweep in recent] == pytest.approx(times, abs=1e-6)
    for back, sweep in zip((5, 4, 3, 2, 1, 0), recent, strict=True):
        pose = global_from_lidar(0, 1_500_000 - 100_000 * back)
        np.testing.assert_allclose(sweep.global_from_lidar, pose, atol=1e-9)
        stacked = min(num_sweeps, 5 - back)
        ages = [round(age, 3) for age in sweep.points[:, 4].unique().tolist()]
        assert ages == [round(0.1 * age, 3) for age in range(stacked + 1)]
    whole = index.load_frame(3, num_sweeps=min(num_sweeps, 5))
    assert torch.equal(recent[-1].points, whole.points)
    assert torch.equal(recent[-1].global_from_lidar, whole.global_from_lidar)
    assert torch.equal(recent[0].points, index.load_frame(2).points)


def test_the_first_key_frame_of_a_scene_has_nothing_before_it(index: NuScenesIndex) -> None:
    for scene in range(2):
        first = index.scene_frames(scene)[0]
        assert [sweep.timestamp for sweep in index.load_recent(first, 0.5)] == [
            float(index.timestamps(torch.tensor(first)))
        ]
