"""Tracking for pictures: each detection joins the nearest track, greedily, with tracks moved by their velocities.

As in CenterPoint (Yin et al., CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from remembev.geometry import transform_boxes
from remembev.models import Detections

_MAX_DISTANCE = {"pedestrian": 1.0, "traffic_cone": 1.0, "barrier": 1.0, "bicycle": 3.0}
"""Metres between a detection and the predicted centre of its track, by class; ``_VEHICLE_MAX_DISTANCE`` for others."""
_VEHICLE_MAX_DISTANCE = 4.0
_MAX_AGE = 2.0
"""Seconds that a track is kept without a detection."""


@dataclass(frozen=True)
class Track:
    """An object detected in one or more frames, in global coordinates."""

    number: int
    label: int
    path: Tensor  # [P, 3] float64, detected centres, the latest last
    velocity: Tensor  # [2] float64, of the latest detection
    seconds: float  # timestamp of the latest detection


class Tracker:
    """Tracks the objects of one scene, frame by frame."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.max_distance = [_MAX_DISTANCE.get(name, _VEHICLE_MAX_DISTANCE) for name in class_names]
        self.tracks: list[Track] = []
        self._last_number = 0

    def step(self, detections: Detections, global_from_lidar: Tensor, seconds: float) -> list[int]:
        """Assign the detections of a frame to tracks.

        In order of descending score, each detection takes the nearest free track of its class, after moving tracks
        by their velocities, if that is within the class's maximum distance; otherwise it starts a new track.

        Args:
            detections: Detections in the LiDAR frame.
            global_from_lidar: [4, 4], pose of the LiDAR frame.
            seconds: Timestamp of the frame.

        Returns:
            The track number of each detection.
        """
        boxes = transform_boxes(global_from_lidar.double(), detections.boxes.double())
        free = {track.number: track for track in self.tracks if seconds - track.seconds <= _MAX_AGE}
        numbers, labels = [0] * len(detections), detections.labels.tolist()
        for i in detections.scores.argsort(descending=True, stable=True).tolist():
            track = self._nearest(list(free.values()), boxes[i, :2], labels[i], seconds) or self._new(labels[i])
            path = torch.cat((track.path, boxes[i : i + 1, :3]))
            updated = replace(track, path=path, velocity=boxes[i, 7:9], seconds=seconds)
            self.tracks = [other for other in self.tracks if other.number != track.number] + [updated]
            free.pop(track.number, None)
            numbers[i] = track.number
        self.tracks = [track for track in self.tracks if seconds - track.seconds <= _MAX_AGE]
        return numbers

    def _nearest(self, tracks: list[Track], centre: Tensor, label: int, seconds: float) -> Track | None:
        tracks = [track for track in tracks if track.label == label]
        if not tracks:
            return None
        predicted = torch.stack([track.path[-1, :2] + track.velocity * (seconds - track.seconds) for track in tracks])
        distance, nearest = (predicted - centre).norm(dim=1).min(dim=0)
        return tracks[int(nearest)] if float(distance) <= self.max_distance[label] else None

    def _new(self, label: int) -> Track:
        self._last_number += 1
        empty_path = torch.zeros(0, 3, dtype=torch.float64)
        return Track(self._last_number, label, empty_path, torch.zeros(2, dtype=torch.float64), 0.0)
