"""Boxes to nuScenes submissions, of detection and of tracking: global, in the devkit's order, with attributes, as JSON.

The devkit's conventions (w, l, h; quaternions w, x, y, z; global frame) stay in this file; ``official.py`` and
``official_tracking.py`` score.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from remembev.config.classes import DETECTION_NAMES
from remembev.evaluation.detecting import Records
from remembev.evaluation.official_tracking import TRACKING_NAMES
from remembev.files import atomic_write
from remembev.geometry import transform_points
from remembev.models import Detections
from remembev.streaming import read_record
from remembev.tracking import UNTRACKED

Results = dict[str, list[dict[str, Any]]]
"""Boxes of a submission by sample token, as in nuScenes' JSON."""

MAX_BOXES_PER_SAMPLE = 500
MOVING_SPEED = 0.2
"""Speed in m/s above which an object gets the attribute of a moving one (OpenPCDet's rule)."""

_ATTRIBUTES = {
    "car": ("vehicle.moving", "vehicle.parked"),
    "truck": ("vehicle.moving", "vehicle.parked"),
    "construction_vehicle": ("vehicle.moving", "vehicle.parked"),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "trailer": ("vehicle.moving", "vehicle.parked"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
}


def attribute_name(class_name: str, speed: float) -> str:
    """Return the attribute of an object from its speed in m/s; empty for classes without attributes."""
    if class_name not in _ATTRIBUTES:
        return ""
    moving, default = _ATTRIBUTES[class_name]
    return moving if speed > MOVING_SPEED else default


def submission_boxes(
    detections: Detections, class_names: Sequence[str], global_from_lidar: Tensor, sample_token: str
) -> list[dict[str, Any]]:
    """Return a frame's detections as the boxes of a submission: the best 500, best first.

    Args:
        detections: In the LiDAR frame.
        class_names: The classes that labels index.
        global_from_lidar: [4, 4]; moves positions, rotations and velocities in float64, tilt included.
        sample_token: Of the frame.
    """
    best = detections.scores.cpu().argsort(descending=True, stable=True)[:MAX_BOXES_PER_SAMPLE]
    boxes = detections.boxes.cpu().double()[best]
    pose = global_from_lidar.double()
    centres = transform_points(pose, boxes[:, :3])
    rotations = _with_yaw(_quaternion(pose[:3, :3]), boxes[:, 6])
    velocities = boxes[:, 7:9] @ pose[:2, :2].T
    speeds = boxes[:, 7:9].norm(dim=-1).tolist()
    names = [class_names[label] for label in detections.labels.cpu()[best].tolist()]
    scores = detections.scores.cpu()[best].tolist()
    sizes = boxes[:, [4, 3, 5]]
    return [
        {
            "sample_token": sample_token,
            "translation": centres[row].tolist(),
            "size": sizes[row].tolist(),
            "rotation": rotations[row].tolist(),
            "velocity": velocities[row].tolist(),
            "detection_name": name,
            "detection_score": scores[row],
            "attribute_name": attribute_name(name, speeds[row]),
        }
        for row, name in enumerate(names)
    ]


def as_submission(scenes: Iterable[Records], *, remembered: bool) -> Results:
    """Return the detections on scenes as a submission, with or without the remembered boxes."""
    return {
        frame.token: submission_boxes(frame.detections, DETECTION_NAMES, frame.global_from_lidar, frame.token)
        for frame in _submitted(scenes, remembered)
    }


def as_tracking_submission(scenes: Iterable[Records], *, remembered: bool) -> Results:
    """Return the tracks of scenes as a tracking submission, with or without the remembered boxes."""
    return {frame.token: _tracking_boxes(frame) for frame in _submitted(scenes, remembered)}


class _Submitted(NamedTuple):
    """A frame's detections in a submission, with its scene, token and pose."""

    scene: str
    token: str
    global_from_lidar: Tensor
    detections: Detections


def _submitted(scenes: Iterable[Records], remembered: bool) -> Iterator[_Submitted]:
    for record in chain.from_iterable(scenes):
        detections = read_record(record, DETECTION_NAMES)
        pose = torch.tensor(record["global_from_lidar"], dtype=torch.float64)
        submitted = detections if remembered else detections[~detections.remembered]
        yield _Submitted(record["scene"], record["sample_token"], pose, submitted)


def _tracking_boxes(frame: _Submitted) -> list[dict[str, Any]]:
    """Return the boxes of a frame that have a track and a class that is scored; track ids are unique in a scene."""
    if frame.detections.track_ids is None:  # a frame without boxes
        return []
    scored = torch.tensor([name in TRACKING_NAMES for name in DETECTION_NAMES])
    tracked = frame.detections[(frame.detections.track_ids != UNTRACKED) & scored[frame.detections.labels]]
    tracked = tracked[tracked.scores.argsort(descending=True, stable=True)[:MAX_BOXES_PER_SAMPLE]]
    assert tracked.track_ids is not None
    boxes = submission_boxes(tracked, DETECTION_NAMES, frame.global_from_lidar, frame.token)
    return [
        {
            **{key: box[key] for key in ("sample_token", "translation", "size", "rotation", "velocity")},
            "tracking_id": f"{frame.scene}/{track_id}",
            "tracking_name": box["detection_name"],
            "tracking_score": box["detection_score"],
        }
        for box, track_id in zip(boxes, tracked.track_ids.tolist(), strict=True)
    ]


def write_submission(path: Path, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write results, with every sample of the split, as a submission of a LiDAR-only method."""
    meta = {
        "use_camera": False,
        "use_lidar": True,
        "use_radar": False,
        "use_map": False,
        "use_external": False,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"meta": meta, "results": results}))


def _quaternion(rotation: Tensor) -> Tensor:
    """Return the unit quaternion (w, x, y, z) [4] of a rotation [3, 3].

    It is the dominant eigenvector of Bar-Itzhack's K (2000): exact at every angle, and the closest rotation if the
    matrix is slightly off one.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    k = rotation.new_tensor(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    eigenvectors: Tensor = torch.linalg.eigh(k).eigenvectors
    return eigenvectors[:, -1]


def _with_yaw(quaternion: Tensor, yaw: Tensor) -> Tensor:
    """Return quaternions [K, 4] of a turn by ``yaw`` [K] about z, then the rotation ``quaternion`` [4]."""
    w, x, y, z = quaternion
    cos, sin = (yaw / 2).cos(), (yaw / 2).sin()
    return torch.stack((w * cos - z * sin, x * cos + y * sin, y * cos - x * sin, w * sin + z * cos), dim=-1)
