"""One annotated key frame in a folder: a cloud and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from remembev.data.frame import Frame
from remembev.data.points import read_points
from remembev.errors import DataError

POINTS_FILE = "LIDAR_TOP.pcd.bin"
RECORD_FILE = "frame.json"


def is_keyframe(folder: Path) -> bool:
    """Return True if a folder has the record of a key frame."""
    return (folder / RECORD_FILE).is_file()


def read_keyframe(folder: Path, class_names: Sequence[str]) -> Frame:
    """Read a key frame.

    Args:
        folder: Holds ``LIDAR_TOP.pcd.bin`` (float32 [N, 5], as nuScenes') and ``frame.json``, which has
            global_from_ego, ego_from_lidar, timestamp_s, sample_token, and boxes with name, box (7), velocity (2 or
            null) and num_lidar_pts in the LiDAR frame.
        class_names: Classes of the boxes; boxes of other names are left out.

    Returns:
        The frame, a scene of its own. The file has no visibility: all objects have level 4.

    Raises:
        DataError: Naming the broken file.
    """
    record_file = folder / RECORD_FILE
    try:
        record = json.loads(record_file.read_text(encoding="utf-8"))
        annotated = [box for box in record["boxes"] if box["name"] in class_names]
        frame = Frame(
            points=torch.zeros(0, 5),
            global_from_lidar=_pose(record["global_from_ego"]) @ _pose(record["ego_from_lidar"]),
            timestamp=float(record["timestamp_s"]),
            scene_token=record["sample_token"],
            sample_token=record["sample_token"],
            boxes=torch.tensor([_box_with_velocity(box) for box in annotated]).reshape(-1, 9),
            labels=_integers([list(class_names).index(box["name"]) for box in annotated]),
            track_ids=torch.arange(len(annotated)),
            num_points=_integers([box["num_lidar_pts"] for box in annotated]),
            visibility=torch.full((len(annotated),), 4),
        )
    except OSError as error:
        raise DataError(f"{record_file}: the record of the key frame cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise DataError(f"{record_file}: no key {error} in the record of the key frame") from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{record_file}: not the record of a key frame: {error}") from error
    return replace(frame, points=_single_turn(folder / POINTS_FILE))


def _single_turn(path: Path) -> Tensor:
    """Return points [N, 5] with age 0 in place of the ring."""
    points = read_points(path)
    points[:, 4] = 0.0
    return points


def _pose(rows: list[list[float]]) -> Tensor:
    pose = torch.tensor(rows, dtype=torch.float64)
    if pose.shape != (4, 4):
        raise ValueError(f"a pose is {list(pose.shape)}, not [4, 4]")
    return pose


def _integers(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def _box_with_velocity(record: dict[str, Any]) -> list[float]:
    """Return box and velocity [9]; a velocity that nuScenes doesn't have (null) is 0, as in the data set's frames."""
    velocity = [value or 0.0 for value in record["velocity"] or (0.0, 0.0)]
    return [*record["box"], *velocity]
