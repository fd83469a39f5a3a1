"""One key frame as tensors: its points, boxes and pose, and moving all of them together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from remembev.data.points import moved_points
from remembev.geometry import transform_boxes


@dataclass(frozen=True)
class Sweep:
    """One cloud as a frame of its own, in its own LiDAR frame; with or without earlier ones stacked upon it."""

    points: Tensor  # [N, 5] float32: x, y, z, intensity, age in seconds
    global_from_lidar: Tensor  # [4, 4] float64
    timestamp: float  # seconds


@dataclass(frozen=True)
class Frame:
    """A key frame in its LiDAR frame.

    Velocities of boxes are 0 where nuScenes cannot tell them (an object annotated once), as in OpenPCDet.
    """

    points: Tensor  # [N, 5] float32: x, y, z, intensity, age in seconds
    global_from_lidar: Tensor  # [4, 4] float64
    timestamp: float  # seconds
    scene_token: str
    sample_token: str
    boxes: Tensor  # [M, 9] float32
    labels: Tensor  # [M] int64, into the class names it was loaded with
    track_ids: Tensor  # [M] int64, one number an object throughout the data set
    num_points: Tensor  # [M] int64, LiDAR points of the key frame inside
    visibility: Tensor  # [M] int64, nuScenes level 1..4

    def moved(self, transform: Tensor) -> Frame:
        """The same frame in other coordinates: ``transform`` [4, 4] float64, a similarity, takes old ones into new.

        The global pose goes along, so that every point and box keeps its place in the world.
        """
        return replace(
            self,
            points=moved_points(transform, self.points),
            boxes=transform_boxes(transform, self.boxes.double()).float(),
            global_from_lidar=self.global_from_lidar @ torch.linalg.inv(transform),
        )

    def cropped(self, point_cloud_range: Sequence[float]) -> Frame:
        """Only the points inside (x_min, y_min, z_min, x_max, y_max, z_max), and the boxes centred in its x, y."""
        low, high = self.points.new_tensor(point_cloud_range).reshape(2, 3)
        inside = ((self.points[:, :3] >= low) & (self.points[:, :3] < high)).all(dim=1)
        kept = centred_within(self.boxes, point_cloud_range)
        return replace(self.of_objects(kept), points=self.points[inside])

    def of_objects(self, kept: Tensor) -> Frame:
        """The same frame with those of its objects that a mask [M] keeps."""
        return replace(
            self,
            boxes=self.boxes[kept],
            labels=self.labels[kept],
            track_ids=self.track_ids[kept],
            num_points=self.num_points[kept],
            visibility=self.visibility[kept],
        )


def seconds_unseen(frames: Iterable[Frame], points: int = 1) -> list[Tensor]:
    """Seconds [M] since each object of a frame last had that many LiDAR points, in it or a frame before.

    Frames come in order of time; 0 where it has them now, infinity where it had them in none of these frames.
    """
    seen_at: dict[int, float] = {}
    unseen = []
    for frame in frames:
        tracks = frame.track_ids.tolist()
        seen = (frame.num_points >= points).tolist()
        seen_at |= {track: frame.timestamp for track, is_seen in zip(tracks, seen, strict=True) if is_seen}
        unseen.append(torch.tensor([frame.timestamp - seen_at.get(track, -math.inf) for track in tracks]).float())
    return unseen


def centred_within(boxes: Tensor, point_cloud_range: Sequence[float]) -> Tensor:
    """Which boxes [..., ≥2] have their centre in (x_min, y_min, z_min, x_max, y_max, z_max), seen from above."""
    x_min, y_min, _, x_max, y_max, _ = point_cloud_range
    x, y = boxes[..., 0], boxes[..., 1]
    return (x >= x_min) & (x < x_max) & (y >= y_min) & (y < y_max)
