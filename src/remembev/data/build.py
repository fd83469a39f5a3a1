"""Build ``IndexTables`` from nuScenes tables. The devkit is only used here.

Global poses are float64; boxes are returned in the LiDAR frame of their key frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from remembev.config.classes import DETECTION_NAMES
from remembev.data.tables import IndexTables, encode_strings
from remembev.errors import DataError
from remembev.geometry import invert_pose, make_pose
from remembev.progress import with_progress

TABLE_NAMES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample", "sample_annotation",
    "sample_data", "scene", "sensor", "visibility",
)  # fmt: skip
SPLITS_FILE = "splits.json"
LIDAR = "LIDAR_TOP"

_OFFICIAL_SPLITS = {
    "v1.0-trainval": ("train", "val", "train_detect", "train_track"),
    "v1.0-mini": ("mini_train", "mini_val"),
    "v1.0-test": ("test",),
}
_VISIBILITY_LEVELS = {"v0-40": 1, "v40-60": 2, "v60-80": 3, "v80-100": 4}


def check_tables(root: Path, version: str) -> None:
    """Raise DataError if the version's folder or one of its 13 tables is missing."""
    folder = root / version
    if not folder.is_dir():
        versions = sorted(path.parent.name for path in root.glob("*/scene.json"))
        known = f"; found {', '.join(versions)}" if versions else ""
        raise DataError(f"{folder}: no such folder; it should hold the tables of {version}{known}")
    missing = [f"{name}.json" for name in TABLE_NAMES if not (folder / f"{name}.json").is_file()]
    if missing:
        raise DataError(f"{folder}: missing table {', '.join(missing)}")


def build_tables(root: Path, version: str) -> IndexTables:
    """Index the data set at ``root``, whose folder ``version`` holds the 13 tables and optional custom splits.

    Raises:
        DataError: Naming the broken table, token or file.
    """
    folder = root / version
    with _errors_named(folder):
        with Progress(console=Console(stderr=True), transient=True) as progress:
            progress.add_task("Reading the nuScenes tables", total=None)
            nusc = _read_with_devkit(root, version)
        frames = _ordered_by_scene(nusc, nusc.sample)
        clouds = _ordered_by_scene(nusc, [record for record in nusc.sample_data if record["channel"] == LIDAR])
        columns = {**_scene_columns(nusc, frames), **_split_columns(nusc, folder)}
        columns |= {**_cloud_columns(nusc, clouds), **_frame_columns(nusc, frames, clouds)}
        global_from_lidar = columns["global_from_cloud"][columns["frame_cloud"]]
        annotated = with_progress(frames, "Indexing key frames", len(frames))
        return IndexTables(**columns, **_box_columns(nusc, annotated, global_from_lidar))


# -------------------------------------------------------------------------------------------------------------- columns


def _ordered_by_scene(nusc: Any, records: Sequence[Any]) -> list[Any]:
    """Sort samples or sample_data by scene, then by time."""

    def place(record: Any) -> tuple[int, int]:
        sample = record if "scene_token" in record else nusc.get("sample", record["sample_token"])
        return nusc.getind("scene", sample["scene_token"]), record["timestamp"]

    return sorted(records, key=place)


def _starts(counts: Sequence[int]) -> Tensor:
    return torch.tensor([0, *accumulate(counts)])


def _scene_columns(nusc: Any, frames: Sequence[Any]) -> dict[str, Any]:
    frame_scene = torch.tensor([nusc.getind("scene", frame["scene_token"]) for frame in frames], dtype=torch.int64)
    return {
        "scene_token": encode_strings([scene["token"] for scene in nusc.scene]),
        "scene_name": encode_strings([scene["name"] for scene in nusc.scene]),
        "frame_scene": frame_scene,
        "frame_start": _starts(torch.bincount(frame_scene, minlength=len(nusc.scene)).tolist()),
    }


def _split_columns(nusc: Any, folder: Path) -> dict[str, Any]:
    splits = {**_custom_splits(folder, {scene["name"] for scene in nusc.scene}), **_official_splits(nusc.version)}
    members = [
        [number for number, scene in enumerate(nusc.scene) if scene["name"] in wanted] for wanted in splits.values()
    ]
    return {
        "split_name": encode_strings(list(splits)),
        "split_start": _starts([len(scenes) for scenes in members]),
        "split_scene": torch.tensor([scene for scenes in members for scene in scenes], dtype=torch.int64),
    }


def _official_splits(version: str) -> dict[str, set[str]]:
    from nuscenes.utils.splits import create_splits_scenes

    splits = create_splits_scenes()
    return {name: set(splits[name]) for name in _OFFICIAL_SPLITS.get(version, ())}


def _custom_splits(folder: Path, known: set[str]) -> dict[str, set[str]]:
    path = folder / SPLITS_FILE
    if not path.is_file():
        return {}
    splits = {name: set(scenes) for name, scenes in _read_json(path).items()}
    for name, scenes in splits.items():
        if scenes - known:
            raise DataError(f"{path}: split {name!r} names scene {min(scenes - known)!r}, which is not in scene.json")
    return splits


