"""Detections, poses and points that the tests of tracking share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from remembev.geometry import invert_pose, make_pose, transform_boxes
from remembev.models import Detections

CLASSES = ("car", "pedestrian", "bicycle")
CAR, PEDESTRIAN, BICYCLE = range(3)
IDENTITY = torch.eye(4, dtype=torch.float64)


def detected(
    *objects: tuple[int, float, float], scores: list[float] | None = None, observed: list[bool] | None = None
) -> Detections:
    """Objects (label, x, y) as detections of equal size."""
    boxes = torch.tensor([[x, y, 0.0, 4.0, 2.0, 1.5, 0.0, 0.0, 0.0] for _, x, y in objects]).view(-1, 9)
    labels = torch.tensor([label for label, *_ in objects], dtype=torch.int64)
    seen = None if observed is None else torch.tensor(observed)
    return Detections(boxes, torch.tensor(scores or [0.5] * len(objects)), labels, seen)


def pose_at(x: float, y: float, yaw: float, pitch: float = 0.0) -> Tensor:
    """Pose of a LiDAR, turned by yaw, then pitched."""
    turn = make_pose((x, y, 0.0), (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)))
    return turn @ make_pose((0.0, 0.0, 0.0), (math.cos(pitch / 2), 0.0, math.sin(pitch / 2), 0.0))


def seen_from(pose: Tensor, boxes: Tensor, scores: list[float], labels: list[int]) -> Detections:
    """Global boxes [K, 9] float64 as a frame's detections."""
    return Detections(
        transform_boxes(invert_pose(pose), boxes).float(), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64)
    )
