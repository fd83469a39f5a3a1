"""Observed and remembered boxes: which points count as inside, and records of both."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.streaming.frames import cloud, listening_model, pose
from torch import Tensor

from remembev import Detections, StreamingDetector
from remembev.data import Frame
from remembev.geometry import points_in_boxes
from remembev.streaming import frame_record, read_record
from remembev.streaming.observed import GROUND, MARGIN, boxes_with_points

BOX = torch.tensor([[10.0, 5.0, 1.0, 4.0, 2.0, 2.0, 0.5]])


def point(along: float, across: float, z: float, age: float = 0.0) -> Tensor:
    """A point [1, 5] in the coordinates of BOX's heading, from its centre; z from the world's zero."""
    cos, sin = BOX[0, 6].cos(), BOX[0, 6].sin()
    x, y = 10.0 + along * cos - across * sin, 5.0 + along * sin + across * cos
    return torch.tensor([[x, y, z, 7.0, age]])


@pytest.mark.parametrize(
    ("points", "observed"),
    [
        (point(0, 0, 1.0), True),
        (point(2 + 0.9 * MARGIN, 0, 1.0), True),
        (point(2 + 1.1 * MARGIN, 0, 1.0), False),
        (point(0, 1 + 0.9 * MARGIN, 1.0), True),
        (point(0, 1 + 1.1 * MARGIN, 1.0), False),
        (point(0, 0, 0.9 * GROUND), False),
        (point(0, 0, 1.1 * GROUND), True),
        (point(0, 0, 2.01), False),
        (point(0, 0, 1.0, age=0.05), False),
    ],
)
def test_a_box_is_observed_by_a_current_point_inside_its_margin_above_the_ground(
    points: Tensor, observed: bool
) -> None:
    assert boxes_with_points(BOX, points).tolist() == [observed]


@given(st.integers(0, 10_000), st.integers(0, 200), st.integers(0, 12))
def test_boxes_are_observed_as_a_test_of_every_point_says(seed: int, num_points: int, count: int) -> None:
    random = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 7, generator=random) * torch.tensor([16.0, 16, 2, 5, 3, 3, 6]) - torch.tensor(
        [8.0, 8, 1, 0, 0, 0, 3]
    )
    points = torch.rand(num_points, 5, generator=random) * torch.tensor([16.0, 16, 4, 1, 1]) - torch.tensor(
        [8.0, 8, 2, 0, 0]
    )
    points[:, 4] = (points[:, 4] > 0.6) * 0.05
    wide = boxes + torch.tensor([0, 0, GROUND / 2, 2 * MARGIN, 2 * MARGIN, -GROUND, 0])
    expected = points_in_boxes(points[points[:, 4] == 0], wide).any(dim=1)
    assert torch.equal(boxes_with_points(boxes, points), expected)


def test_a_huge_box_needs_no_more_memory_than_the_points() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 1e8, 1e8, 2, 0], [1e9, 0, 0, 1, 1, 1, 0]])
    assert boxes_with_points(boxes, cloud_with_age(0)).tolist() == [True, False]


def cloud_with_age(seed: int) -> Tensor:
    return torch.nn.functional.pad(cloud(seed), (0, 1))


def test_a_stream_marks_the_boxes_with_a_point_of_the_current_sweep() -> None:
    detector = StreamingDetector(listening_model())
    for number in range(2):
        aged = torch.cat((cloud_with_age(number), cloud_with_age(9) + torch.tensor([0, 0, 0, 0, 0.05])))
        detections = detector.step(aged, pose(number), 0.5 * number, "a")
        assert len(detections) > 0
        assert torch.equal(detections.observed, boxes_with_points(detections.boxes, cloud_with_age(number)))
    detector.reset()
    placed = detector.step(aged, pose(1), 0.5, "a", frame="global")
    detector.reset()
    assert torch.equal(placed.observed, detector.step(aged, pose(1), 0.5, "a").observed)


def test_observed_stays_with_its_box_when_boxes_are_indexed_moved_and_written() -> None:
    boxes, labels = torch.rand(3, 9), torch.tensor([0, 1, 1])
    detections = Detections(boxes, torch.tensor([0.9, 0.5, 0.25]), labels, torch.tensor([True, False, True]))
    assert detections[torch.tensor([2, 1])].observed.tolist() == [True, False]
    assert detections.to("cpu").observed.tolist() == [True, False, True]
    frame = Frame(torch.zeros(0, 5), torch.eye(4).double(), 3.5, "scene", "sample", boxes, labels, *[labels] * 3)
    record = json.loads(json.dumps(frame_record(frame, detections, ["car", "bus"])))
    assert [box["observed"] for box in record["boxes"]] == [True, False, True]
    again = read_record(record, ["car", "bus"])
    for name in ("boxes", "scores", "labels", "observed"):
        assert torch.equal(getattr(again, name), getattr(detections, name))
    digits = [len(repr(abs(number)).replace(".", "")) for box in record["boxes"] for number in box["box"]]
    assert max(digits) <= 13  # nine of the number, zeros before them or an exponent