def _cloud_columns(nusc: Any, clouds: Sequence[Any]) -> dict[str, Any]:
    number = {cloud["token"]: row for row, cloud in enumerate(clouds)}
    previous = [number[cloud["prev"]] if cloud["prev"] else -1 for cloud in clouds]
    for cloud, before in zip(clouds, previous, strict=True):
        if before >= 0 and clouds[before]["timestamp"] >= cloud["timestamp"]:
            raise DataError(f"sample_data.json: {cloud['token']} is not later than its previous record {cloud['prev']}")
    ego = [nusc.get("ego_pose", cloud["ego_pose_token"]) for cloud in clouds]
    mounted = [nusc.get("calibrated_sensor", cloud["calibrated_sensor_token"]) for cloud in clouds]
    return {
        "cloud_path": encode_strings([cloud["filename"] for cloud in clouds]),
        "cloud_time": torch.tensor([cloud["timestamp"] for cloud in clouds], dtype=torch.int64),
        "cloud_previous": torch.tensor(previous, dtype=torch.int64),
        "global_from_cloud": _poses(ego) @ _poses(mounted),
    }


def _frame_columns(nusc: Any, frames: Sequence[Any], clouds: Sequence[Any]) -> dict[str, Any]:
    number = {cloud["token"]: row for row, cloud in enumerate(clouds)}
    for frame in frames:
        if LIDAR not in frame["data"]:
            raise DataError(f"sample_data.json: no {LIDAR} key frame for sample {frame['token']}")
    return {
        "frame_token": encode_strings([frame["token"] for frame in frames]),
        "frame_time": torch.tensor([frame["timestamp"] for frame in frames], dtype=torch.int64),
        "frame_cloud": torch.tensor([number[frame["data"][LIDAR]] for frame in frames], dtype=torch.int64),
    }


def _box_columns(nusc: Any, frames: Any, global_from_lidar: Tensor) -> dict[str, Any]:
    from nuscenes.eval.detection.utils import category_to_detection_name

    records, owners, classes, velocities = [], [], [], []
    for number, frame in enumerate(frames):
        for token in frame["anns"]:
            record = nusc.get("sample_annotation", token)
            name = category_to_detection_name(record["category_name"])
            if name is not None:
                records.append(record)
                owners.append(number)
                classes.append(DETECTION_NAMES.index(name))
                velocities.append(nusc.box_velocity(token).tolist())
    owner = torch.tensor(owners, dtype=torch.int64)
    levels = [_VISIBILITY_LEVELS[nusc.get("visibility", record["visibility_token"])["level"]] for record in records]
    tracks = [nusc.getind("instance", record["instance_token"]) for record in records]
    return {
        "box_start": _starts(torch.bincount(owner, minlength=len(global_from_lidar)).tolist()),
        "box": _boxes_in_lidar(records, _rows(velocities, 3), invert_pose(global_from_lidar)[owner]),
        "box_class": torch.tensor(classes, dtype=torch.uint8),
        "box_track": torch.tensor(tracks, dtype=torch.int32),
        "box_points": torch.tensor([record["num_lidar_pts"] for record in records], dtype=torch.int32),
        "box_visibility": torch.tensor(levels, dtype=torch.uint8),
    }


def _boxes_in_lidar(records: Sequence[Any], velocity: Tensor, lidar_from_global: Tensor) -> Tensor:
    """Convert A annotations from (w, l, h) and quaternions to boxes [A, 9] float32 in the LiDAR frame."""
    lidar_from_box = lidar_from_global @ _poses(records)
    width, length, height = _rows([record["size"] for record in records], 3).unbind(dim=-1)
    yaw = torch.atan2(lidar_from_box[:, 1, 0], lidar_from_box[:, 0, 0])
    velocity = (lidar_from_global[:, :2, :3] @ velocity[..., None])[..., 0]
    upright = torch.stack((length, width, height, yaw), dim=-1)
    return torch.cat((lidar_from_box[:, :3, 3], upright, velocity), dim=-1).float()


def _poses(records: Sequence[Any]) -> Tensor:
    """Return poses [N, 4, 4] float64 of records with a translation and a rotation."""
    translations = _rows([record["translation"] for record in records], 3)
    return make_pose(translations, _rows([record["rotation"] for record in records], 4))


def _rows(values: Sequence[Sequence[float]], width: int) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(len(values), width)


# --------------------------------------------------------------------------------------------------------------- errors


def _read_with_devkit(root: Path, version: str) -> Any:
    try:
        from nuscenes import NuScenes
    except ImportError as error:
        raise DataError(f"indexing {root / version} needs the nuScenes devkit: pip install -e '.[nuscenes]'") from error
    try:
        return NuScenes(version=version, dataroot=str(root), verbose=False)
    except json.JSONDecodeError as error:
        for name in TABLE_NAMES:
            _read_json(root / version / f"{name}.json")
        raise DataError(f"{root / version}: a table is not valid JSON: {error}") from error
    except (AssertionError, IndexError, TypeError) as error:
        raise DataError(f"{root / version}: the devkit cannot use these tables: {error}") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error


@contextmanager
def _errors_named(folder: Path) -> Iterator[None]:
    """Convert a KeyError to a DataError that names the missing token and the tables that refer to it."""
    try:
        yield
    except KeyError as error:
        token = str(error.args[0])
        paths = [folder / f"{name}.json" for name in TABLE_NAMES]
        referring = [path.name for path in paths if f'"{token}"' in path.read_text(encoding="utf-8")]
        where = f"{' and '.join(referring)} refer to it" if referring else "every record needs it"
        raise DataError(f"{folder}: token or key {token!r} is missing; {where}") from error
