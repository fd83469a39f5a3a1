from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nuscenes import NuScenes
from nuscenes.utils.geometry_utils import points_in_box

from remembev.errors import ConfigError, DataError
from remembev.simulate import SETS, SimulationSettings, dataset, simulate_dataset
from remembev.simulate.sensors import SENSORS

SMALL = SimulationSettings(scenes=2, seed=3, seconds=2.0, azimuths=180, val_share=0.5)
TINY = replace(SMALL, scenes=1, seconds=1.0, val_share=0.0)


@pytest.fixture(scope="module")
def nusc(small_root: Path) -> NuScenes:
    return NuScenes("v1.0-sim", str(small_root), verbose=False)


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def test_the_devkit_loads_it(nusc: NuScenes, small_root: Path) -> None:
    assert [len(nusc.scene), len(nusc.sample)] == [2, 8]
    assert json.loads((small_root / "v1.0-sim/splits.json").read_text())["val"] == [nusc.scene[1]["name"]]
    assert len({s["timestamp"] for s in nusc.sample}) == 8
    assert all(nusc.get("log", s["log_token"])["map_token"] for s in nusc.scene)
    assert not (small_root / ".scenes").exists()


def test_chains_run_through_every_row_in_order_of_time(nusc: NuScenes) -> None:
    seen = {"sample": 0, "sample_data": 0, "sample_annotation": 0}

    def follow(table: str, token: str) -> list[dict]:
        rows = []
        while token:
            rows.append(nusc.get(table, token))
            assert rows[-1]["prev"] == (rows[-2]["token"] if len(rows) > 1 else "")
            token = rows[-1]["next"]
        seen[table] += len(rows)
        return rows

    for scene in nusc.scene:
        samples = follow("sample", scene["first_sample_token"])
        assert samples[-1]["token"] == scene["last_sample_token"]
        times = np.array([s["timestamp"] for s in samples])
        np.testing.assert_allclose(np.diff(times) / 1e6, 0.5, atol=0.002)
        follow("sample_data", samples[0]["data"]["LIDAR_TOP"])
    for instance in nusc.instance:
        rows = follow("sample_annotation", instance["first_annotation_token"])
        assert [len(rows), rows[-1]["token"]] == [instance["nbr_annotations"], instance["last_annotation_token"]]
        assert all(row["instance_token"] == instance["token"] for row in rows)
    assert seen == {table: len(getattr(nusc, table)) for table in seen}


def test_num_lidar_pts_equals_the_points_in_the_written_file(nusc: NuScenes) -> None:
    total = 0
    for sample in nusc.sample:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = np.fromfile(path, np.float32).reshape(-1, 5)
        for box in boxes:
            annotation = nusc.get("sample_annotation", box.token)
            assert annotation["num_lidar_pts"] == points_in_box(box, points[:, :3].T).sum()
            total += annotation["num_lidar_pts"]
    assert total > 100


def test_annotations_are_what_nuscenes_allows(nusc: NuScenes) -> None:
    for row in nusc.sample_annotation:
        states = [nusc.get("attribute", t)["name"] for t in row["attribute_tokens"]]
        group = row["category_name"].split(".")[0]
        assert len(states) == (0 if group == "movable_object" else 1)
        if states:
            allowed = {"human": ("pedestrian",), "vehicle": ("vehicle", "cycle")}[group]
            assert states[0].startswith(allowed)
        assert row["visibility_token"] in "1234"
        width, length, _ = row["size"]
        assert (length > width) or group != "vehicle"


def test_hidden_objects_keep_their_annotations(nusc: NuScenes) -> None:
    hidden = [a for a in nusc.sample_annotation if a["num_lidar_pts"] == 0 and a["visibility_token"] == "1"]
    assert hidden
    for instance in nusc.instance:
        rows, token = [], instance["first_annotation_token"]
        while token:
            rows.append(nusc.get("sample_annotation", token))
            token = rows[-1]["next"]
        assert any(row["num_lidar_pts"] for row in rows)
        times = [nusc.get("sample", row["sample_token"])["timestamp"] for row in rows]
        assert (np.diff(times) < 600_000).all()


