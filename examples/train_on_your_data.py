"""Train on your own data: write it in the nuScenes format, make a configuration for it, train, score.

    python examples/train_on_your_data.py --out runs/yours
    python examples/train_on_your_data.py --out runs/yours --data /data/yours --version v1.0-yours

The first line makes up a recording. Put your own in place of ``record_scene``: key frames with points, the LiDAR's
pose, and boxes that keep their track id. ``write_dataset`` writes them as the nuScenes tables, which is all that
RememBEV reads. Categories are nuScenes' own (``vehicle.car``, ``human.pedestrian.adult``, …): its score needs them.
The second line takes a data set that is there already, whose ``splits.json`` names scenes for ``your_train`` and
``your_val``.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rich

from remembev import Config, load_config
from remembev.evaluation import evaluate_checkpoint, evaluation_table
from remembev.training import train

CLASSES = ("car", "pedestrian")
RANGE = (-20.0, -20.0, -3.0, 20.0, 20.0, 3.0)  # x, y, z from … to, metres
VOXEL = (0.625, 0.625, 6.0)  # pillars are as high as the range


@dataclass(frozen=True)
class Object:
    """A box of a key frame, in global coordinates."""

    track: str  # the same object in every frame of its scene
    category: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]  # length along the heading, width, height
    yaw: float


@dataclass(frozen=True)
class KeyFrame:
    """What your recording has of a key frame."""

    seconds: float
    points: np.ndarray  # [N, 4] float32: x, y, z in the LiDAR frame, intensity 0 … 255
    position: tuple[float, float, float]  # of the LiDAR in global coordinates
    yaw: float  # of the LiDAR; a full rotation works as well, see nuScenes' quaternions
    objects: list[Object]


def record_scene(seed: int, frames: int = 6) -> list[KeyFrame]:
    """Make up a scene: the sensor drives past parked cars and people who walk."""
    draw = np.random.default_rng(seed)
    cars = [(x, draw.choice([-6.0, 6.0]), -0.9) for x in range(-10, 40, 10)]
    people = [(draw.uniform(0, 25), draw.uniform(-12, 12), draw.uniform(-math.pi, math.pi)) for _ in range(4)]
    recording = []
    for number in range(frames):
        seconds, position = 0.5 * number, (2.5 * number, 0.0, 0.0)
        objects = [Object(f"car {i}", "vehicle.car", place, (4.5, 1.9, 1.6), 0.0) for i, place in enumerate(cars)]
        for i, (x, y, yaw) in enumerate(people):
            walked = (x + seconds * math.cos(yaw), y + seconds * math.sin(yaw), -0.85)
            objects.append(Object(f"person {i}", "human.pedestrian.adult", walked, (0.7, 0.7, 1.7), yaw))
        ground = np.concatenate((draw.uniform(-20, 20, (1500, 2)), np.full((1500, 1), -1.7)), axis=1)
        surfaces = [_surface(each, draw) - position for each in objects]
        points = np.concatenate((ground, *surfaces))
        intensity = draw.uniform(0, 60, (len(points), 1))
        recording.append(
            KeyFrame(seconds, np.concatenate((points, intensity), axis=1).astype("f4"), position, 0.0, objects)
        )
    return recording


def _surface(box: Object, draw: np.random.Generator, count: int = 60) -> np.ndarray:
    """Return points [count, 3] on the sides of a box, global."""
    local = draw.uniform(-0.5, 0.5, (count, 3))
    local[np.arange(count), draw.integers(0, 2, count)] = draw.choice([-0.5, 0.5], count)
    local *= box.size
    cos, sin = math.cos(box.yaw), math.sin(box.yaw)
    return local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + box.centre


# ------------------------------------------------------------------------------------------------- the nuScenes format


def write_dataset(root: Path, version: str, scenes: dict[str, list[KeyFrame]], splits: dict[str, list[str]]) -> None:
    """Write scenes in the nuScenes format: point files, the thirteen tables, and splits of your own.

    Tokens can be any text that is unique within its table.
    """
    categories = sorted({box.category for frames in scenes.values() for frame in frames for box in frame.objects})
    tables: dict[str, list[dict]] = {
        "category": [{"token": name, "name": name, "description": ""} for name in categories],
        "attribute": [],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "sensor": [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}],
        "map": [
            {"token": "map", "log_tokens": list(scenes), "category": "semantic_prior", "filename": "maps/empty.png"}
        ],
    }
    names = ("log", "calibrated_sensor", "scene", "sample", "sample_data", "ego_pose", "instance", "sample_annotation")
    tables |= {name: [] for name in names}
    (root / "samples" / "LIDAR_TOP").mkdir(parents=True, exist_ok=True)
    for number, (name, frames) in enumerate(scenes.items()):
        _add_scene(root, tables, name, frames, start=1_700_000_000 + 1000 * number)
    (root / "maps").mkdir(exist_ok=True)
    (root / "maps" / "empty.png").write_bytes(base64.b64decode(EMPTY_PNG))
    (root / version).mkdir()
    for table, rows in {**tables, "splits": splits}.items():
        (root / version / f"{table}.json").write_text(json.dumps(rows))


def _add_scene(root: Path, tables: dict[str, list[dict]], name: str, frames: list[KeyFrame], start: int) -> None:
    """Write a scene's point files and append its rows; ``start`` is its time in seconds."""
    still = {"translation": [0.0, 0.0, 0.0], "rotation": [1.0, 0.0, 0.0, 0.0]}
    tables["log"].append({"token": name, "logfile": "", "vehicle": "", "date_captured": "", "location": ""})
    tables["calibrated_sensor"].append({"token": name, "sensor_token": "lidar", "camera_intrinsic": [], **still})
    samples, clouds, tracks = [], [], {}
    for number, frame in enumerate(frames):
        token, timestamp = f"{name}/{number}", round((start + frame.seconds) * 1e6)
        file = f"samples/LIDAR_TOP/{name}__{number:04d}.pcd.bin"
        np.pad(frame.points, ((0, 0), (0, 1))).tofile(root / file)  # the fifth column is the ring
        pose = {"translation": list(frame.position), "rotation": _quaternion(frame.yaw)}
        tables["ego_pose"].append({"token": token, "timestamp": timestamp, **pose})
        samples.append({"token": token, "timestamp": timestamp, "scene_token": name})
        keys = {"sample_token": token, "ego_pose_token": token, "calibrated_sensor_token": name}
        about = {"fileformat": "pcd", "is_key_frame": True, "height": 0, "width": 0, "filename": file}
        clouds.append({"token": token, "timestamp": timestamp, **keys, **about})
        for box in frame.objects:
            tracks.setdefault(box.track, []).append(_annotation(token, frame, box))
    tables["sample"] += _linked(samples)
    tables["sample_data"] += _linked(clouds)
    ends = {"first_sample_token": samples[0]["token"], "last_sample_token": samples[-1]["token"]}
    about = {"log_token": name, "nbr_samples": len(samples), "name": name, "description": "", **ends}
    tables["scene"].append({"token": name, **about})
    for track, rows in tracks.items():
        instance, rows = f"{name}/{track}", _linked(rows)
        category = next(box.category for frame in frames for box in frame.objects if box.track == track)
        ends = {"first_annotation_token": rows[0]["token"], "last_annotation_token": rows[-1]["token"]}
        tables["instance"].append({"token": instance, "category_token": category, "nbr_annotations": len(rows), **ends})
        tables["sample_annotation"] += [{**row, "instance_token": instance} for row in rows]


