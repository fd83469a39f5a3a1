"""A failed step changes nothing; over the limit the least recently used scene is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from unittest.mock import Mock

import pytest
import torch
from tests.streaming.frames import (
    MEMORIES,
    assert_same,
    assert_same_state,
    cloud,
    listening_model,
    pose,
    run,
    state_of,
)

import remembev.streaming
from remembev import Detections, StreamingDetector
from remembev.errors import StreamError
from remembev.models import TemporalPointPillar
from remembev.streaming import ModelEngine

STAGES = [
    "vfe.to_bev",
    "backbone_2d.forward",
    "memory.xmem.features.forward",
    "memory.xmem.decode.forward",
    "memory.xmem.encode_value.forward",
    "memory._read_batch",
    "dense_head.forward",
    "dense_head.predict",
    "memory.remember",
]


OTHERS = ["detector.relative_pose", "engine.gate", "detector.transform_boxes"]


@pytest.fixture(scope="module")
def model() -> TemporalPointPillar:
    return listening_model(*MEMORIES["xmem"], "MODEL.MEMORY.MAX_SCENES=2")


@pytest.fixture(scope="module")
def undisturbed(model: TemporalPointPillar) -> list[Detections]:
    return run(StreamingDetector(model), "a", 7)


def running(detector: StreamingDetector) -> TemporalPointPillar:
    """The model that a detector runs: a copy of the one that it was given."""
    assert isinstance(detector.engine, ModelEngine)
    return detector.engine.model


@contextmanager
def failing(model: TemporalPointPillar, stage: str) -> Iterator[None]:
    """Let a stage of the step run out of memory."""
    owner, _, name = stage.rpartition(".")
    with pytest.MonkeyPatch.context() as patch:
        target = attrgetter(owner)(remembev.streaming if stage in OTHERS else model)
        patch.setattr(target, name, Mock(side_effect=torch.OutOfMemoryError("no memory left")))
        yield


@pytest.mark.parametrize("scene", ["a", "new"])
def test_a_step_that_fails_in_any_stage_changes_nothing(
    model: TemporalPointPillar, undisturbed: list[Detections], scene: str
) -> None:
    detector = StreamingDetector(model)
    run(detector, "b", 1, offset=50)
    run(detector, "a", 5)
    before = state_of(detector)
    for stage in [*STAGES, *OTHERS]:
        with failing(running(detector), stage), pytest.raises(torch.OutOfMemoryError):
            detector.step(cloud(5), pose(5), 2.5, scene, frame="global")
        assert_same_state(state_of(detector), before)
    for detections, expected in zip(run(detector, "a", 2, first=5), undisturbed[5:], strict=True):
        assert_same(detections, expected)


def test_a_break_whose_step_fails_changes_nothing(
    model: TemporalPointPillar, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    detector = StreamingDetector(model)
    run(detector, "a", 3)
    before = state_of(detector)
    monkeypatch.setattr(running(detector).dense_head, "forward", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        detector.step(cloud(5), pose(400), 1.5, "a")
    assert_same_state(state_of(detector), before)
    assert not caplog.records


def test_overwriting_the_pose_after_a_step_changes_nothing(
    model: TemporalPointPillar, undisturbed: list[Detections]
) -> None:
    detector, buffer = StreamingDetector(model), pose(0)
    for number in range(3):
        buffer.copy_(pose(number))
        detections = detector.step(cloud(number), buffer, 0.5 * number, "a")
        buffer.zero_()
    assert_same(detections, undisturbed[2])


@pytest.mark.parametrize("memory", MEMORIES)
def test_over_the_limit_the_least_recently_used_scene_is_forgotten(memory: str) -> None:
    detector = StreamingDetector(listening_model(*MEMORIES[memory], "MODEL.MEMORY.MAX_SCENES=2"))
    fresh = run(detector, "b", 1, offset=5)[0]
    detector.reset()
    run(detector, "a", 1)
    run(detector, "b", 1, offset=5)
    run(detector, "a", 1, first=1)
    run(detector, "c", 1)
    assert detector.scenes == ["a", "c"]
    with pytest.raises(StreamError, match="of scene a is not after"):
        run(detector, "a", 1, first=1)
    assert_same(run(detector, "b", 1, offset=5)[0], fresh)
    assert detector.scenes == ["c", "b"]


def test_detectors_that_share_a_model_share_no_memory(
    model: TemporalPointPillar, undisturbed: list[Detections]
) -> None:
    first, second = StreamingDetector(model), StreamingDetector(model)
    run(first, "a", 2)
    run(second, "a", 4, offset=30)
    assert_same(run(first, "a", 1, first=2)[0], undisturbed[2])
