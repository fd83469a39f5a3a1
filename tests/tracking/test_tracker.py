"""The tracker: ids, coasting, scores, and what must not matter."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tracking.frames import (
    BICYCLE,
    CAR,
    CLASSES,
    IDENTITY,
    PEDESTRIAN,
    detected,
    pose_at,
    seen_from,
)
from torch import Tensor

from remembev.config import TrackingConfig
from remembev.errors import StreamError
from remembev.geometry import transform_boxes
from remembev.models import Detections
from remembev.tracking import UNTRACKED, Tracker, TrackerState

TRACKER = Tracker(CLASSES)


def ids_of(detections: Detections) -> list[int]:
    assert detections.track_ids is not None
    return detections.track_ids.tolist()


def coasted_of(detections: Detections) -> Detections:
    assert detections.coasted is not None
    return detections[detections.coasted]


def run(
    *frames: Detections, tracker: Tracker = TRACKER, period: float = 0.5, poses: list[Tensor] | None = None
) -> tuple[list[Detections], TrackerState]:
    """Track frames at a constant rate."""
    state, tracked = tracker.initial_state(), []
    for number, frame in enumerate(frames):
        pose = IDENTITY if poses is None else poses[number]
        output, state = tracker.step(state, frame, pose, 100.0 + period * number)
        tracked.append(output)
    return tracked, state


def nothing() -> Detections:
    return detected()


# ----------------------------------------------------------------------------------------------------------------- ids


def test_an_object_keeps_its_id_and_another_gets_the_next_one() -> None:
    tracked, _ = run(detected((CAR, 0.0, 0.0)), detected((CAR, 30.0, 0.0), (CAR, 0.3, 0.0), scores=[0.9, 0.5]))
    assert [ids_of(frame) for frame in tracked] == [[0], [1, 0]]


def test_classes_do_not_mix_and_each_has_its_reach() -> None:
    first = [(CAR, 0.0, 0.0), (PEDESTRIAN, 20.0, 0.0), (BICYCLE, 40.0, 0.0), (CAR, 0.0, 30.0)]
    second = [(PEDESTRIAN, 0.0, 0.0), (PEDESTRIAN, 21.5, 0.0), (BICYCLE, 42.5, 0.0), (CAR, 3.5, 30.0), (CAR, 4.5, 0.0)]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    (before, after), _ = run(detected(*first, scores=scores[:4]), detected(*second, scores=scores))
    assert ids_of(before) == [0, 1, 2, 3]
    detections = after[~after.coasted]
    assert ids_of(detections) == [4, 5, 2, 3, 6]


def test_the_best_detection_joins_first_and_a_track_only_once() -> None:
    (_, after), _ = run(detected((CAR, 0.0, 0.0)), detected((CAR, 0.1, 0.0), (CAR, 3.0, 0.0), scores=[0.3, 0.9]))
    assert (ids_of(after), after.boxes[:, 0].tolist()) == ([0, 1], [3.0, pytest.approx(0.1)])


def test_a_faint_detection_neither_joins_nor_starts_a_track() -> None:
    (first, _, third), state = run(
        detected((CAR, 0.0, 0.0), scores=[0.17]), nothing(), detected((CAR, 0.0, 0.0), scores=[0.18])
    )
    assert ids_of(first) == [UNTRACKED]
    assert ids_of(third) == [0]
    assert state.next_id.tolist() == [1]


def test_a_fast_car_is_followed_by_its_speed_once_that_is_known() -> None:
    frames = [detected((CAR, x, 0.0)) for x in (0.0, 3.9, 9.0, 16.0, 23.0)]
    tracked, state = run(*frames)
    assert [ids_of(frame) for frame in tracked] == [[0]] * 5
    assert float(state.tracks.boxes[0, 7]) == pytest.approx(14.0, abs=2.0)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_ids_are_given_in_order_and_never_again(seed: int) -> None:
    frames = random_frames(seed, frames=12)
    tracked, state = run(*frames, period=1.0)
    first_frame: dict[int, int] = {}
    for number, frame in enumerate(tracked):
        ids = [track for track in ids_of(frame) if track != UNTRACKED]
        assert len(set(ids)) == len(ids)
        for track in ids:
            first_frame.setdefault(track, number)
    born = [number for _, number in sorted(first_frame.items())]
    assert sorted(first_frame) == list(range(int(state.next_id)))
    assert all(one <= other for one, other in pairwise(born))


# ------------------------------------------------------------------------------------------------------------- coasting


def test_a_lost_track_coasts_at_its_speed_with_a_score_that_falls() -> None:
    frames = [detected((CAR, 3.5 * n, 0.0), scores=[0.8 - 0.1 * n]) for n in range(4)]
    (*_, one, two), _ = run(*frames, nothing(), nothing())
    assert ids_of(one) == ids_of(two) == [0]
    assert one.coasted is not None
    assert one.coasted.tolist() == [True]
    assert one.boxes[0, 0] == pytest.approx(14.0, abs=0.5)
    assert two.boxes[0, 0] - one.boxes[0, 0] == pytest.approx(0.5 * float(one.boxes[0, 7]), abs=1e-4)
    assert one.scores.tolist() == pytest.approx([0.8 * 0.85 * 0.95])
    assert two.scores.tolist() == pytest.approx([0.8 * 0.85 * 0.95**2])


def test_the_score_falls_with_time_and_not_with_frames() -> None:
    slow, _ = run(detected((CAR, 0.0, 0.0)), nothing(), period=2.0)
    fast, _ = run(detected((CAR, 0.0, 0.0)), *[nothing()] * 40, period=0.05)
    assert fast[-1].scores.tolist() == pytest.approx(slow[-1].scores.tolist())


def test_a_track_ends_four_seconds_after_its_last_sighting() -> None:
    tracked, state = run(detected((CAR, 0.0, 0.0)), *[nothing()] * 9)
    assert [len(frame) for frame in tracked] == [1] * 9 + [0]
    assert len(state.tracks) == 0
    again, _ = run(detected((CAR, 0.0, 0.0)), *[nothing()] * 8, detected((CAR, 0.0, 0.0)))
    assert ids_of(again[-1]) == [1]


def test_a_pedestrian_is_where_it_was_last_detected() -> None:
    (*_, coasted), _ = run(*(detected((PEDESTRIAN, 0.7 * n, 0.0)) for n in range(4)), nothing())
    assert coasted.boxes[0, [0, 7, 8]].tolist() == pytest.approx([2.1, 0.0, 0.0])


@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(-0.1, 0.1))
@settings(max_examples=30)
def test_a_static_object_stays_put_while_the_ego_turns(seed: int, turn: float, pitch: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    parked = torch.tensor([[1500.0, 700.0, 1.0, 4.0, 2.0, 1.5, 0.3, 0.0, 0.0]], dtype=torch.float64)
    parked[:, :2] += 20 * torch.rand(2, generator=generator)
    poses = [pose_at(1490.0 + 2.0 * n, 690.0, turn * n, pitch) for n in range(6)]
    seen = [seen_from(pose, parked, [0.9], [CAR]) for pose in poses[:3]]
    tracked, _ = run(*seen, *[nothing()] * 3, poses=poses)
    for pose, frame in zip(poses, tracked, strict=True):
        boxes = transform_boxes(pose, frame.boxes.double())
        torch.testing.assert_close(boxes[:, :3], parked[:, :3], atol=2e-3, rtol=0)
        heading = boxes[:, 6] - parked[:, 6]
        torch.testing.assert_close(heading.sin(), torch.zeros(1).double(), atol=1e-2, rtol=0)
        assert ids_of(frame) == [0]


def test_a_coasted_box_gives_way_to_a_detection_that_overlaps_it_but_not_to_another_class() -> None:
    first = detected((CAR, 0.0, 0.0), (CAR, 0.0, 1.9), scores=[0.9, 0.8])
    (_, after), state = run(first, detected((CAR, 0.0, 1.0), scores=[0.3]))
    assert ids_of(after) == [1]
    assert len(state.tracks) == 2
    (_, faint), _ = run(detected((CAR, 0.0, 0.0)), detected((CAR, 0.0, 0.0), scores=[0.17]))
    assert ids_of(faint) == [0, UNTRACKED]
    (_, beside), _ = run(detected((CAR, 0.0, 0.0)), detected((BICYCLE, 0.0, 0.0)))
    assert sorted(ids_of(beside)) == [0, 1]


def test_a_box_that_coasts_out_of_range_is_not_shown() -> None:
    tracker = Tracker(CLASSES, point_cloud_range=(-10, -10, -3, 10, 10, 3))
    frames = [detected((CAR, x, 0.0)) for x in (0.0, 3.0, 6.0)]
    tracked, state = run(*frames, *[nothing()] * 3, tracker=tracker)
    assert [len(frame) for frame in tracked[3:]] == [1, 0, 0]
    assert len(state.tracks) == 1


def test_a_coasted_box_of_too_low_a_score_is_not_shown() -> None:
    tracker = Tracker(CLASSES, TrackingConfig(MIN_COAST_SCORE=0.4))
    tracked, state = run(detected((CAR, 0.0, 0.0)), *[nothing()] * 2, tracker=tracker)
    assert [len(frame) for frame in tracked] == [1, 1, 0]
    assert len(state.tracks) == 1


# ------------------------------------------------------------------------------------------------ remembered detections


def test_an_unobserved_box_moves_its_track_and_is_no_sighting() -> None:
    seen = [detected((CAR, 0.0, 0.0), scores=[0.8])]
    remembered = [detected((CAR, 0.5, 0.0), scores=[0.9], observed=[False]) for _ in range(9)]
    tracked, state = run(*seen, *remembered)
    assert [ids_of(frame) for frame in tracked] == [[0]] * 9 + [[UNTRACKED]]
    assert len(state.tracks) == 0
    _, state = run(*seen, *remembered[:3])
    assert state.tracks.boxes[0, 0] == pytest.approx(0.5, abs=0.2)
    assert state.tracks.best_score.tolist() == pytest.approx([0.8])


def test_an_unobserved_box_that_joins_a_track_scores_at_least_as_if_it_coasted() -> None:
    seen = detected((CAR, 0.0, 0.0), scores=[0.8])
    for own, expected in ((0.2, 0.8 * 0.85 * 0.95), (0.9, 0.9)):
        (_, after), _ = run(seen, detected((CAR, 0.0, 0.0), scores=[own], observed=[False]))
        assert after.scores.tolist() == pytest.approx([expected])
        assert after.coasted is not None
        assert not after.coasted.any()


def test_an_unobserved_box_starts_no_track() -> None:
    (first,), state = run(detected((CAR, 0.0, 0.0), observed=[False]))
    assert ids_of(first) == [UNTRACKED]
    assert len(state.tracks) == 0


# --------------------------------------------------------------------------------------------------------- invariances


def random_frames(seed: int, frames: int = 6) -> list[Detections]:
    """Frames of up to 8 boxes of all classes, near and far, with distinct scores."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(frames):
        count = int(torch.randint(0, 9, (1,), generator=generator))
        xy = 18 * torch.rand(count, 2, generator=generator)  # no two distances are equal
        boxes = torch.cat((xy, torch.rand(count, 7, generator=generator) + 0.5), dim=1)
        scores = 0.1 + 0.1 * torch.randperm(count, generator=generator) + 0.05 * torch.rand(count, generator=generator)
        labels = torch.randint(0, len(CLASSES), (count,), generator=generator)
        observed = torch.rand(count, generator=generator) < 0.7
        made.append(Detections(boxes, scores, labels, observed))
    return made


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_the_order_of_the_detections_does_not_matter(seed: int) -> None:
    frames = random_frames(seed)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [frame[torch.randperm(len(frame), generator=generator)] for frame in frames]
    for (tracked, state), (others, other) in ((run(*frames), run(*shuffled)),):
        assert [ids_of(frame) for frame in tracked] == [ids_of(frame) for frame in others]
        for one, two in zip(tracked, others, strict=True):
            assert torch.equal(one.boxes, two.boxes)
            assert torch.equal(one.scores, two.scores)
        assert all(torch.equal(tensor, other.named()[name]) for name, tensor in state.named().items())