def test_parked_vehicles_have_no_velocity(nusc: NuScenes) -> None:
    checked = 0
    for row in nusc.sample_annotation:
        states = [nusc.get("attribute", t)["name"] for t in row["attribute_tokens"]]
        speed = np.linalg.norm(nusc.box_velocity(row["token"])[:2])
        if states == ["vehicle.parked"] and np.isfinite(speed):
            assert speed < 1e-6
            checked += 1
    assert checked > 20


def test_scenes_lie_apart_and_far_from_the_origin(nusc: NuScenes) -> None:
    places = [nusc.get("ego_pose", d["ego_pose_token"])["translation"] for d in nusc.sample_data]
    assert min(np.hypot(x, y) for x, y, _ in places) > 200


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(small_root: Path, tmp_path: Path) -> None:
    simulate_dataset(tmp_path / "two", SMALL, workers=2)
    assert _digest(tmp_path / "two") == _digest(small_root)


def test_another_seed_gives_another_world(tmp_path: Path) -> None:
    def points(seed: int) -> bytes:
        root = tmp_path / str(seed)
        simulate_dataset(root, replace(TINY, seed=seed), workers=1)
        return b"".join(p.read_bytes() for p in sorted(root.rglob("*.pcd.bin")))

    assert points(1) != points(2)


def test_sweeps_come_at_20_hz_around_the_same_key_frames(tmp_path: Path) -> None:
    for sweeps in (False, True):
        simulate_dataset(tmp_path / str(sweeps), replace(TINY, sweeps=sweeps), workers=1)
    keys, all_turns = (NuScenes("v1.0-sim", str(tmp_path / s), verbose=False) for s in ("False", "True"))
    assert [len(keys.sample_data), len(all_turns.sample_data)] == [2, 20]
    times = np.array([d["timestamp"] for d in all_turns.sample_data])
    np.testing.assert_allclose(np.diff(times) / 1e6, 0.05, atol=0.002)
    assert sum(d["is_key_frame"] for d in all_turns.sample_data) == 2
    assert all(d["next"] == e["token"] for d, e in zip(all_turns.sample_data, all_turns.sample_data[1:], strict=False))
    for data in keys.sample_data:
        name = data["filename"]
        assert (tmp_path / "False" / name).read_bytes() == (tmp_path / "True" / name).read_bytes()
    assert len(list((tmp_path / "True/sweeps/LIDAR_TOP").iterdir())) == 18


def test_scenes_rotate_through_the_sets_and_each_set_has_a_validation_split(tmp_path: Path) -> None:
    names = ("doors", "far")
    settings = replace(TINY, scenes=4, val_share=0.25, sets=names)
    simulate_dataset(tmp_path, settings, workers=1)
    tables = tmp_path / "v1.0-sim"
    scenes = {s["name"]: s["description"] for s in json.loads((tables / "scene.json").read_text())}
    splits = json.loads((tables / "splits.json").read_text())
    assert [splits["val_doors"], splits["val_far"]] == [["sim-0002"], ["sim-0003"]]
    assert [scenes[name].split(":")[0] for name in splits["train"] + splits["val"]] == [*names, *names]
    simulate_dataset(tmp_path, settings, workers=1)  # recognised as complete
    with pytest.raises(DataError, match="sets"):
        simulate_dataset(tmp_path, replace(settings, sets=("doors",)), workers=1)


