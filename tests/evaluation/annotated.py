"""Frames made by hand, with annotations and detections, that the tests of the measures share."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from remembev.data import Frame
from remembev.evaluation.observability import FrameObservability, Observability
from remembev.models import Detections

Place = tuple[float, float]

RANGE = (-10.0, -10.0, -5.0, 10.0, 10.0, 3.0)


def boxes_at(*places: Place) -> Tensor:
    return torch.tensor([[x, y, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0] for x, y in places]).reshape(-1, 9)


def frame(time: float, points: dict[int, int], places: dict[int, Place] | None = None) -> Frame:
    """A frame with a number of points on each track; tracks stand in a row of cells unless they have other places."""
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


def observability_of(truth: list[tuple[Place, int, float]]) -> FrameObservability:
    """Objects with place, label and seconds since they were well seen (> 0: hidden or lost)."""
    made = frame(0, dict.fromkeys(range(len(truth)), 0), {n: place for n, (place, _, _) in enumerate(truth)})
    times = torch.tensor([time for _, _, time in truth], dtype=torch.float64)
    levels = [
        Observability.SEEN if t == 0 else Observability.HIDDEN if t < 4.1 else Observability.LOST
        for t in times.tolist()
    ]
    labels = torch.tensor([label for _, label, _ in truth], dtype=torch.int64)
    return FrameObservability(replace(made, labels=labels), torch.tensor(levels, dtype=torch.int64), times)


def detections_of(boxes: list[tuple[Place, int, float]]) -> Detections:
    """Boxes with their place, label and score."""
    return Detections(
        boxes_at(*(place for place, _, _ in boxes)),
        torch.tensor([score for _, _, score in boxes]),
        torch.tensor([label for _, label, _ in boxes], dtype=torch.int64),
    )
