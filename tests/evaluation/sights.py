"""Frames with so many points on each object, that the tests of the measures share."""

from __future__ import annotations

import torch
from torch import Tensor

from remembev.data import Frame

RANGE = (-10.0, -10.0, -5.0, 10.0, 10.0, 3.0)


def boxes_at(*places: tuple[float, float]) -> Tensor:
    return torch.tensor([[x, y, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0] for x, y in places]).reshape(-1, 9)


def frame(time: float, points: dict[int, int], places: dict[int, tuple[float, float]] | None = None) -> Frame:
    """A frame with so many points on each track; tracks stand in a row of cells unless they have other places."""
    where = {track: (-9.0 + 2.0 * track, 1.0) for track in points} | (places or {})
    return Frame(
        points=torch.zeros(0, 5),
        global_from_lidar=torch.eye(4, dtype=torch.float64),
        timestamp=1.6e9 + time,
        scene_token="scene",
        sample_token=f"sample-{time}",
        boxes=boxes_at(*(where[track] for track in points)),
        labels=torch.zeros(len(points), dtype=torch.int64),
        track_ids=torch.tensor(list(points), dtype=torch.int64),
        num_points=torch.tensor(list(points.values()), dtype=torch.int64),
        visibility=torch.ones(len(points), dtype=torch.int64),
    )