def test_sensors_rotate_after_each_round_of_the_sets_and_are_calibrated_and_split(tmp_path: Path) -> None:
    sensors = ("nuscenes", "two_lidars")
    settings = replace(TINY, scenes=4, val_share=0.25, sets=("doors", "far"), sensors=sensors, test=4)
    simulate_dataset(tmp_path, settings, workers=1)
    tables = tmp_path / "v1.0-sim"
    splits = json.loads((tables / "splits.json").read_text())
    assert splits["test_nuscenes"] == ["sim-0004", "sim-0005"]
    assert splits["test_two_lidars"] == ["sim-0006", "sim-0007"]
    nusc = NuScenes("v1.0-sim", str(tmp_path), verbose=False)
    for scene in nusc.scene:
        sensor = SENSORS[settings.scene_sensor(int(scene["name"][-4:]))]
        assert f"LiDAR {sensor.name}" in scene["description"]
        sample = nusc.get("sample", scene["first_sample_token"])
        cloud = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        mounted = nusc.get("calibrated_sensor", cloud["calibrated_sensor_token"])
        np.testing.assert_allclose(mounted["translation"], sensor.units[0].position)
        points = np.fromfile(tmp_path / cloud["filename"], np.float32).reshape(-1, 5)
        assert points[:, 4].max() == sensor.rings - 1
        road = (np.linalg.norm(points[:, :2], axis=1) < 12.0) & (np.linalg.norm(points[:, :3], axis=1) > 2.0)
        heights = points[road, 2] + sensor.units[0].position[2]
        assert abs(np.median(heights[np.abs(heights) < 0.3])) < 0.15  # the road is where the calibration says


def test_a_sensor_at_10_hz_has_five_turns_between_key_frames(tmp_path: Path) -> None:
    simulate_dataset(tmp_path, replace(TINY, sensors=("beams16",), sweeps=True), workers=1)
    folders = [len(list((tmp_path / kind / "LIDAR_TOP").iterdir())) for kind in ("samples", "sweeps")]
    assert folders == [2, 8]


def test_test_scenes_are_additional_and_change_no_others(tmp_path: Path) -> None:
    settings = replace(TINY, scenes=4, val_share=0.25, sets=("doors", "far"))
    for test in (0, 2):
        simulate_dataset(tmp_path / str(test), replace(settings, test=test), workers=1)
    splits = json.loads((tmp_path / "2/v1.0-sim/splits.json").read_text())
    assert [splits["test"], splits["test_far"]] == [["sim-0004", "sim-0005"], ["sim-0005"]]
    assert splits["sim_test"] == splits["test"]
    without = json.loads((tmp_path / "0/v1.0-sim/splits.json").read_text())
    assert without.items() <= splits.items()
    clouds = list((tmp_path / "0/samples/LIDAR_TOP").iterdir())
    assert all((tmp_path / "2/samples/LIDAR_TOP" / cloud.name).read_bytes() == cloud.read_bytes() for cloud in clouds)
    assert len(list((tmp_path / "2/samples/LIDAR_TOP").iterdir())) == len(clouds) * 6 // 4
    assert "test" not in settings.identity()
    with pytest.raises(DataError, match="test"):
        simulate_dataset(tmp_path / "0", replace(settings, test=2), workers=1)


@given(scenes=st.integers(1, 10_000), test=st.integers(1, 10_000), other=st.integers(1, 10_000))
def test_no_test_scene_is_another_scene_of_any_simulation(scenes: int, test: int, other: int) -> None:
    settings = SimulationSettings(scenes=scenes, test=test)
    numbers = {settings.scene_number(index) for index in range(scenes, settings.all_scenes)}
    assert len(numbers) == test
    assert not numbers & {SimulationSettings(scenes=other).scene_number(index) for index in range(other)}


def test_a_test_scene_is_the_same_beside_any_number_of_other_scenes(tmp_path: Path) -> None:
    few, more = (replace(TINY, scenes=scenes, test=1) for scenes in (1, 2))
    clouds = []
    for settings in (few, more):
        simulate_dataset(tmp_path / str(settings.scenes), settings, workers=1)
        names = sorted((tmp_path / str(settings.scenes) / "samples/LIDAR_TOP").iterdir())
        clouds.append([name.read_bytes() for name in names[-2:]])
    assert clouds[0] == clouds[1]


