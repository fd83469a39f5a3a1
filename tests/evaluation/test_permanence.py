"""What is measured of objects out of sight, against slow and obvious counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.sights import RANGE, boxes_at, frame

from remembev.evaluation.matching import NEAR, MatchedFrame, match_frame, match_greedily, score_allowing, score_at
from remembev.evaluation.observability import FrameObservability, Observability, track_observability
from remembev.evaluation.permanence import FALSE_BOXES, WINDOWS_S, measure_flicker, measure_permanence, measure_velocity
from remembev.models import Detections

scores = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), max_size=12)


@given(scores, st.integers(0, 12))
def test_the_score_that_allows_so_many_is_the_lowest_there_is(values: list[float], allowed: int) -> None:
    threshold = score_allowing(torch.tensor(values), allowed)
    assert sum(value > threshold for value in values) <= allowed
    for lower in (-math.inf, *(value for value in values if value < threshold)):
        assert threshold == -math.inf or sum(value > lower for value in values) > allowed


# ------------------------------------------------------------------------------------------------------------- matching

Place = tuple[float, float]
places = st.tuples(st.integers(-3, 3).map(float), st.integers(-3, 3).map(float))
since = st.sampled_from([0.0, 0.5, 0.5000002, 1.0, 2.5, 4.0, 4.5, math.inf])
objects = st.lists(st.tuples(places, st.integers(0, 1), since), max_size=4)
found_boxes = st.lists(st.tuples(places, st.integers(0, 1), st.sampled_from([0.125, 0.25, 0.5, 0.75])), max_size=6)


def sighted_of(truth: list[tuple[Place, int, float]]) -> FrameObservability:
    """Objects that were well seen so long ago; those without a point now (> 0 s) are hidden or lost."""
    made = frame(0, dict.fromkeys(range(len(truth)), 0), {n: place for n, (place, _, _) in enumerate(truth)})
    times = torch.tensor([time for _, _, time in truth], dtype=torch.float64)
    sight = [
        Observability.SEEN if t == 0 else Observability.HIDDEN if t < 4.1 else Observability.LOST
        for t in times.tolist()
    ]
    labels = torch.tensor([label for _, label, _ in truth], dtype=torch.int64)
    return FrameObservability(replace(made, labels=labels), torch.tensor(sight, dtype=torch.int64), times)


def detections_of(boxes: list[tuple[Place, int, float]]) -> Detections:
    return Detections(
        boxes_at(*(place for place, _, _ in boxes)),
        torch.tensor([score for _, _, score in boxes]),
        torch.tensor([label for _, label, _ in boxes], dtype=torch.int64),
    )


@given(st.integers(0, 1000), st.integers(0, 7), st.integers(0, 5))
def test_each_box_takes_the_nearest_object_that_no_better_one_has_taken(seed: int, boxes: int, count: int) -> None:
    distance = np.random.default_rng(seed).integers(0, 5, (boxes, count)).astype(float)
    taken: set[int] = set()
    for row, found in enumerate(match_greedily(distance, 3.0).tolist()):
        free = [(distance[row, column], column) for column in range(count) if column not in taken]
        expected = min(free)[1] if free and min(free)[0] < 3.0 else -1
        assert found == expected
        taken |= {found}


@given(st.lists(st.tuples(objects, found_boxes), min_size=1, max_size=4))
def test_permanence_counts_hidden_objects_that_one_box_each_finds_at_the_score_that_false_boxes_allow(
    split: list[tuple[list, list]],
) -> None:
    def near(one: tuple, other: tuple) -> bool:
        return one[1] == other[1] and math.dist(one[0], other[0]) < NEAR

    def found_above(score: float, truth: list, boxes: list) -> set[int]:
        """Numbers of the objects that boxes above a score find, the best first, each the nearest that is left."""
        left = set(range(len(truth)))
        for box in sorted((box for box in boxes if box[2] > score), key=lambda box: -box[2]):
            close = [number for number in sorted(left) if near(box, truth[number])]
            left -= {min(close, key=lambda number: math.dist(box[0], truth[number][0]))} if close else set()
        return set(range(len(truth))) - left

    got = measure_permanence([match_frame(sighted_of(truth), detections_of(boxes)) for truth, boxes in split])
    for row, window in enumerate(WINDOWS_S):
        asked = [{number for number, thing in enumerate(truth) if 0 < thing[2] <= window + 0.001} for truth, _ in split]
        assert got.objects[row] == sum(map(len, asked))
        for column, allowed in enumerate(FALSE_BOXES):
            best = 0
            for score in (-math.inf, 0.125, 0.25, 0.5, 0.75):
                false = sum(
                    box[2] > score and not any(near(box, thing) for thing in truth)
                    for truth, boxes in split
                    for box in boxes
                )
                if false <= allowed * len(split):
                    hits = [
                        found_above(score, truth, boxes) & of for (truth, boxes), of in zip(split, asked, strict=True)
                    ]
                    best = max(best, sum(map(len, hits)))
            expected = best / got.objects[row] if got.objects[row] else math.nan
            assert got.recall[row][column] == pytest.approx(expected, nan_ok=True)


def test_a_box_finds_one_object_and_a_second_box_beside_it_is_not_false() -> None:
    pair = sighted_of([((0.0, 0.0), 0, 1.0), ((1.0, 0.0), 0, 1.0)])
    one = match_frame(pair, detections_of([((0.2, 0.0), 0, 0.5)]))
    assert one.found_at.tolist() == [0.5, -math.inf]
    three = match_frame(pair, detections_of([((0.2, 0.0), 0, 0.5), ((0.1, 0.0), 0, 0.25), ((0.0, 0.0), 0, 0.125)]))
    assert three.found_at.tolist() == [0.5, 0.25]
    assert three.false.tolist() == []


def test_a_box_near_an_object_of_another_class_is_false() -> None:
    matched = match_frame(sighted_of([((0.0, 0.0), 0, 1.0)]), detections_of([((0.0, 0.0), 1, 0.5)]))
    assert matched.false.tolist() == [0.5]
    assert score_at([matched], 0) == 0.5
    assert score_at([matched], 1) == -math.inf


# ------------------------------------------------------------------------------------------------- flicker, velocities


def scene(points: dict[int, list[int]], found: dict[int, list[bool]], error: float = 0.0) -> list[MatchedFrame]:
    """Frames half a second apart with points on tracks, which are found or not."""
    count = len(next(iter(points.values())))
    frames = [frame(0.5 * n, {track: of[n] for track, of in points.items()}) for n in range(count)]
    return [
        MatchedFrame(
            sighted,
            torch.tensor([0.5 if found[track][n] else -math.inf for track in points], dtype=torch.float64),
            torch.tensor([error + track if found[track][n] else math.nan for track in points]),
            torch.zeros(0, dtype=torch.float64),
        )
        for n, sighted in enumerate(track_observability(frames, RANGE))
    ]


def test_a_track_is_lost_as_often_as_it_is_found_again_and_a_gap_lasts_until_then() -> None:
    yes, no = True, False
    frames = scene(
        {0: [9, 0, 0, 9, 9, 0, 9, 0], 1: [0, 9, 9, 9, 0, 0, 0, 0]},
        {0: [yes, no, no, yes, yes, no, yes, no], 1: [yes, no, yes, yes, yes, yes, yes, yes]},
    )
    flicker = measure_flicker([frames])
    assert flicker.tracks == 2
    assert flicker.lost_per_track == 2 / 2
    assert flicker.mean_gap_s == pytest.approx((1.0 + 0.5) / 2)
    assert flicker.found_share == pytest.approx((4 / 8 + 6 / 7) / 2)


def test_an_object_that_nobody_could_keep_in_mind_is_another_track_when_it_comes_back() -> None:
    points = [9, *[0] * 9, 9]
    flicker = measure_flicker([scene({0: points}, {0: [number != 9 for number in range(11)]})])
    assert (flicker.tracks, flicker.lost_per_track, flicker.found_share) == (2, 0.0, 1.0)
    assert math.isnan(flicker.mean_gap_s)


def test_without_a_track_there_is_nothing_to_tell_and_json_says_null() -> None:
    nothing = measure_flicker([scene({0: [0, 0]}, {0: [True, True]})]).to_json()
    assert nothing["tracks"] == 0
    assert nothing["lost_per_track"] is nothing["mean_gap_s"] is nothing["found_share"] is nothing["score"] is None
    assert measure_permanence([]).to_json()["recall"] == [[None] * len(FALSE_BOXES)] * len(WINDOWS_S)


def test_velocity_errors_are_means_over_found_objects_by_class_and_sight() -> None:
    frames = scene({0: [9, 0], 1: [9, 9]}, {0: [True, True], 1: [True, False]}, error=0.5)
    names = ["car", "bus"]
    for one in frames:
        one.observability.frame.labels[:] = torch.tensor([0, 0])
    assert measure_velocity(frames, names, list(Observability))["car"] == pytest.approx((0.5 + 0.5 + 1.5) / 3)
    assert measure_velocity(frames, names, [Observability.HIDDEN])["car"] == 0.5
    assert math.isnan(measure_velocity(frames, names, list(Observability))["bus"])


def test_an_object_annotated_once_has_no_velocity_to_compare_with() -> None:
    frames = scene({0: [9]}, {0: [True]})
    assert math.isnan(measure_velocity(frames, ["car"], list(Observability))["car"])


def test_a_velocity_error_is_the_length_of_the_difference() -> None:
    truth = sighted_of([((0.0, 0.0), 0, 0.0)])
    truth.frame.boxes[:, 7:9] = torch.tensor([1.0, 2.0])
    found = detections_of([((0.5, 0.0), 0, 0.5)])
    found.boxes[:, 7:9] = torch.tensor([4.0, -2.0])
    assert match_frame(truth, found).velocity_error.tolist() == [5.0]
