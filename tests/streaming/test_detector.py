"""``StreamingDetector``: its inputs and outputs, errors, and that scenes do not mix."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from tests.streaming.frames import assert_same, cloud, listening_model, pose, run

from remembev import StreamingDetector
from remembev.errors import StreamError
from remembev.geometry import make_pose, transform_boxes
from remembev.models import TemporalPointPillar


@pytest.fixture(scope="module")
def model() -> TemporalPointPillar:
    return listening_model()


@pytest.fixture
def detector(model: TemporalPointPillar) -> StreamingDetector:
    return StreamingDetector(model)


def test_a_step_gives_boxes_scores_labels_and_velocities(detector: StreamingDetector) -> None:
    detections = run(detector, "a", 1)[0]
    assert len(detections) > 0
    assert detections.boxes.shape == (len(detections), 9)
    assert detections.velocities.shape == (len(detections), 2)
    assert detections.labels.max() < len(detector.cfg.CLASS_NAMES)
    grid = detector.cfg.feature_grid
    assert detections.gate is not None
    assert detections.gate.shape == (grid.height, grid.width)


def test_memory_of_earlier_frames_changes_detections(detector: StreamingDetector) -> None:
    remembered = run(detector, "a", 3)[-1]
    detector.reset("a")
    forgotten = detector.step(cloud(2), pose(2), 1.0, "a")
    assert not torch.equal(remembered.scores, forgotten.scores)


def test_interleaved_scenes_give_the_boxes_of_separate_ones_bit_for_bit(detector: StreamingDetector) -> None:
    alone = {"a": run(detector, "a", 3), "b": run(detector, "b", 3, offset=10)}
    detector.reset()
    for i in range(3):
        assert_same(detector.step(cloud(i), pose(i), 0.5 * i, "a"), alone["a"][i])
        assert_same(detector.step(cloud(10 + i), pose(i), 0.5 * i, "b"), alone["b"][i])


def test_a_new_scene_starts_with_an_empty_memory(detector: StreamingDetector) -> None:
    fresh = run(detector, "b", 2)
    detector.reset()
    run(detector, "a", 4, offset=20)
    for detections, expected in zip(run(detector, "b", 2), fresh, strict=True):
        assert_same(detections, expected)


def test_a_reset_scene_starts_with_an_empty_memory(detector: StreamingDetector) -> None:
    first = run(detector, "a", 3)
    detector.reset("a")
    for detections, expected in zip(run(detector, "a", 3), first, strict=True):
        assert_same(detections, expected)


def test_detections_depend_on_relative_poses_only(detector: StreamingDetector) -> None:
    """A thousand kilometres from the origin float32 has steps of 0.1 m; no global coordinate is ever float32."""
    near = run(detector, "a", 3)[-1]
    detector.reset()
    far = make_pose((1e6, -1e6, 0.0), (1.0, 0.0, 0.0, 0.0))
    for i in range(3):
        detections = detector.step(cloud(i), far @ pose(i), 0.5 * i, "a")
    torch.testing.assert_close(detections.boxes, near.boxes, rtol=0, atol=1e-3)


def test_an_empty_frame_gives_no_boxes_and_keeps_the_memory(detector: StreamingDetector) -> None:
    expected = run(detector, "a", 3)[-1]
    detector.reset()
    run(detector, "a", 2)
    far_away = torch.full((5, 4), 500.0)
    assert len(detector.step(torch.zeros(0, 4), pose(2), 0.7, "a")) == 0
    assert len(detector.step(far_away, pose(2), 0.8, "a")) == 0
    assert_same(detector.step(cloud(2), pose(2), 1.0, "a"), expected)


@pytest.mark.parametrize("frame", ["lidar", "global"])
def test_an_empty_first_frame_is_no_error(detector: StreamingDetector, frame: Literal["lidar", "global"]) -> None:
    detections = detector.step(np.zeros((0, 5)), np.eye(4), 0.0, "a", frame=frame)
    assert detections.boxes.shape == (0, 9)
    assert detections.boxes.dtype == (torch.float64 if frame == "global" else torch.float32)


def test_boxes_are_given_in_the_global_frame_on_request(detector: StreamingDetector) -> None:
    local = detector.step(cloud(0), pose(4), 0.0, "a")
    detector.reset()
    placed = detector.step(cloud(0), pose(4), 0.0, "a", frame="global")
    assert placed.boxes.dtype == torch.float64
    torch.testing.assert_close(placed.boxes, transform_boxes(pose(4), local.boxes.double()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.zeros(4, 3)}, r"points: expected \[N, 4\] or \[N, 5\], got \[4, 3\]"),
        ({"points": torch.full((4, 4), math.nan)}, "points: 4 of 4 contain NaN"),
        ({"pose": torch.eye(3)}, r"pose: expected global_from_lidar \[4, 4\]"),
        ({"pose": 2 * torch.eye(4)}, "not a rotation"),
        ({"pose": torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0]))}, "not a rotation"),
        ({"pose": pose(2).T}, "its last row is"),
        ({"timestamp": math.nan}, "finite"),
        ({"timestamp": 0.5}, "not after its last frame's"),
    ],
)
def test_an_invalid_frame_is_an_error_and_the_stream_continues(
    detector: StreamingDetector, change: dict[str, object], message: str
) -> None:
    expected = run(detector, "a", 3)[-1]
    detector.reset()
    run(detector, "a", 2)
    frame = {"points": cloud(2), "pose": pose(2), "timestamp": 1.0, "scene_token": "a"}
    with pytest.raises(StreamError, match=message):
        detector.step(**{**frame, **change})  # type: ignore[arg-type]
    assert_same(detector.step(**frame), expected)  # type: ignore[arg-type]


def test_shuffling_of_points_is_deterministic() -> None:
    """Pillars with more than two points keep other ones."""
    hard = ["MODEL.VFE.NAME=PillarVFE", "DATA_CONFIG.DATA_PROCESSOR.MAX_POINTS_PER_VOXEL=2"]
    crowded = cloud(0) * torch.tensor([0.05, 0.05, 1, 1])
    plain, *same = (
        StreamingDetector(listening_model(*hard, f"DATA_CONFIG.DATA_PROCESSOR.SHUFFLE_POINTS.test={shuffle}"))
        for shuffle in ("false", "true", "true")
    )
    first, second = (detector.step(crowded, pose(0), 0.0, "a") for detector in same)
    assert_same(first, second)
    assert not torch.equal(first.scores, plain.step(crowded, pose(0), 0.0, "a").scores)
