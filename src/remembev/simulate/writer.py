"""Point files and the thirteen nuScenes tables: rows of one scene, tables of a whole data set.

Field names and meanings are the nuScenes schema's (nuscenes-devkit, docs/schema_nuscenes.md). Tokens are hashes of
names, so equal data sets have equal tokens.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from remembev.simulate.meshes import Array
from remembev.simulate.poses import rotation
from remembev.simulate.scene import ObjectStates, SceneSimulation, Sweep
from remembev.simulate.sensors import Unit
from remembev.simulate.visibility import visibility_level
from remembev.simulate.world import Actor

Row = dict[str, Any]
Tables = dict[str, list[Row]]

CHANNEL = "LIDAR_TOP"
ANNOTATED_WITHIN = 72.0  # metres from the ego car
FIRST_TIMESTAMP = 1_600_000_000_000_000  # µs, of scene 0
SCENE_SPACING = 600_000_000  # µs from one scene's start to the next
MASK_FILE = "maps/simulated.png"

SCENE_TABLES = (
    "log",
    "calibrated_sensor",
    "scene",
    "sample",
    "sample_data",
    "ego_pose",
    "instance",
    "sample_annotation",
)

CATEGORIES = (
    "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller",
    "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris",
    "movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack",
    "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction",
    "vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer",
    "vehicle.truck",
)  # fmt: skip
ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider",
    "pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving",
)  # fmt: skip
VISIBILITY = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}


@dataclass(frozen=True)
class Tokens:
    """Tokens of one data set: 32 hexadecimal digits, hashed from the seed and names."""

    seed: int

    def __call__(self, *names: object) -> str:
        """Return the token of a row with these names."""
        text = "/".join(str(name) for name in (self.seed, *names))
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def quaternion(matrix: Array) -> list[float]:
    """Return the unit quaternion (w, x, y, z) of a rotation matrix [3, 3] whose pitch is less than 90 degrees."""
    yaw = np.arctan2(matrix[1, 0], matrix[0, 0])
    pitch = np.arcsin(np.clip(-matrix[2, 0], -1.0, 1.0))
    roll = np.arctan2(matrix[2, 1], matrix[2, 2])
    (a, b, c), (sa, sb, sc) = (tuple(f(v / 2) for v in (yaw, pitch, roll)) for f in (np.cos, np.sin))
    return [
        float(a * b * c + sa * sb * sc),
        float(a * b * sc - sa * sb * c),
        float(a * sb * c + sa * b * sc),
        float(sa * b * c - a * sb * sc),
    ]


def attribute(actor: Actor, moving: bool) -> str | None:
    """Return the attribute that nuScenes gives an object in this state; None if its category has none."""
    group = actor.category.split(".")[0]
    if group == "human":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if group != "vehicle":
        return None
    if actor.category in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.with_rider" if actor.kind.startswith("ridden") else "cycle.without_rider"
    if not actor.moves:
        return "vehicle.parked"
    return "vehicle.moving" if moving else "vehicle.stopped"


def scene_name(index: int) -> str:
    """Return the name of scene `index` of a simulated data set."""
    return f"sim-{index:04d}"


class SceneWriter:
    """Writes a scene's point files sweep by sweep and collects the rows of its tables."""

    def __init__(self, root: Path, seed: int, index: int) -> None:
        self.root, self.name, self.token = root, scene_name(index), Tokens(seed)
        self._start = FIRST_TIMESTAMP + index * SCENE_SPACING
        self._calibration = self.token("calibrated_sensor", self.name)
        self._samples: list[Row] = []
        self._sample_data: list[Row] = []
        self._poses: list[Row] = []
        self._objects: list[ObjectStates] = []

    def add(self, sweep: Sweep) -> None:
        """Write a sweep's points; a sweep with objects is a key frame, and the first has to be one."""
        is_key = sweep.objects is not None
        timestamp = self._start + round(sweep.time * 1e6)
        if sweep.objects is not None:
            self._samples.append({"token": self.token("sample", timestamp), "timestamp": timestamp})
            self._objects.append(sweep.objects)
        name = f"{self.name}__{CHANNEL}__{timestamp}.pcd.bin"
        filename = f"{'samples' if is_key else 'sweeps'}/{CHANNEL}/{name}"
        sweep.points.tofile(self.root / filename)
        pose = self.token("ego_pose", timestamp)
        self._poses.append(
            {
                "token": pose,
                "timestamp": timestamp,
                "rotation": quaternion(sweep.global_from_ego[:3, :3]),
                "translation": sweep.global_from_ego[:3, 3].tolist(),
            }
        )
        self._sample_data.append(
            {
                "token": self.token("sample_data", timestamp),
                "sample_token": self._samples[-1]["token"],
                "ego_pose_token": pose,
                "calibrated_sensor_token": self._calibration,
                "timestamp": timestamp,
                "fileformat": "pcd",
                "is_key_frame": is_key,
                "height": 0,
                "width": 0,
                "filename": filename,
            }
        )

    def tables(self, actors: Sequence[Actor], unit: Unit, description: str) -> Tables:
        """Return the rows of the scene, after its last sweep."""
        scene, log = self.token("scene", self.name), self.token("log", self.name)
        samples = _linked([{**row, "scene_token": scene} for row in self._samples])
        instances, annotations = self._annotations(actors)
        calibration = {
            "token": self._calibration,
            "sensor_token": self.token("sensor"),
            "translation": list(unit.position),
            "rotation": quaternion(rotation(*unit.angles)),
            "camera_intrinsic": [],
        }
        return {
            "log": [
                {
                    "token": log,
                    "logfile": self.name,
                    "vehicle": "simulated",
                    "date_captured": "2020-09-13",
                    "location": "simulated",
                }
            ],
            "calibrated_sensor": [calibration],
            "scene": [
                {
                    "token": scene,
                    "log_token": log,
                    "nbr_samples": len(samples),
                    "first_sample_token": samples[0]["token"],
                    "last_sample_token": samples[-1]["token"],
                    "name": self.name,
                    "description": description,
                }
            ],
            "sample": samples,
            "sample_data": _linked(self._sample_data),
            "ego_pose": self._poses,
            "instance": instances,
            "sample_annotation": annotations,
        }

    def _annotations(self, actors: Sequence[Actor]) -> tuple[list[Row], list[Row]]:
        """Return instances and annotations of all objects with at least one LiDAR point in the scene."""
        instances, annotations = [], []
        for i, actor in enumerate(actors):
            frames = _annotated_frames(
                np.array([o.distance[i] for o in self._objects]), np.array([o.num_points[i] for o in self._objects])
            )
            if not len(frames):
                continue
            instance = self.token("instance", self.name, i)
            rows = _linked([self._annotation(actor, instance, i, frame) for frame in frames])
            annotations += rows
            instances.append(
                {
                    "token": instance,
                    "category_token": self.token("category", actor.category),
                    "nbr_annotations": len(rows),
                    "first_annotation_token": rows[0]["token"],
                    "last_annotation_token": rows[-1]["token"],
                }
            )
        return instances, annotations

    def _annotation(self, actor: Actor, instance: str, i: int, frame: int) -> Row:
        objects, sample = self._objects[frame], self._samples[frame]["token"]
        x, y, z, length, width, height, yaw = objects.boxes[i].tolist()
        state = attribute(actor, bool(objects.moving[i]))
        return {
            "token": self.token("sample_annotation", sample, instance),
            "sample_token": sample,
            "instance_token": instance,
            "visibility_token": str(visibility_level(float(objects.share[i]))),
            "attribute_tokens": [] if state is None else [self.token("attribute", state)],
            "translation": [x, y, z],
            "size": [width, length, height],
            "rotation": [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))],
            "num_lidar_pts": int(objects.num_points[i]),
            "num_radar_pts": 0,
        }


