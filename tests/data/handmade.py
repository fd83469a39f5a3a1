"""A nuScenes root written by hand, with known numbers: an ego car that drives and turns, far from the map's origin.

Every LiDAR cloud holds the landmarks of the world, seen without noise from where the sensor is; the intensity of a
point is the number of its landmark. Poses are computed with pyquaternion, independently of what is tested.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pyquaternion import Quaternion

VERSION = "v1.0-hand"
START_US = 1_600_000_000_000_000
KEY_FRAME_US = 500_000
SWEEP_US = 100_000
SWEEPS_BETWEEN = 4
CENTRE = np.array([1_000_000.0, 2_000_000.0, 30.0])
"""A map's origin this far away costs 6 cm in float32."""
EGO_RETURN = (0.4, -0.7, -1.5)
CATEGORIES = ("vehicle.car", "vehicle.truck", "human.pedestrian.adult", "animal")
LEVELS = ("v0-40", "v40-60", "v60-80", "v80-100")


@dataclass(frozen=True)
class Thing:
    """An object that drives straight: its place at the start of a scene, in metres from the ego car's start."""

    category: str
    place: tuple[float, float, float]
    size: tuple[float, float, float]  # w, l, h
    yaw: float
    velocity: tuple[float, float] = (0.0, 0.0)
    frames: range = field(default=range(1000))
    lidar_points: int = 7
    visibility: int = 4


THINGS = (
    Thing("vehicle.car", (12.0, 6.0, 0.9), (1.9, 4.6, 1.7), 0.4, (5.0 * np.cos(0.4), 5.0 * np.sin(0.4)), visibility=3),
    Thing("vehicle.truck", (20.0, -12.0, 1.5), (2.5, 7.0, 3.0), -2.0),
    Thing("human.pedestrian.adult", (8.0, 2.0, 0.9), (0.6, 0.7, 1.8), 1.0, frames=range(2, 3), visibility=1),
    Thing("vehicle.car", (5.0, -9.0, 0.8), (1.8, 4.2, 1.6), 2.5, (-1.0, 2.0), frames=range(1, 1000)),
    Thing("vehicle.car", (300.0, 0.0, 0.8), (1.8, 4.2, 1.6), 0.0),
    Thing("animal", (6.0, 3.0, 0.4), (0.3, 0.8, 0.5), 0.0),
)  # fmt: skip

EGO_FROM_LIDAR = (np.array([0.94, 0.1, 1.84]), Quaternion(0.70, 0.01, -0.02, -0.71).normalised)


def landmarks(count: int = 150) -> np.ndarray:
    """Static points [count, 3] of the world in global metres."""
    random = np.random.default_rng(7)
    return CENTRE + random.uniform((-40, -40, -1), (60, 60, 3), (count, 3))


def ego_pose(scene: int, time_us: int) -> tuple[np.ndarray, Quaternion]:
    """Where the ego car is ``time_us`` after the start of a scene: it drives 6 m/s along an arc, a little pitched."""
    seconds = time_us * 1e-6
    heading = 0.7 * scene + 0.2 * seconds
    radius = 6.0 / 0.2
    offset = radius * np.array([np.sin(heading) - np.sin(0.7 * scene), np.cos(0.7 * scene) - np.cos(heading), 0.0])
    pitch = Quaternion(axis=(0, 1, 0), angle=0.03)
    return CENTRE + offset, Quaternion(axis=(0, 0, 1), angle=heading) * pitch


def global_from_lidar(scene: int, time_us: int) -> np.ndarray:
    """Pose [4, 4] of the sensor."""
    ego, mounted = ego_pose(scene, time_us), EGO_FROM_LIDAR
    return _matrix(*ego) @ _matrix(*mounted)


def _matrix(translation: np.ndarray, rotation: Quaternion) -> np.ndarray:
    matrix = rotation.transformation_matrix
    matrix[:3, 3] = translation
    return matrix


def write_handmade(
    root: Path, frames: Sequence[int] = (5, 5), version: str = VERSION, names: Sequence[str] = ()
) -> Path:
    """Write a data set with ``frames[i]`` key frames in scene i and four sweeps before each but the first."""
    tables: dict[str, list[dict]] = {name: [] for name in ("sample", "sample_data", "ego_pose", "sample_annotation")}
    names = names or [f"hand-{number}" for number in range(len(frames))]
    scenes = [_scene(root, tables, number, count, names[number]) for number, count in enumerate(frames)]
    tables |= _constant_tables(tables["sample_annotation"])
    tables["scene"] = scenes
    folder = root / version
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    (folder / "splits.json").write_text(
        json.dumps({"hand_all": names, "hand_first": names[:1], "hand_last": names[-1:]})
    )
    (root / "maps").mkdir()
    (root / "maps" / "flat.png").write_bytes(b"")
    return root