@given(st.integers(0, 10_000), st.floats(-math.pi, math.pi), st.floats(-500, 500))
@settings(max_examples=30)
def test_the_frame_of_reference_does_not_matter(seed: int, yaw: float, x: float) -> None:
    """The same world seen from a LiDAR that turns, in global coordinates that are moved."""
    frames = random_frames(seed)
    moved = pose_at(x, -x, yaw)
    poses = [moved @ pose_at(0.3 * n, 0.0, 0.2 * n) for n in range(len(frames))]
    seen = [
        Detections(
            transform_boxes(torch.linalg.inv(pose) @ moved, frame.boxes.double()).float(),
            frame.scores,
            frame.labels,
            frame.observed,
        )
        for pose, frame in zip(poses, frames, strict=True)
    ]
    still, _ = run(*frames)
    moving, _ = run(*seen, poses=poses)
    for pose, one, two in zip(poses, still, moving, strict=True):
        there = transform_boxes(torch.linalg.inv(moved) @ pose, two.boxes.double()).float()
        rows, others = ({track: row for row, track in enumerate(ids_of(frame))} for frame in (one, two))
        assert rows.keys() == others.keys()
        for track, row in rows.items():
            if track != UNTRACKED:
                torch.testing.assert_close(one.boxes[row, :6], there[others[track], :6], atol=2e-3, rtol=0)
                torch.testing.assert_close(one.scores[row], two.scores[others[track]])


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_a_step_changes_neither_its_state_nor_its_detections(seed: int) -> None:
    *frames, last = random_frames(seed)
    _, state = run(*frames)
    before = {name: tensor.clone() for name, tensor in state.named().items()}
    boxes, scores = last.boxes.clone(), last.scores.clone()
    first, after = TRACKER.step(state, last, IDENTITY, 200.0)
    second, again = TRACKER.step(state, last, IDENTITY, 200.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.named().items())
    assert torch.equal(last.boxes, boxes)
    assert torch.equal(last.scores, scores)
    assert torch.equal(first.boxes, second.boxes)
    assert all(torch.equal(tensor, again.named()[name]) for name, tensor in after.named().items())