def _annotated_frames(distance: Array, num_points: Array) -> list[int]:
    """Return the key frames with an annotation: from the object's first to its last near one, if any has a point."""
    near = np.flatnonzero(distance < ANNOTATED_WITHIN)
    if not len(near) or not num_points[near].any():
        return []
    return list(range(int(near[0]), int(near[-1]) + 1))


def _linked(rows: list[Row]) -> list[Row]:
    """Return rows linked by prev and next tokens, empty at the ends."""
    tokens = ["", *(row["token"] for row in rows), ""]
    return [{**row, "prev": tokens[i], "next": tokens[i + 2]} for i, row in enumerate(rows)]


def write_scene(
    root: Path, seed: int, index: int, simulation: SceneSimulation, *, description: str, sweeps: bool
) -> Tables:
    """Simulate a whole scene, write its points under `root`, and return its rows."""
    writer = SceneWriter(root, seed, index)
    for sweep in simulation.frames(sweeps=sweeps):
        writer.add(sweep)
    return writer.tables(simulation.actors, simulation.sensor.units[0], description)


def dataset_tables(seed: int, scenes: Sequence[Tables]) -> Tables:
    """Return all thirteen tables of a data set from the rows of its scenes."""
    token = Tokens(seed)
    tables: Tables = {name: [row for scene in scenes for row in scene[name]] for name in SCENE_TABLES}
    logs = [row["token"] for row in tables["log"]]
    return {
        "category": [{"token": token("category", n), "name": n, "description": ""} for n in CATEGORIES],
        "attribute": [{"token": token("attribute", n), "name": n, "description": ""} for n in ATTRIBUTES],
        "visibility": [{"token": t, "level": level, "description": ""} for t, level in VISIBILITY.items()],
        "sensor": [{"token": token("sensor"), "channel": CHANNEL, "modality": "lidar"}],
        "map": [{"token": token("map"), "log_tokens": logs, "category": "semantic_prior", "filename": MASK_FILE}],
        **tables,
    }


def write_tables(folder: Path, tables: Tables, splits: dict[str, list[str]]) -> None:
    """Write each table as a JSON file, and splits.json, into an existing folder."""
    for name, rows in {**tables, "splits": splits}.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, separators=(",", ":")))


def write_mask(path: Path) -> None:
    """Write the PNG that the map table has to name: one white pixel, meaning drivable."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\xff")) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + image)