def _annotation(sample: str, frame: KeyFrame, box: Object) -> dict:
    length, width, height = box.size
    return {
        "token": f"{sample}/{box.track}",
        "sample_token": sample,
        "visibility_token": "4",
        "attribute_tokens": [],
        "translation": list(box.centre),
        "size": [width, length, height],  # nuScenes' order
        "rotation": _quaternion(box.yaw),
        "num_lidar_pts": int(_inside(frame, box).sum()),
        "num_radar_pts": 0,
    }


def _inside(frame: KeyFrame, box: Object) -> np.ndarray:
    """Return which points [N] bool of a frame lie in a box."""
    cos, sin = math.cos(frame.yaw), math.sin(frame.yaw)
    points = frame.points[:, :3] @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + frame.position - box.centre
    cos, sin = math.cos(box.yaw), math.sin(box.yaw)
    local = points @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return (np.abs(local) <= np.array(box.size) / 2 + 0.01).all(axis=1)


def _quaternion(yaw: float) -> list[float]:
    return [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]


def _linked(rows: list[dict]) -> list[dict]:
    """Return rows of one track or scene with tokens of the one before and after, empty at the ends."""
    tokens = ["", *(row["token"] for row in rows), ""]
    return [
        {**row, "prev": before, "next": after} for row, before, after in zip(rows, tokens, tokens[2:], strict=False)
    ]


EMPTY_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
"""The map that the devkit wants: one white pixel."""


# -------------------------------------------------------------------------------------------------- training, scoring


def your_config(version: str, epochs: int, batches: int | None) -> Config:
    """Return the configuration ``tiny`` with your classes and range, and the anchors that it has for these classes."""
    cfg = load_config("tiny")
    anchors = [entry for entry in cfg.MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG if entry.class_name in CLASSES]
    return cfg.with_changes(
        {
            "CLASS_NAMES": CLASSES,
            "DATA_CONFIG.VERSION": version,
            "DATA_CONFIG.DATA_SPLIT": {"train": "your_train", "test": "your_val"},
            "DATA_CONFIG.POINT_CLOUD_RANGE": RANGE,
            "DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE": VOXEL,
            "MODEL.DENSE_HEAD.RPN_HEAD_CFGS": [{"HEAD_CLS_NAME": [name]} for name in CLASSES],
            "MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG": anchors,
            # First on single frames, without the memory
            "OPTIMIZATION.PRETRAIN": {"EPOCHS": epochs, "LR": 0.002, "BATCHES_PER_EPOCH": batches},
            "OPTIMIZATION.NUM_EPOCHS": epochs,
            "OPTIMIZATION.BATCHES_PER_EPOCH": batches,
            "OPTIMIZATION.VAL_CLIPS": 2,
        }
    )


def main(arguments: list[str] | None = None) -> None:
    """Write or take a data set, train on it, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, and of the data that is made up")
    parser.add_argument("--data", type=Path, help="root of your data set in the nuScenes format")
    parser.add_argument("--version", default="v1.0-yours", help="its version, the name of the folder with the tables")
    parser.add_argument("--epochs", type=int, default=10, help="epochs on single frames, and as many on clips")
    parser.add_argument("--batches", type=int, help="batches an epoch at most; every clip if not given")
    options = parser.parse_args(arguments)

    data = options.data or options.out / "data"
    if options.data is None and not (data / options.version).is_dir():
        scenes = {f"drive-{number}": record_scene(number) for number in range(5)}
        splits = {"your_train": list(scenes)[:4], "your_val": list(scenes)[4:]}
        write_dataset(data, options.version, scenes, splits)
    run = train(your_config(options.version, options.epochs, options.batches), data, options.out / "run", resume=True)
    evaluation = evaluate_checkpoint(run.weights, data, options.out / "eval")
    rich.print(evaluation_table(evaluation))


if __name__ == "__main__":
    main()
