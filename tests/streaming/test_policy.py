"""Which frame follows which: late ones are refused, missing ones do no harm, a break starts the scene anew."""

from __future__ import annotations

import logging
from typing import Any

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

from remembev import StreamingDetector
from remembev.config import StreamingConfig
from remembev.errors import StreamError

NOTHING = torch.zeros(0, 4)
GAP = {"pose": pose(2), "timestamp": 3.501}
JUMP = {"pose": pose(2, forward=24.0), "timestamp": 1.0}
TURN = {"pose": pose(2, turn=1.55), "timestamp": 1.0}
BREAKS = [
    pytest.param(GAP, "3.00 s after the latest frame with points (MAX_GAP: 3 s)", id="gap"),
    pytest.param(JUMP, "27.00 m from the frame 0.500 s before (MAX_SPEED: 50 m/s)", id="jump"),
    pytest.param(TURN, "turned 1.60 rad from the frame 0.500 s before (MAX_TURN_RATE: 3 rad/s)", id="turn"),
]


@pytest.fixture(scope="module")
def model() -> Any:
    return listening_model()


@pytest.fixture
def detector(model: Any) -> StreamingDetector:
    return StreamingDetector(model)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("timestamp", [0.5, 0.499, -7.0], ids=["doubled", "out of order", "late"])
def test_a_frame_that_is_not_later_is_refused_with_every_memory_and_the_stream_continues(
    memory: str, timestamp: float
) -> None:
    detector = StreamingDetector(listening_model(*MEMORIES[memory]))
    expected = run(detector, "a", 3)[-1]
    detector.reset()
    run(detector, "a", 2)
    before = state_of(detector)
    with pytest.raises(StreamError, match=r"of scene a is not after its last frame's, 0\.500000 s"):
        detector.step(cloud(1), pose(1), timestamp, "a")
    assert_same_state(state_of(detector), before)
    assert_same(detector.step(cloud(2), pose(2), 1.0, "a"), expected)


def test_a_missing_frame_is_no_break_and_time_and_motion_count_between_frames(
    detector: StreamingDetector, caplog: pytest.LogCaptureFixture
) -> None:
    detector.step(cloud(0), torch.eye(4), 0.0, "a")
    cells = detector.state("a").memory.tokens
    driven = torch.eye(4)
    driven[0, 3] = 12.0
    detector.step(cloud(1), driven, 1.5, "a")
    tokens = detector.state("a").memory.tokens
    first = tokens.age[0] == 1.5
    assert int(first.sum()) == int(cells.count())
    moved = cells.position[0, :, cells.valid[0]] - tokens.position[0, :, first]
    torch.testing.assert_close(moved, moved.new_tensor([[12.0], [0.0], [0.0]]).expand_as(moved))
    assert not caplog.records


@pytest.mark.parametrize(("frame", "message"), BREAKS)
def test_a_break_resets_the_scene_with_a_warning_that_says_why(
    detector: StreamingDetector, caplog: pytest.LogCaptureFixture, frame: dict[str, Any], message: str
) -> None:
    fresh = detector.step(cloud(2), **frame, scene_token="a")
    detector.reset()
    run(detector, "other", 2)
    run(detector, "a", 2)
    other = state_of(detector)["other"]
    assert_same(detector.step(cloud(2), **frame, scene_token="a"), fresh)
    assert int(detector.state("a").frames) == 1
    assert_same_state({"other": state_of(detector)["other"]}, {"other": other})
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"scene a was reset: {message}"


@pytest.mark.parametrize(("frame", "message"), BREAKS)
def test_with_on_break_error_the_frame_is_refused_and_the_stream_continues(
    model: Any, frame: dict[str, Any], message: str
) -> None:
    detector = StreamingDetector(model, streaming=StreamingConfig(ON_BREAK="error"))
    expected = run(detector, "a", 3)[-1]
    detector.reset()
    run(detector, "a", 2)
    before = state_of(detector)
    with pytest.raises(StreamError) as raised:
        detector.step(cloud(2), **frame, scene_token="a")
    assert str(raised.value) == f"scene a breaks off: {message}; call reset(scene_token) to restart it"
    assert_same_state(state_of(detector), before)
    assert_same(detector.step(cloud(2), pose(2), 1.0, "a"), expected)


@pytest.mark.parametrize(
    "frame",
    [
        {"pose": pose(1), "timestamp": 3.5},
        {"pose": pose(1, forward=25.4), "timestamp": 1.0},
        {"pose": pose(1, turn=1.54), "timestamp": 1.0},
        {"pose": pose(1, forward=0.4, turn=0.04), "timestamp": 0.501},
    ],
    ids=["gap at the limit", "speed at the limit", "turn at the limit", "noise of localisation in a millisecond"],
)
def test_a_motion_within_the_limits_is_no_break(
    detector: StreamingDetector, caplog: pytest.LogCaptureFixture, frame: dict[str, Any]
) -> None:
    run(detector, "a", 2)
    detector.step(cloud(2), **frame, scene_token="a")
    assert int(detector.state("a").frames) == 3
    assert not caplog.records


def test_limits_come_from_the_configuration_or_from_the_detectors_argument(
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow = listening_model("STREAMING.MAX_SPEED=2 m/s")
    for streaming, frames in ((None, 1), (StreamingConfig(), 2)):
        detector = StreamingDetector(slow, streaming=streaming)
        run(detector, "a", 2)
        assert int(detector.state("a").frames) == frames
    [record] = caplog.records
    assert "MAX_SPEED: 2 m/s" in record.getMessage()


def test_a_frame_without_points_moves_the_latest_time(detector: StreamingDetector) -> None:
    detector.step(NOTHING, pose(0), 0.0, "a")
    with pytest.raises(StreamError, match="not after"):
        detector.step(cloud(0), pose(0), 0.0, "a")
    run(detector, "a", 1, first=1)
    detector.step(NOTHING, pose(2), 1.0, "a")
    with pytest.raises(StreamError, match="not after"):
        detector.step(cloud(2), pose(2), 0.9, "a")


def test_a_jump_is_found_at_a_frame_without_points(
    detector: StreamingDetector, caplog: pytest.LogCaptureFixture
) -> None:
    """From the frame before, the car has jumped; from the latest frame with points, it could have driven there."""
    run(detector, "a", 2)
    detector.step(NOTHING, pose(3), 1.5, "a")
    detector.step(NOTHING, pose(4, forward=40.0), 2.0, "a")
    assert "43.00 m" in caplog.text
    assert int(detector.state("a").frames) == 0


def test_a_memory_is_reset_once_after_too_long_without_points(
    detector: StreamingDetector, caplog: pytest.LogCaptureFixture
) -> None:
    run(detector, "a", 2)
    for number in range(2, 12):
        detector.step(NOTHING, pose(number), 0.5 * number, "a")
    [record] = caplog.records
    assert "3.50 s after the latest frame with points" in record.getMessage()
    fresh = StreamingDetector(detector.engine).step(cloud(0), pose(12), 6.0, "a")
    assert_same(detector.step(cloud(0), pose(12), 6.0, "a"), fresh)


def test_a_scene_of_empty_frames_never_breaks(detector: StreamingDetector, caplog: pytest.LogCaptureFixture) -> None:
    detector.step(NOTHING, pose(0), 0.0, "a")
    fresh = StreamingDetector(detector.engine).step(cloud(0), pose(9), 100.0, "a")
    assert_same(detector.step(cloud(0), pose(9), 100.0, "a"), fresh)
    assert not caplog.records
