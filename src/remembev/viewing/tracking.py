"""Detections joined to tracks, for pictures: greedily, the nearest centre that velocities lead to.

The way CenterPoint tracks (Yin et al., CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from remembev.geometry import transform_boxes
from remembev.models import Detections

_REACH = {"pedestrian": 1.0, "traffic_cone": 1.0, "barrier": 1.0, "bicycle": 3.0}
"""Metres that a centre may be from where its track's velocity leads, by class; ``_VEHICLE_REACH`` for the others."""
_VEHICLE_REACH = 4.0
_PATIENCE = 2.0
"""Seconds that a track is kept without a detection; meanwhile it drives on."""


@dataclass(frozen=True)
class Track:
    """An object that was detected in several frames, all in global coordinates."""

    number: int
    label: int
    path: Tensor  # [P, 3] float64, its detected centres, the latest last
    velocity: Tensor  # [2] float64, of the latest
    seconds: float  # time stamp of the latest


class Tracker:
    """Tracks of one scene, a frame at a time."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.reach = [_REACH.get(name, _VEHICLE_REACH) for name in class_names]
        self.tracks: list[Track] = []
        self._started = 0

    def step(self, detections: Detections, global_from_lidar: Tensor, seconds: float) -> list[int]:
        """The number of the track that each detection, of LiDAR frame ``global_from_lidar`` [4, 4], belongs to.

        The surest detection chooses first: of the tracks of its class that no other has chosen, the one that its
        velocity leads closest to, if that is within reach; where there is none it starts a track.
        """
        boxes = transform_boxes(global_from_lidar.double(), detections.boxes.double())
        free = {track.number: track for track in self.tracks if seconds - track.seconds <= _PATIENCE}
        numbers, labels = [0] * len(detections), detections.labels.tolist()
        for i in detections.scores.argsort(descending=True, stable=True).tolist():
            track = self._nearest(list(free.values()), boxes[i, :2], labels[i], seconds) or self._new(labels[i])
            found = replace(
                track, path=torch.cat((track.path, boxes[i : i + 1, :3])), velocity=boxes[i, 7:9], seconds=seconds
            )
            self.tracks = [one for one in self.tracks if one.number != found.number] + [found]
            free.pop(found.number, None)
            numbers[i] = found.number
        self.tracks = [track for track in self.tracks if seconds - track.seconds <= _PATIENCE]
        return numbers

    def _nearest(self, tracks: list[Track], centre: Tensor, label: int, seconds: float) -> Track | None:
        tracks = [track for track in tracks if track.label == label]
        if not tracks:
            return None
        expected = torch.stack([one.path[-1, :2] + one.velocity * (seconds - one.seconds) for one in tracks])
        distance, nearest = (expected - centre).norm(dim=1).min(dim=0)
        return tracks[int(nearest)] if float(distance) <= self.reach[label] else None

    def _new(self, label: int) -> Track:
        self._started += 1
        nowhere = torch.zeros(0, 3, dtype=torch.float64)
        return Track(self._started, label, nowhere, torch.zeros(2, dtype=torch.float64), 0.0)
