"""A tracked stream: ids, coasting, states that carry the tracks, and records of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.streaming.frames import assert_same, assert_same_state, cloud, listening_model, pose, run, state_of

from remembev import StreamingDetector, load_config
from remembev.data import Frame
from remembev.errors import StreamError
from remembev.geometry import transform_boxes
from remembev.models import Detections, TemporalPointPillar
from remembev.streaming import frame_record, read_record
from remembev.tracking import Tracker

TRACKS_ALL = ["TRACKING.MIN_SCORE=0.0", "TRACKING.MIN_COAST_SCORE=0.0"]
"""Overrides with which the faint boxes of an untrained model are tracked."""


@pytest.fixture(scope="module")
def model() -> TemporalPointPillar:
    return listening_model(*TRACKS_ALL)


def test_without_a_tracker_a_stream_has_no_ids(model: TemporalPointPillar) -> None:
    (detections,) = run(StreamingDetector(model), "a", 1)
    assert detections.track_ids is None
    assert detections.coasted is None


def test_a_tracker_adds_ids_and_coasted_boxes_and_changes_no_observed_one(model: TemporalPointPillar) -> None:
    plain, tracked = (run(StreamingDetector(model, tracker=tracker), "a", 4) for tracker in (False, True))
    for one, other in zip(plain, tracked, strict=True):
        assert other.track_ids is not None
        assert other.coasted is not None
        detected = other[~other.coasted]
        assert sorted(map(tuple, detected.boxes.tolist())) == sorted(map(tuple, one.boxes.tolist()))
        assert detected.observed is not None
        assert set(detected[detected.observed].scores.tolist()) <= set(one.scores.tolist())
    assert any(bool(frame.coasted.any()) for frame in tracked)


def test_the_configuration_says_what_is_tracked_unless_something_else_is_asked_for(model: TemporalPointPillar) -> None:
    cfg = load_config("tiny", ["TRACKING.ENABLED=true"])
    assert StreamingDetector(model).tracker is None
    assert StreamingDetector(model, tracker=True).tracker is not None
    enabled = StreamingDetector(listening_model("TRACKING.ENABLED=true"))
    assert enabled.tracker is not None
    assert enabled.tracker.cfg == cfg.TRACKING
    assert StreamingDetector(enabled.engine, tracker=False).tracker is None
    own = Tracker(model.cfg.CLASS_NAMES)
    assert StreamingDetector(model, tracker=own).tracker is own


def test_scenes_have_tracks_of_their_own(model: TemporalPointPillar) -> None:
    detector = StreamingDetector(model, tracker=True)
    alone = run(detector, "a", 3)
    detector.reset()
    for i in range(3):
        detections = detector.step(cloud(i), pose(i), 0.5 * i, "a")
        detector.step(cloud(10 + i), pose(i), 0.5 * i, "b")
        assert_same(detections, alone[i])
        assert torch.equal(detections.track_ids, alone[i].track_ids)


def test_a_frame_without_points_lets_all_tracks_coast(model: TemporalPointPillar) -> None:
    detector = StreamingDetector(model, tracker=True)
    before = run(detector, "a", 1)[0]
    blind = detector.step(torch.zeros(0, 4), pose(1), 0.5, "a")
    assert blind.coasted is not None
    assert blind.observed is not None
    assert blind.coasted.all()
    assert not blind.observed.any()
    assert 0 < len(blind) <= len(before)


def test_global_boxes_of_tracks_are_the_moved_ones(model: TemporalPointPillar) -> None:
    local, moved = (StreamingDetector(model, tracker=True) for _ in range(2))
    for i in range(3):
        here = local.step(cloud(i), pose(i), 0.5 * i, "a")
        there = moved.step(cloud(i), pose(i), 0.5 * i, "a", frame="global")
        torch.testing.assert_close(transform_boxes(pose(i), here.boxes.double()), there.boxes)
        assert torch.equal(here.track_ids, there.track_ids)


def test_clearing_the_memory_keeps_the_tracks(model: TemporalPointPillar) -> None:
    detector = StreamingDetector(model, tracker=True)
    run(detector, "a", 2)
    before = detector.state("a")
    detector.clear_memory("a")
    detector.clear_memory("another")
    after = detector.state("a")
    assert detector.scenes == ["a"]
    assert (int(before.frames), int(after.frames)) == (2, 0)
    assert after.tokens == 0
    assert after.tracker is before.tracker
    with pytest.raises(StreamError, match="not after its last frame's"):
        detector.step(cloud(1), pose(1), 0.5, "a")


# -------------------------------------------------------------------------------------------------------------- states


def test_a_saved_tracked_stream_continues_bit_for_bit(model: TemporalPointPillar, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    detector = StreamingDetector(model, tracker=True)
    run(detector, "a", 3)
    detector.save_state(path, "a")
    expected, state = run(detector, "a", 3, first=3), state_of(detector)
    later = StreamingDetector(model, tracker=True)
    assert later.load_state(path) == "a"
    for resumed, frame in zip(run(later, "a", 3, first=3), expected, strict=True):
        assert_same(resumed, frame)
        assert torch.equal(resumed.track_ids, frame.track_ids)
        assert torch.equal(resumed.coasted, frame.coasted)
    assert_same_state(state_of(later), state)
    assert len(state["a"]["tracker.tracks.ids"]) > 0


def test_a_state_without_tracks_continues_with_a_tracker(model: TemporalPointPillar, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    detector = StreamingDetector(model)
    run(detector, "a", 2)
    detector.save_state(path, "a")
    tracked = StreamingDetector(model, tracker=True)
    tracked.load_state(path)
    (detections,) = run(tracked, "a", 1, first=2)
    assert detections.track_ids is not None
    assert 0 in detections.track_ids


def test_a_tracked_state_is_refused_without_a_tracker(model: TemporalPointPillar, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    detector = StreamingDetector(model, tracker=True)
    run(detector, "a", 2)
    detector.save_state(path, "a")
    plain = StreamingDetector(model)
    with pytest.raises(StreamError, match=r"state\.safetensors: a tracked stream .* --track"):
        plain.load_state(path)
    plain.restore("a", detector.state("a"))
    assert run(plain, "a", 1, first=2)[0].track_ids is None
    assert plain.state("a").tracker is None


# ------------------------------------------------------------------------------------------------------------- records


def test_records_of_tracked_boxes_are_read_bit_for_bit(model: TemporalPointPillar) -> None:
    names = model.cfg.CLASS_NAMES
    tracked = run(StreamingDetector(model, tracker=True), "a", 2)[-1]
    plain = run(StreamingDetector(model), "a", 1)[0]
    for detections in (tracked, plain):
        record = json.loads(json.dumps(frame_record(frame(), detections, names)))
        read = read_record(record, names)
        assert_same(read, detections)
        for one, other in ((read.track_ids, detections.track_ids), (read.coasted, detections.coasted)):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)
    assert set(frame_record(frame(), plain, names)["boxes"][0]) == {"label", "score", "box", "velocity", "observed"}


def frame() -> Frame:
    none, labels = Detections.empty(), torch.zeros(0, dtype=torch.int64)
    return Frame(
        points=torch.zeros(0, 5),
        global_from_lidar=pose(0),
        timestamp=0.0,
        scene_token="a",
        sample_token="a/0",
        boxes=none.boxes,
        labels=labels,
        track_ids=labels,
        num_points=labels,
        visibility=labels,
    )
