import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remembev.config import load_config
from remembev.evaluation.submission import attribute_name, submission_boxes, write_submission
from remembev.geometry import make_pose
from remembev.models import Detections

pyquaternion = pytest.importorskip("pyquaternion")

CLASSES = load_config("tiny").CLASS_NAMES
ANGLES = st.floats(-math.pi, math.pi)


def detections(boxes: list[list[float]], labels: list[int] | None = None) -> Detections:
    count = len(boxes)
    return Detections(torch.tensor(boxes), torch.linspace(0.9, 0.1, count), torch.tensor(labels or [0] * count))


@settings(max_examples=60, deadline=None)
@given(axis=st.tuples(*[st.floats(-1, 1)] * 3), angle=ANGLES, yaw=ANGLES)
def test_rotation_is_the_pose_after_the_yaw_for_every_tilt(
    axis: tuple[float, float, float], angle: float, yaw: float
) -> None:
    axis = axis if math.hypot(*axis) > 1e-3 else (0.0, 0.0, 1.0)
    turned = pyquaternion.Quaternion(axis=axis, radians=angle)
    pose = make_pose((1.0, 2.0, 3.0), turned.elements.tolist())
    (box,) = submission_boxes(detections([[0, 0, 0, 4, 2, 1, yaw, 0, 0]]), CLASSES, pose, "s")
    written = pyquaternion.Quaternion(box["rotation"])
    expected = turned * pyquaternion.Quaternion(axis=(0, 0, 1), radians=float(torch.tensor(yaw)))
    assert pyquaternion.Quaternion.absolute_distance(written, expected) < 1e-6


def test_boxes_far_from_the_maps_origin_are_placed_to_a_tenth_of_a_millimetre() -> None:
    pose = make_pose((123_456.789, -98_765.4321, 12.5), (math.cos(0.4), 0.0, 0.0, math.sin(0.4)))
    (box,) = submission_boxes(detections([[0.125, 0.25, 0.5, 4, 2, 1, 0, 0, 0]]), CLASSES, pose, "s")
    expected = pose @ torch.tensor([0.125, 0.25, 0.5, 1.0], dtype=torch.float64)
    assert box["translation"] == pytest.approx(expected[:3].tolist(), abs=1e-4)


def test_sizes_are_in_the_devkits_order_and_velocities_turn_with_the_pose() -> None:
    quarter_turn = make_pose((0, 0, 0), (math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4)))
    (box,) = submission_boxes(detections([[0, 0, 0, 4, 2, 1, 0, 3, 0]]), CLASSES, quarter_turn, "token")
    assert box["size"] == [2, 4, 1]
    assert box["velocity"] == pytest.approx([0, 3], abs=1e-6)
    assert box["sample_token"] == "token"
    assert box["detection_name"] == "car"


def test_the_500_best_boxes_are_submitted_best_first() -> None:
    scores = torch.rand(700, generator=torch.Generator().manual_seed(0))
    crowd = Detections(torch.zeros(700, 9), scores, torch.zeros(700, dtype=torch.int64))
    boxes = submission_boxes(crowd, CLASSES, torch.eye(4, dtype=torch.float64), "s")
    assert [box["detection_score"] for box in boxes] == sorted(scores.tolist(), reverse=True)[:500]


def test_a_frame_without_detections_has_an_empty_list() -> None:
    nothing = Detections(torch.zeros(0, 9), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert submission_boxes(nothing, CLASSES, torch.eye(4, dtype=torch.float64), "s") == []


@pytest.mark.parametrize(
    ("name", "slow", "fast"),
    [
        ("car", "vehicle.parked", "vehicle.moving"),
        ("bus", "vehicle.stopped", "vehicle.moving"),
        ("bicycle", "cycle.without_rider", "cycle.with_rider"),
        ("motorcycle", "cycle.without_rider", "cycle.with_rider"),
        ("pedestrian", "pedestrian.standing", "pedestrian.moving"),
        ("barrier", "", ""),
        ("traffic_cone", "", ""),
    ],
)
def test_attributes_change_above_a_fifth_of_a_metre_per_second(name: str, slow: str, fast: str) -> None:
    assert attribute_name(name, 0.2) == slow
    assert attribute_name(name, 0.21) == fast


@pytest.mark.parametrize("name", CLASSES)
def test_every_attribute_is_one_that_the_devkit_allows_for_its_class(name: str) -> None:
    utils = pytest.importorskip("nuscenes.eval.detection.utils")
    allowed = utils.detection_name_to_rel_attributes(name) or [""]
    assert {attribute_name(name, 0.0), attribute_name(name, 5.0)} <= set(allowed)


def test_a_failed_write_leaves_the_old_submission_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    write_submission(path, {"s": []})
    with pytest.raises(TypeError):
        write_submission(path, {"s": [{"box": object()}]})
    assert json.loads(path.read_text())["results"] == {"s": []}
    assert json.loads(path.read_text())["meta"]["use_lidar"] is True
    assert list(tmp_path.iterdir()) == [path]
