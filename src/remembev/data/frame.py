"""Key frames and sweeps as tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from remembev.data.points import move_points
from remembev.geometry import transform_boxes


@dataclass(frozen=True)
class Sweep:
    """A LiDAR cloud in its own frame, optionally with earlier ones stacked onto it."""

    points: Tensor  # [N, 5] float32: x, y, z, intensity, age in seconds
    global_from_lidar: Tensor  # [4, 4] float64
    timestamp: float  # seconds


@dataclass(frozen=True)
class Frame:
    """A key frame in its LiDAR frame.

    Unknown velocities (of objects that are annotated once) are 0, as in OpenPCDet.
    """

    points: Tensor  # [N, 5] float32: x, y, z, intensity, age in seconds
    global_from_lidar: Tensor  # [4, 4] float64
    timestamp: float  # seconds
    scene_token: str
    sample_token: str
    boxes: Tensor  # [M, 9] float32
    labels: Tensor  # [M] int64, places in the class names it was loaded with
    track_ids: Tensor  # [M] int64, unique per object of the data set
    num_points: Tensor  # [M] int64, LiDAR points of the key frame inside
    visibility: Tensor  # [M] int64, nuScenes level 1..4

    def moved(self, transform: Tensor) -> Frame:
        """Transform points, boxes and pose by a similarity [4, 4] float64; global positions stay the same."""
        return replace(
            self,
            points=move_points(transform, self.points),
            boxes=transform_boxes(transform, self.boxes.double()).float(),
            global_from_lidar=self.global_from_lidar @ torch.linalg.inv(transform),
        )

    def cropped(self, point_cloud_range: Sequence[float]) -> Frame:
        """Crop to (x_min, y_min, z_min, x_max, y_max, z_max): points inside, and boxes with their centre in x, y."""
        low, high = self.points.new_tensor(point_cloud_range).reshape(2, 3)
        inside = ((self.points[:, :3] >= low) & (self.points[:, :3] < high)).all(dim=1)
        kept = centred_within(self.boxes, point_cloud_range)
        return replace(self.select_objects(kept), points=self.points[inside])

    def select_objects(self, kept: Tensor) -> Frame:
        """Keep the objects where the mask [M] is True."""
        return replace(
            self,
            boxes=self.boxes[kept],
            labels=self.labels[kept],
            track_ids=self.track_ids[kept],
            num_points=self.num_points[kept],
            visibility=self.visibility[kept],
        )


def seconds_unseen(frames: Iterable[Frame], points: int = 1) -> list[Tensor]:
    """Return the seconds [M] of each frame since its objects last had enough LiDAR points.

    Args:
        frames: Frames in order of time.
        points: Points that are enough.

    Returns:
        0 for an object that has them now, infinity for one that never had.
    """
    seen_at: dict[int, float] = {}
    unseen = []
    for frame in frames:
        tracks = frame.track_ids.tolist()
        enough = (frame.num_points >= points).tolist()
        seen_at |= {track: frame.timestamp for track, is_seen in zip(tracks, enough, strict=True) if is_seen}
        unseen.append(torch.tensor([frame.timestamp - seen_at.get(track, -math.inf) for track in tracks]).float())
    return unseen


def centred_within(boxes: Tensor, point_cloud_range: Sequence[float]) -> Tensor:
    """Return True for boxes [..., ≥2] whose centre is within x, y of (x_min, y_min, z_min, x_max, y_max, z_max)."""
    x_min, y_min, _, x_max, y_max, _ = point_cloud_range
    x, y = boxes[..., 0], boxes[..., 1]
    return (x >= x_min) & (x < x_max) & (y >= y_min) & (y < y_max)
