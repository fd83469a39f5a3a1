from __future__ import annotations

import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.classes import DETECTION_NAMES
from remembev.data import NuScenesIndex, tracks
from remembev.data.tracks import TrackDatabase, object_points
from remembev.errors import DataError
from remembev.geometry import points_in_boxes

from .handmade import KEY_FRAME_US, SWEEP_US, VERSION
from .roadside import LOCAL, THINGS

CAR, TRUCK, PEDESTRIAN = (DETECTION_NAMES.index(name) for name in ("car", "truck", "pedestrian"))
TRUCK_POINTS = LOCAL * torch.tensor([7.0, 2.5, 3.0])


@pytest.fixture(scope="module")
def index(road_root: Path) -> NuScenesIndex:
    return NuScenesIndex.open(road_root, VERSION)


@pytest.fixture(scope="module")
def database(index: NuScenesIndex) -> TrackDatabase:
    return TrackDatabase.open(index, "hand_all", 2)


def points_of(database: TrackDatabase, row: int) -> Tensor:
    start, stop = database.tables.point_start[row : row + 2].tolist()
    return database.tables.points[start:stop]


def rows_of(database: TrackDatabase, label: int) -> list[int]:
    return (database.tables.box_class == label).nonzero()[:, 0].tolist()


def same_places(points: Tensor, expected: Tensor, *, within: float) -> bool:
    """Whether each point has one that it should be, and each of these one."""
    near = torch.cdist(points[:, :3], expected[:, :3]) < within
    return bool((near.sum(dim=0) == 1).all() and (near.sum(dim=1) == 1).all())


def test_every_box_of_the_split_has_a_row_by_scene_track_and_time(
    index: NuScenesIndex, database: TrackDatabase
) -> None:
    tables = database.tables
    found = list(zip(tables.frame.tolist(), tables.box_track.tolist(), strict=True))
    wanted = []
    for scene in index.split_scenes("hand_all"):
        frames = {number: index.load_annotations(number) for number in index.scene_frames(scene)}
        wanted += sorted(
            ((number, track) for number, frame in frames.items() for track in frame.track_ids.tolist()),
            key=lambda row: (row[1], row[0]),
        )
    assert found == wanted
    for row, (number, track) in enumerate(found):
        frame = index.load_annotations(number)
        at = frame.track_ids.tolist().index(track)
        assert torch.equal(tables.box[row], frame.boxes[at])
        stored = (tables.box_class[row], tables.box_points[row], tables.box_visibility[row])
        assert [int(value) for value in stored] == [
            int(value) for value in (frame.labels[at], frame.num_points[at], frame.visibility[at])
        ]


def test_a_split_has_its_own_scenes_only(index: NuScenesIndex) -> None:
    frames = TrackDatabase.open(index, "hand_last", 0).tables.frame
    assert set(frames.tolist()) == set(index.scene_frames(1))


def test_points_are_those_in_the_box_in_the_box_s_frame(index: NuScenesIndex, database: TrackDatabase) -> None:
    tables = database.tables
    for row in rows_of(database, TRUCK):
        frame, box = index.load_frame(int(tables.frame[row]), num_sweeps=2), tables.box[row]
        inside = frame.points[points_in_boxes(frame.points, box[None])[0]]
        inside = inside[inside[:, 0].argsort(stable=True)]
        stored = points_of(database, row)
        cos, sin = box[6].cos(), box[6].sin()
        back = torch.stack(
            (stored[:, 0] * cos - stored[:, 1] * sin, stored[:, 0] * sin + stored[:, 1] * cos, stored[:, 2]), dim=1
        )
        torch.testing.assert_close(back + box[:3], inside[:, :3], atol=1e-5, rtol=0)
        assert torch.equal(stored[:, 3:], inside[:, 3:])
        on_truck = stored[(stored[:, 3] >= 1000) & (stored[:, 4] == 0)]
        assert len(on_truck) == len(TRUCK_POINTS)
        assert same_places(on_truck, TRUCK_POINTS, within=0.25)  # the sensor is tilted


def test_a_moving_object_keeps_points_of_earlier_sweeps_behind_it(database: TrackDatabase) -> None:
    row = rows_of(database, CAR)[2]
    assert database.tables.frame[row] == 2
    points = points_of(database, row)
    points = points[points[:, 3] == 1000]
    ages = points[:, 4].unique()
    torch.testing.assert_close(ages, torch.tensor([0.0, 0.1, 0.2]))
    seen = [points[points[:, 4] == age, :3] for age in ages]
    assert [len(sweep) for sweep in seen] == [len(LOCAL)] * 3
    speed = float(np.hypot(*THINGS[0].velocity))
    for age, sweep in zip(ages, seen, strict=True):
        assert same_places(sweep, seen[0] - torch.tensor([speed, 0.0, 0.0]) * age, within=0.05)
    assert SWEEP_US * 5 == KEY_FRAME_US