@given(
    sets=st.lists(st.sampled_from(list(SETS)), min_size=2, unique=True),
    scenes=st.integers(12, 400),
    share=st.floats(0.05, 0.9),
    test=st.integers(6, 100),
)
def test_every_set_is_in_every_split_evenly(sets: list[str], scenes: int, share: float, test: int) -> None:
    settings = SimulationSettings(scenes=scenes, val_share=share, sets=tuple(sets), test=test)
    splits = settings.splits()
    for split in ("val", "test"):
        parts = [splits[f"{split}_{name}"] for name in sets]
        assert sorted(name for part in parts for name in part) == splits[split]
    number = {f"sim-{i:04d}": settings.scene_set(i) for i in range(settings.all_scenes)}
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == sorted(number)
    for names in (splits["train"], splits["val"], splits["test"]):
        counts = [sum(number[n] == name for n in names) for name in sets]
        assert min(counts) >= 1
        assert max(counts) - min(counts) <= 1


def test_ordinary_streets_have_the_splits_and_settings_of_before_there_were_sets() -> None:
    assert set(SMALL.splits()) == {"train", "val", "sim_train", "sim_val"}
    assert not {"sets", "sensors"} & set(SMALL.identity())


def test_a_complete_data_set_is_not_rewritten(small_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated: list[object] = []
    monkeypatch.setattr(dataset, "_simulate_scene", lambda *of: simulated.append(of))
    before = {path: path.stat().st_mtime_ns for path in small_root.glob("**/*")}
    simulate_dataset(small_root, SMALL, workers=1)
    assert simulated == []
    assert {path: path.stat().st_mtime_ns for path in small_root.glob("**/*")} == before


def test_an_interrupted_run_has_no_tables_and_resumes(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate, calls = dataset._simulate_scene, []

    def interrupted(out: Path, settings: SimulationSettings, index: int) -> None:
        calls.append(index)
        if len(calls) == 2:
            raise KeyboardInterrupt
        simulate(out, settings, index)

    monkeypatch.setattr(dataset, "_simulate_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate_dataset(tmp_path / "out", SMALL, workers=1)
    assert not (tmp_path / "out/v1.0-sim").exists()
    simulate_dataset(tmp_path / "out", SMALL, workers=1)
    assert calls == [0, 1, 1]
    assert _digest(tmp_path / "out") == _digest(small_root)


def test_other_settings_in_the_folder_are_reported(small_root: Path) -> None:
    with pytest.raises(DataError, match=f"{small_root.name}.*seed"):
        simulate_dataset(small_root, replace(SMALL, seed=4), workers=1)


def test_a_foreign_folder_or_file_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=str(tmp_path)):
        simulate_dataset(tmp_path, SMALL, workers=1)
    with pytest.raises(DataError, match=r"thesis\.txt"):
        simulate_dataset(tmp_path / "thesis.txt", SMALL, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scenes", 0),
        ("seed", -1),
        ("seconds", 0.1),
        ("azimuths", 5),
        ("val_share", 1.0),
        ("version", "a/b"),
        ("sets", ()),
        ("sets", ("doors", "doors")),
        ("sets", ("mars",)),
        ("test", -1),
        ("sensors", ()),
        ("sensors", ("sonar",)),
    ],
)
def test_a_bad_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        SimulationSettings(**{field: value})


def test_too_few_scenes_for_every_set_in_both_splits_are_reported() -> None:
    with pytest.raises(ConfigError, match="scenes"):
        SimulationSettings(scenes=5, sets=("doors", "far", "crowd"))


def test_zero_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers"):
        simulate_dataset(tmp_path / "out", SMALL, workers=0)
    assert not (tmp_path / "out").exists()
