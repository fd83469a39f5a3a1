"""What the sensor has seen of every object, now and before: the ground that all measures of memory stand on.

It follows from the annotations alone, so that it is the same for every detector, on simulated and on real data.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from remembev.data import SLACK_SECONDS, Frame
from remembev.data.census import WELL_SEEN
from remembev.data.frame import centred_within

HIDDEN_SECONDS = 4.0
"""An object without a point counts as hidden for so long after a frame in which it was well seen."""


class Observability(IntEnum):
    """What the sensor has seen of an object; of several objects in a cell the highest counts."""

    FREE = 0
    """No object."""
    OUTSIDE = 1
    """Centred outside the model's range."""
    UNSEEN = 2
    """No point in this or an earlier frame of the scene."""
    LOST = 3
    """No point now; seen too little or too long ago to be hidden."""
    HIDDEN = 4
    """No point now; well seen within the last ``HIDDEN_SECONDS``."""
    FAINT = 5
    """Fewer points than ``WELL_SEEN``."""
    SEEN = 6
    """Points enough."""


@dataclass(frozen=True)
class FrameObservability:
    """The objects of one frame, M of them, and what the sensor has seen of each."""

    frame: Frame
    """Its annotations."""
    sight: Tensor  # [M] int64, values of Observability
    since_seen: Tensor  # [M] float64, seconds since it was well seen, 0 if it is now, infinite if it never was

    @property
    def to_be_kept(self) -> Tensor:
        """Objects [M] that a memory of ``HIDDEN_SECONDS`` can hold: in range, and well seen now or so long ago."""
        return (self.sight > Observability.OUTSIDE) & within(self.since_seen, HIDDEN_SECONDS)

    def of_classes(self, labels: Collection[int]) -> FrameObservability:
        """The same with the objects of some classes alone."""
        kept = torch.isin(self.frame.labels, torch.tensor(sorted(labels), dtype=torch.int64))
        return FrameObservability(self.frame.of_objects(kept), self.sight[kept], self.since_seen[kept])


def within(seconds: Tensor, window: float) -> Tensor:
    """Which times lie in a window of so many seconds: key frames 0.5000002 s apart are half a second apart."""
    return seconds <= window + SLACK_SECONDS


def track_observability(frames: Iterable[Frame], point_cloud_range: Sequence[float]) -> list[FrameObservability]:
    """What the sensor has seen of the objects of a scene's frames, which come in order of time.

    Nothing outside the model's range (x_min, y_min, z_min, x_max, y_max, z_max) is something that it could have seen.
    """
    seen_at: dict[int, float] = {}
    met: set[int] = set()
    sighted = []
    for frame in frames:
        sight, since = [], []
        inside = centred_within(frame.boxes, point_cloud_range).tolist()
        for track, points, is_inside in zip(frame.track_ids.tolist(), frame.num_points.tolist(), inside, strict=True):
            if is_inside and points >= WELL_SEEN:
                seen_at[track] = frame.timestamp
            since.append(0.0 if points >= WELL_SEEN else frame.timestamp - seen_at.get(track, -math.inf))
            sight.append(_sight(points, since[-1], track in met) if is_inside else Observability.OUTSIDE)
            if is_inside and points > 0:
                met.add(track)
        times = torch.tensor(since, dtype=torch.float64)
        sighted.append(FrameObservability(replace(frame, points=frame.points[:0]), torch.tensor(sight).long(), times))
    return sighted


def _sight(points: int, since_seen: float, met: bool) -> Observability:
    """The sight of an object in range that was well seen so many seconds ago, and has or hasn't had a point before."""
    if points:
        return Observability.SEEN if points >= WELL_SEEN else Observability.FAINT
    if since_seen <= HIDDEN_SECONDS + SLACK_SECONDS:
        return Observability.HIDDEN
    return Observability.LOST if met else Observability.UNSEEN