seeds = st.integers(0, 2**32 - 1)


def random_boxes(count: int) -> Tensor:
    size = torch.rand(count, 3) * 5 + 0.3
    return torch.cat((torch.randn(count, 3) * 12, size, torch.randn(count, 1) * 3, torch.randn(count, 2) * 4), dim=1)


@given(seeds, st.integers(0, 6), st.integers(0, 300))
def test_object_points_are_those_of_a_search_box_by_box_and_sweep_by_sweep(seed: int, boxes: int, points: int) -> None:
    torch.manual_seed(seed)
    box, point = random_boxes(boxes), torch.randn(points, 5) * 12
    point[:, 4] = torch.randint(0, 4, (points,)) * 0.2
    found, count = object_points(point, box)
    assert len(found) == count.sum()
    for one, mine in zip(box, found.split(count.tolist()), strict=True):
        expected = []
        for age in point[:, 4].unique():
            then = one.clone()
            then[:2] -= one[7:9] * age
            sweep = point[point[:, 4] == age]
            expected.append(sweep[points_in_boxes(sweep, then[None])[0], 3:])
        wanted = torch.cat([torch.zeros(0, 2), *expected])
        torch.testing.assert_close(mine[mine[:, 0].argsort(), 3:].sort(dim=0).values, wanted.sort(dim=0).values)


# ------------------------------------------------------------------------------------------------------------- the file


def opened(root: Path, split: str = "hand_first", sweeps: int = 0) -> TrackDatabase:
    return TrackDatabase.open(NuScenesIndex.open(root, VERSION), split, sweeps)


@pytest.fixture
def root(road_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(road_root, tmp_path / "root", ignore=shutil.ignore_patterns("*remembev_*")))


def test_a_database_is_built_once(root: Path) -> None:
    file = opened(root).file
    built = file.stat().st_mtime_ns
    assert opened(root).file.stat().st_mtime_ns == built
    assert [path.name for path in file.parent.glob("remembev_tracks*")] == ["remembev_tracks_hand_first_0.safetensors"]


def test_it_is_rebuilt_when_the_split_changes(root: Path) -> None:
    before = opened(root).tables
    splits = root / VERSION / "splits.json"
    splits.write_text(splits.read_text().replace('"hand_first": ["hand-0"]', '"hand_first": ["hand-1"]'))
    assert set(opened(root).tables.frame.tolist()).isdisjoint(before.frame.tolist())


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_one_is_rebuilt(root: Path, damage: bytes | None) -> None:
    file = opened(root).file
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] if damage is None else damage)
    opened(root)
    assert file.read_bytes() == whole


def test_one_of_another_format_is_rebuilt(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(root).file
    built = file.stat().st_mtime_ns
    monkeypatch.setattr(tracks, "FORMAT", "0")
    opened(root)
    assert file.stat().st_mtime_ns > built


def test_leftovers_of_a_killed_builder_are_removed(root: Path) -> None:
    file = opened(root).file
    file.unlink()
    (file.parent / f".12345.{file.name}").write_bytes(bytes(100))
    opened(root)
    assert sorted(path.name for path in file.parent.glob("*tracks*")) == sorted([file.name, f".{file.name}.lock"])


def test_an_unwritable_folder_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(tracks, "_build", refuse)
    with pytest.raises(DataError, match=r"remembev_tracks_hand_first_0.*read-only.*with `cache`"):
        opened(root)


def test_the_database_is_beside_the_index(root: Path, tmp_path: Path) -> None:
    index = NuScenesIndex.open(root, VERSION, cache=tmp_path / "cache" / "index.safetensors")
    assert TrackDatabase.open(index, "hand_first", 0).file.parent == tmp_path / "cache"
    assert not list((root / VERSION).glob("*tracks*"))


def test_concurrent_processes_build_it_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    NuScenesIndex.open(root, VERSION)
    build = tracks._build

    def noted(*arguments: object) -> None:
        with (root / "builds").open("a") as file:
            file.write("built\n")
        build(*arguments)

    monkeypatch.setattr(tracks, "_build", noted)
    starts = multiprocessing.get_context("fork")
    processes = [starts.Process(target=opened, args=(root,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (root / "builds").read_text() == "built\n"


def test_building_leaves_the_default_generator_alone(root: Path) -> None:
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    opened(root)
    assert torch.equal(torch.rand(1), expected)


def test_workers_map_the_file_instead_of_receiving_it(database: TrackDatabase) -> None:
    sent = pickle.dumps(database)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).tables.points, database.tables.points)


def test_a_broken_point_file_is_named(root: Path) -> None:
    (root / "samples/LIDAR_TOP/0-005.pcd.bin").write_bytes(bytes(21))
    with pytest.raises(DataError, match=r"0-005\.pcd\.bin"):
        opened(root)
    assert not list((root / VERSION).glob("*tracks*.safetensors"))
