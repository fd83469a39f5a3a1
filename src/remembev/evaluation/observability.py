"""Observability of objects, now and before: the basis of all measures of a memory.

It follows from the annotations alone, so that it is the same for every detector.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from remembev.data import SLACK_SECONDS, Frame
from remembev.data.frame import centred_within

WELL_SEEN = 5
"""Points from which on an object counts as well seen."""
HIDDEN_SECONDS = 4.0
"""Seconds after it was last well seen for which an object without a point counts as hidden."""


class Observability(IntEnum):
    """Level of what the sensor has seen of an object; where objects share a cell the highest level counts."""

    FREE = 0
    """No object."""
    OUTSIDE = 1
    """Centre outside the model's range."""
    UNSEEN = 2
    """No point in this or an earlier frame of the scene."""
    LOST = 3
    """No point now; not well seen within the last ``HIDDEN_SECONDS``."""
    HIDDEN = 4
    """No point now; well seen within the last ``HIDDEN_SECONDS``."""
    FAINT = 5
    """Fewer points than ``WELL_SEEN``."""
    SEEN = 6
    """``WELL_SEEN`` points or more."""


@dataclass(frozen=True)
class FrameObservability:
    """The M objects of one frame, and what the sensor has seen of each."""

    frame: Frame  # annotations, without points
    level: Tensor  # [M] int64, values of Observability
    since_seen: Tensor  # [M] float64, seconds since the object was well seen; 0 if it is now, inf if it never was

    @property
    def to_be_kept(self) -> Tensor:
        """[M] bool, True for objects that a memory of ``HIDDEN_SECONDS`` can keep: in range and well seen since."""
        return (self.level > Observability.OUTSIDE) & within(self.since_seen, HIDDEN_SECONDS)

    def of_classes(self, labels: Collection[int]) -> FrameObservability:
        """Return the objects of some classes only."""
        kept = torch.isin(self.frame.labels, torch.tensor(sorted(labels), dtype=torch.int64))
        return FrameObservability(self.frame.select_objects(kept), self.level[kept], self.since_seen[kept])


def within(seconds: Tensor, window: float) -> Tensor:
    """Return True for times within a window in seconds; key frames 0.5000002 s apart count as half a second apart."""
    return seconds <= window + SLACK_SECONDS


def track_observability(frames: Iterable[Frame], point_cloud_range: Sequence[float]) -> list[FrameObservability]:
    """Return what the sensor has seen of the objects of a scene, frame by frame.

    Args:
        frames: The scene's frames in order of time.
        point_cloud_range: x_min, y_min, z_min, x_max, y_max, z_max; an object outside counts as not seen.
    """
    seen_at: dict[int, float] = {}
    met: set[int] = set()
    observed = []
    for frame in frames:
        levels, since = [], []
        inside = centred_within(frame.boxes, point_cloud_range).tolist()
        for track, points, is_inside in zip(frame.track_ids.tolist(), frame.num_points.tolist(), inside, strict=True):
            if is_inside and points >= WELL_SEEN:
                seen_at[track] = frame.timestamp
            since.append(0.0 if points >= WELL_SEEN else frame.timestamp - seen_at.get(track, -math.inf))
            levels.append(_level(points, since[-1], track in met) if is_inside else Observability.OUTSIDE)
            if is_inside and points > 0:
                met.add(track)
        times = torch.tensor(since, dtype=torch.float64)
        observed.append(FrameObservability(replace(frame, points=frame.points[:0]), torch.tensor(levels).long(), times))
    return observed


def _level(points: int, since_seen: float, met: bool) -> Observability:
    """Return the level of an object in range; ``met`` if it had a point in an earlier frame."""
    if points:
        return Observability.SEEN if points >= WELL_SEEN else Observability.FAINT
    if since_seen <= HIDDEN_SECONDS + SLACK_SECONDS:
        return Observability.HIDDEN
    return Observability.LOST if met else Observability.UNSEEN
