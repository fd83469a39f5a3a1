"""What the sensor has seen of objects, against what earlier frames say."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.annotated import RANGE, frame

from remembev.data import Frame
from remembev.evaluation.observability import HIDDEN_SECONDS, WELL_SEEN, Observability, track_observability


def levels(frames: list[Frame]) -> list[list[Observability]]:
    return [
        [Observability(value) for value in observed.level.tolist()] for observed in track_observability(frames, RANGE)
    ]


def since(frames: list[Frame]) -> list[list[float]]:
    return [observed.since_seen.tolist() for observed in track_observability(frames, RANGE)]


def test_an_object_is_hidden_for_four_seconds_after_it_was_seen_and_lost_after_that() -> None:
    points = [5, 0, *[0] * 8]
    got = levels([frame(0.5 * number, {0: count}) for number, count in enumerate(points)])
    assert got == [[Observability.SEEN], *[[Observability.HIDDEN]] * 8, [Observability.LOST]]


def test_an_object_of_too_few_points_is_faint_and_lost_but_never_hidden() -> None:
    assert levels([frame(0, {0: 4}), frame(1, {0: 0})]) == [[Observability.FAINT], [Observability.LOST]]


def test_an_object_is_unseen_until_its_first_point() -> None:
    assert levels([frame(0, {0: 0}), frame(1, {0: 0}), frame(2, {0: 9})]) == [[Observability.UNSEEN]] * 2 + [
        [Observability.SEEN]
    ]


def test_points_outside_the_range_show_nothing() -> None:
    outside = {0: (10.5, 0.0)}
    assert levels([frame(0, {0: 50}, outside), frame(1, {0: 0})]) == [[Observability.OUTSIDE], [Observability.UNSEEN]]


@given(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=1, max_size=14))
def test_the_level_is_what_earlier_frames_say(points: list[list[int]]) -> None:
    times = [0.5 * number for number in range(len(points))]
    got = levels([frame(t, dict(enumerate(row))) for t, row in zip(times, points, strict=True)])
    for now, track in product(range(len(points)), range(3)):
        before = [(times[now] - times[past], points[past][track]) for past in range(now)]
        if points[now][track] > 0:
            expected = Observability.SEEN if points[now][track] >= WELL_SEEN else Observability.FAINT
        elif any(count >= WELL_SEEN and since <= HIDDEN_SECONDS for since, count in before):
            expected = Observability.HIDDEN
        else:
            expected = Observability.LOST if any(count > 0 for _, count in before) else Observability.UNSEEN
        assert got[now][track] is expected


@given(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=1, max_size=14))
def test_the_time_since_an_object_was_well_seen_is_the_least_there_is(points: list[list[int]]) -> None:
    times = [0.5 * number for number in range(len(points))]
    got = since([frame(t, dict(enumerate(row))) for t, row in zip(times, points, strict=True)])
    for now, track in product(range(len(points)), range(3)):
        seen = [times[now] - times[past] for past in range(now + 1) if points[past][track] >= WELL_SEEN]
        assert got[now][track] == pytest.approx(min(seen, default=math.inf), abs=1e-6)


def test_key_frames_a_little_more_than_half_a_second_apart_keep_an_object_hidden_for_eight() -> None:
    got = levels([frame(0.5004 * number, {0: 9 * (number == 0)}) for number in range(10)])
    assert got == [[Observability.SEEN], *[[Observability.HIDDEN]] * 8, [Observability.LOST]]


def test_a_memory_can_keep_what_is_in_range_and_was_well_seen_in_the_last_four_seconds() -> None:
    frames = [
        frame(0, {0: 9, 1: 9, 2: 3, 3: 0}),
        frame(4, {0: 0, 1: 2, 2: 3, 3: 9}),
        frame(4.5, {0: 0, 1: 9, 2: 0, 3: 0}),
    ]
    away = frame(5, {0: 9, 1: 9}, {1: (10.5, 0.0)})
    kept = [observed.to_be_kept.tolist() for observed in track_observability([*frames, away], RANGE)]
    assert kept == [[True, True, False, False], [True, True, False, True], [False, True, False, True], [True, False]]


def test_objects_of_other_classes_are_left_out_with_all_that_is_known_of_them() -> None:
    (observed,) = track_observability([frame(0, {0: 9, 1: 2, 2: 9})], RANGE)
    observed.frame.labels[:] = observed.frame.labels.new_tensor([3, 1, 0])
    some = observed.of_classes([1, 3])
    assert some.frame.track_ids.tolist() == [0, 1]
    assert some.level.tolist() == [Observability.SEEN, Observability.FAINT]
    assert len(some.since_seen) == len(some.frame.boxes) == 2
