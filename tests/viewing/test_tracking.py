"""Association of detections to tracks: by class, distance and predicted position."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from remembev.geometry import invert_pose, make_pose, transform_boxes
from remembev.models import Detections
from remembev.viewing.tracking import Tracker

CLASSES = ("car", "pedestrian")
IDENTITY = torch.eye(4, dtype=torch.float64)


def detected(*objects: tuple[int, float, float, float], scores: list[float] | None = None) -> Detections:
    """Objects (label, x, y, vx) as detections."""
    boxes = torch.tensor([[x, y, 0.0, 4.0, 2.0, 1.5, 0.0, vx, 0.0] for _, x, y, vx in objects]).view(-1, 9)
    labels = torch.tensor([label for label, *_ in objects], dtype=torch.int64)
    return Detections(boxes, torch.tensor(scores or [0.5] * len(objects)), labels)


def test_a_fast_car_is_tracked_by_its_velocity() -> None:
    tracker = Tracker(CLASSES)
    (first,) = tracker.step(detected((0, 0.0, 0.0, 15.0)), IDENTITY, 0.0)
    nearer, followed = tracker.step(detected((0, 0.0, 1.0, 0.0), (0, 7.5, 0.0, 15.0)), IDENTITY, 0.5)
    assert followed == first != nearer
    assert [track.path[:, 0].tolist() for track in tracker.tracks if track.number == first] == [[0.0, 7.5]]


def test_classes_do_not_mix_and_each_has_its_maximum_distance() -> None:
    tracker = Tracker(CLASSES)
    car, walker = tracker.step(detected((0, 0.0, 0.0, 0.0), (1, 20.0, 0.0, 0.0)), IDENTITY, 0.0)
    assert tracker.step(detected((1, 0.0, 0.0, 0.0), (0, 3.0, 0.0, 0.0), (1, 23.0, 0.0, 0.0)), IDENTITY, 0.5)[1] == car
    assert walker not in tracker.step(detected((1, 23.0, 0.0, 0.0)), IDENTITY, 1.0)


def test_the_highest_score_is_assigned_first_and_a_track_only_once() -> None:
    tracker = Tracker(CLASSES)
    (first,) = tracker.step(detected((0, 0.0, 0.0, 0.0)), IDENTITY, 0.0)
    unsure, sure = tracker.step(detected((0, 0.1, 0.0, 0.0), (0, 1.0, 0.0, 0.0), scores=[0.3, 0.9]), IDENTITY, 0.5)
    assert sure == first != unsure


def test_a_track_survives_a_short_gap_but_not_a_long_one() -> None:
    tracker = Tracker(CLASSES)
    (first,) = tracker.step(detected((0, 0.0, 0.0, 10.0)), IDENTITY, 0.0)
    assert tracker.step(detected(), IDENTITY, 0.5) == []
    assert tracker.step(detected((0, 10.0, 0.0, 10.0)), IDENTITY, 1.0) == [first]
    assert tracker.step(detected((0, 40.0, 0.0, 10.0)), IDENTITY, 4.0) != [first]
    assert len(tracker.tracks) == 1


def test_a_static_object_keeps_its_place_while_the_car_drives_and_turns() -> None:
    tracker = Tracker(CLASSES)
    parked = torch.tensor([[1500.0, 700.0, 1.0, 4.0, 2.0, 1.5, 0.3, 0.0, 0.0]], dtype=torch.float64)
    numbers = set()
    for frame in range(5):
        pose = car_at(frame)
        box = transform_boxes(invert_pose(pose), parked).float()
        detections = Detections(box, torch.tensor([0.5]), torch.tensor([0]))
        numbers.add(tracker.step(detections, pose, 0.5 * frame)[0])
    assert len(numbers) == 1
    path = tracker.tracks[0].path
    assert path.dtype == torch.float64
    torch.testing.assert_close(path, parked[:, :3].expand(5, 3), atol=1e-4, rtol=0)


def car_at(frame: int) -> Tensor:
    yaw = 0.2 * frame
    return make_pose((1480.0 + 6.0 * frame, 690.0, 0.0), (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))).double()