def _scene(root: Path, tables: dict[str, list[dict]], scene: int, count: int, name: str) -> dict:
    samples = [f"sample-{scene}-{frame}" for frame in range(count)]
    for frame, token in enumerate(samples):
        tables["sample"].append(
            {"token": token, "timestamp": _absolute(scene, frame * KEY_FRAME_US), "scene_token": f"scene-token-{scene}",
             "prev": samples[frame - 1] if frame else "", "next": samples[frame + 1] if frame + 1 < count else ""}
        )  # fmt: skip
    clouds = range((count - 1) * (SWEEPS_BETWEEN + 1) + 1)
    for cloud in clouds:
        _write_cloud(root, tables, scene, cloud, samples, last=cloud == clouds[-1])
    for number, thing in enumerate(THINGS):
        _annotate(tables, scene, number, thing, samples)
    return {"token": f"scene-token-{scene}", "name": name, "log_token": "log", "nbr_samples": count, "description": "",
            "first_sample_token": samples[0], "last_sample_token": samples[-1]}  # fmt: skip


def _absolute(scene: int, time_us: int) -> int:
    return START_US + 100_000_000 * scene + time_us


def _write_cloud(
    root: Path, tables: dict[str, list[dict]], scene: int, cloud: int, samples: Sequence[str], *, last: bool
) -> None:
    is_key = cloud % (SWEEPS_BETWEEN + 1) == 0
    time_us = cloud * SWEEP_US
    path = f"{'samples' if is_key else 'sweeps'}/LIDAR_TOP/{scene}-{cloud:03d}.pcd.bin"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    lidar_from_global = np.linalg.inv(global_from_lidar(scene, time_us))
    world = landmarks()
    xyz = np.vstack((world @ lidar_from_global[:3, :3].T + lidar_from_global[:3, 3], EGO_RETURN))
    columns = (xyz, np.arange(len(xyz))[:, None], (np.arange(len(xyz)) % 32)[:, None])
    np.hstack(columns).astype("<f4").tofile(root / path)
    translation, rotation = ego_pose(scene, time_us)
    token = f"cloud-{scene}-{cloud}"
    tables["ego_pose"].append(
        {"token": f"ego-{token}", "timestamp": _absolute(scene, time_us), "translation": translation.tolist(),
         "rotation": rotation.elements.tolist()}
    )  # fmt: skip
    owner = samples[-(-cloud // (SWEEPS_BETWEEN + 1))]
    tables["sample_data"].append(
        {"token": token, "sample_token": owner, "ego_pose_token": f"ego-{token}", "calibrated_sensor_token": "mounted",
         "timestamp": _absolute(scene, time_us), "fileformat": "pcd", "is_key_frame": is_key, "height": 0, "width": 0,
         "filename": path, "prev": f"cloud-{scene}-{cloud - 1}" if cloud else "",
         "next": "" if last else f"cloud-{scene}-{cloud + 1}"}
    )  # fmt: skip


def place_of(thing: Thing, time_us: int) -> np.ndarray:
    """Centre of a thing in global metres, ``time_us`` after the start of a scene."""
    return CENTRE + np.array(thing.place) + np.array((*thing.velocity, 0.0)) * time_us * 1e-6


def _annotate(tables: dict[str, list[dict]], scene: int, number: int, thing: Thing, samples: Sequence[str]) -> None:
    frames = [frame for frame in range(len(samples)) if frame in thing.frames]
    token = "annotation-{}-{}-{}".format
    for frame in frames:
        tables["sample_annotation"].append(
            {"token": token(scene, number, frame), "sample_token": samples[frame],
             "instance_token": f"instance-{scene}-{number}", "visibility_token": str(thing.visibility),
             "attribute_tokens": [], "translation": place_of(thing, frame * KEY_FRAME_US).tolist(),
             "size": list(thing.size), "rotation": Quaternion(axis=(0, 0, 1), angle=thing.yaw).elements.tolist(),
             "prev": token(scene, number, frame - 1) if frame - 1 in frames else "",
             "next": token(scene, number, frame + 1) if frame + 1 in frames else "",
             "num_lidar_pts": thing.lidar_points, "num_radar_pts": 0}
        )  # fmt: skip


def _constant_tables(annotations: Sequence[dict]) -> dict[str, list[dict]]:
    instances = sorted({annotation["instance_token"] for annotation in annotations})
    translation, rotation = EGO_FROM_LIDAR
    return {
        "category": [{"token": f"category-{name}", "name": name, "description": ""} for name in CATEGORIES],
        "attribute": [{"token": "attribute", "name": "vehicle.moving", "description": ""}],
        "visibility": [{"token": str(n + 1), "level": level, "description": ""} for n, level in enumerate(LEVELS)],
        "instance": [
            {"token": token, "category_token": f"category-{THINGS[int(token.split('-')[2])].category}",
             "nbr_annotations": 1, "first_annotation_token": "", "last_annotation_token": ""} for token in instances
        ],
        "sensor": [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}],
        "calibrated_sensor": [
            {"token": "mounted", "sensor_token": "lidar", "translation": translation.tolist(),
             "rotation": rotation.elements.tolist(), "camera_intrinsic": []}
        ],
        "log": [{"token": "log", "logfile": "", "vehicle": "", "date_captured": "", "location": "singapore-onenorth"}],
        "map": [{"token": "map", "log_tokens": ["log"], "category": "semantic_prior", "filename": "maps/flat.png"}],
    }  # fmt: skip