def test_state_is_float64_and_bounded_by_the_time_that_tracks_coast() -> None:
    _, state = run(*(detected((CAR, 50.0 * n, 0.0)) for n in range(200)))
    assert len(state.tracks) == 9
    assert {tensor.dtype for tensor in state.named().values()} == {torch.float64, torch.int64}


def test_a_frame_that_is_not_later_is_refused() -> None:
    _, state = run(detected((CAR, 0.0, 0.0)))
    with pytest.raises(StreamError, match=r"100\.000000 s is not after"):
        TRACKER.step(state, nothing(), IDENTITY, 100.0)


def test_detections_are_best_first_with_coasted_boxes_among_them() -> None:
    first = detected((CAR, 0.0, 0.0), (CAR, 20.0, 0.0), scores=[0.9, 0.4])
    (_, after), _ = run(first, detected((CAR, 20.0, 0.0), (PEDESTRIAN, 5.0, 5.0), scores=[0.3, 0.95]))
    assert ids_of(after) == [2, 0, 1]
    assert after.coasted is not None
    assert after.coasted.tolist() == [False, True, False]
    assert after.scores.tolist() == sorted(after.scores.tolist(), reverse=True)


# --------------------------------------------------------------------------------------------------------- free space


def wall(x: float) -> Tensor:
    """Points [N, 5] of a wall ahead, in rows as a LiDAR has them."""
    y, z = torch.meshgrid(torch.linspace(-5, 5, 100), torch.linspace(-1, 1, 20), indexing="ij")
    return torch.stack((torch.full_like(y, x), y, z, *torch.zeros(2, *y.shape)), dim=-1).reshape(-1, 5)


@pytest.mark.parametrize(("x", "factor"), [(30.0, 0.5), (5.0, 1.0)])
def test_the_score_is_halved_where_the_rays_pass(x: float, factor: float) -> None:
    _, state = run(detected((CAR, 15.0, 0.0), scores=[0.8]))
    after, _ = TRACKER.step(state, nothing(), IDENTITY, 100.5, wall(x))
    assert after.scores.tolist() == pytest.approx([factor * 0.8 * 0.85 * 0.95])
    assert coasted_of(after).boxes.shape == (1, 9)
