"""Measures of hidden objects, against slow and obvious counts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.annotated import RANGE, detections_of, frame, observability_of

from remembev.evaluation.matching import MATCH_METRES, MatchedFrame, match_frame
from remembev.evaluation.observability import Observability, track_observability
from remembev.evaluation.permanence import FALSE_BOXES, WINDOWS_S, measure_flicker, measure_permanence, measure_velocity

places = st.tuples(st.integers(-3, 3).map(float), st.integers(-3, 3).map(float))
since = st.sampled_from([0.0, 0.5, 0.5000002, 1.0, 2.5, 4.0, 4.5, math.inf])
objects = st.lists(st.tuples(places, st.integers(0, 1), since), max_size=4)
found_boxes = st.lists(st.tuples(places, st.integers(0, 1), st.sampled_from([0.125, 0.25, 0.5, 0.75])), max_size=6)


@given(st.lists(st.tuples(objects, found_boxes), min_size=1, max_size=4))
def test_permanence_is_the_recall_of_hidden_objects_at_the_threshold_that_false_positives_allow(
    split: list[tuple[list, list]],
) -> None:
    def near(box: tuple, thing: tuple) -> bool:
        return box[1] == thing[1] and math.dist(box[0], thing[0]) < MATCH_METRES

    def detected_above(score: float, truth: list, boxes: list) -> set[int]:
        """Numbers of the objects that boxes above a score match, the best first, each the nearest that is left."""
        left = set(range(len(truth)))
        for box in sorted((box for box in boxes if box[2] > score), key=lambda box: -box[2]):
            close = [number for number in sorted(left) if near(box, truth[number])]
            left -= {min(close, key=lambda number: math.dist(box[0], truth[number][0]))} if close else set()
        return set(range(len(truth))) - left

    got = measure_permanence([match_frame(observability_of(truth), detections_of(boxes)) for truth, boxes in split])
    for row, window in enumerate(WINDOWS_S):
        hidden = [
            {number for number, thing in enumerate(truth) if 0 < thing[2] <= window + 0.001} for truth, _ in split
        ]
        assert got.objects[row] == sum(map(len, hidden))
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
                        detected_above(score, truth, boxes) & counted
                        for (truth, boxes), counted in zip(split, hidden, strict=True)
                    ]
                    best = max(best, sum(map(len, hits)))
            expected = best / got.objects[row] if got.objects[row] else math.nan
            assert got.recall[row][column] == pytest.approx(expected, nan_ok=True)


def scene(points: dict[int, list[int]], detected: dict[int, list[bool]], error: float = 0.0) -> list[MatchedFrame]:
    """Frames half a second apart with points on tracks, which are detected or not."""
    count = len(next(iter(points.values())))
    frames = [frame(0.5 * n, {track: counts[n] for track, counts in points.items()}) for n in range(count)]
    return [
        MatchedFrame(
            observability,
            torch.tensor([0.5 if detected[track][n] else -math.inf for track in points], dtype=torch.float64),
            torch.tensor([error + track if detected[track][n] else math.nan for track in points]),
            torch.zeros(0, dtype=torch.float64),
        )
        for n, observability in enumerate(track_observability(frames, RANGE))
    ]


def test_a_gap_lasts_until_the_object_is_detected_again() -> None:
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


def test_an_object_that_cannot_be_kept_comes_back_as_another_track() -> None:
    points = [9, *[0] * 9, 9]
    flicker = measure_flicker([scene({0: points}, {0: [number != 9 for number in range(11)]})])
    assert (flicker.tracks, flicker.lost_per_track, flicker.found_share) == (2, 0.0, 1.0)
    assert math.isnan(flicker.mean_gap_s)


def test_measures_of_nothing_are_null_in_json() -> None:
    nothing = measure_flicker([scene({0: [0, 0]}, {0: [True, True]})]).to_json()
    assert nothing["tracks"] == 0
    assert nothing["lost_per_track"] is nothing["mean_gap_s"] is nothing["found_share"] is nothing["score"] is None
    assert measure_permanence([]).to_json()["recall"] == [[None] * len(FALSE_BOXES)] * len(WINDOWS_S)


def test_velocity_errors_are_means_over_detected_objects_by_class_and_level() -> None:
    frames = scene({0: [9, 0], 1: [9, 9]}, {0: [True, True], 1: [True, False]}, error=0.5)
    names = ["car", "bus"]
    for matched in frames:
        matched.observability.frame.labels[:] = torch.tensor([0, 0])
    assert measure_velocity(frames, names, list(Observability))["car"] == pytest.approx((0.5 + 0.5 + 1.5) / 3)
    assert measure_velocity(frames, names, [Observability.HIDDEN])["car"] == 0.5
    assert math.isnan(measure_velocity(frames, names, list(Observability))["bus"])


def test_an_object_annotated_once_has_no_velocity_error() -> None:
    frames = scene({0: [9]}, {0: [True]})
    assert math.isnan(measure_velocity(frames, ["car"], list(Observability))["car"])
