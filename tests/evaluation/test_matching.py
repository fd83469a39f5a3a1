"""Matching of boxes with objects, and the score that allows a number of false positives."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.annotated import detections_of, observability_of

from remembev.evaluation.matching import match_frame, threshold_allowing, threshold_at

scores = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), max_size=12)


@given(scores, st.integers(0, 12))
def test_the_threshold_is_the_lowest_that_allows_so_many_false_positives(values: list[float], allowed: int) -> None:
    threshold = threshold_allowing(torch.tensor(values), allowed)
    assert sum(value > threshold for value in values) <= allowed
    for lower in (-math.inf, *(value for value in values if value < threshold)):
        assert threshold == -math.inf or sum(value > lower for value in values) > allowed


def test_a_box_matches_one_object_and_a_second_box_beside_it_is_no_false_positive() -> None:
    truth = observability_of([((0.0, 0.0), 0, 1.0), ((1.0, 0.0), 0, 1.0)])
    single = match_frame(truth, detections_of([((0.2, 0.0), 0, 0.5)]))
    assert single.scores.tolist() == [0.5, -math.inf]
    three = match_frame(truth, detections_of([((0.2, 0.0), 0, 0.5), ((0.1, 0.0), 0, 0.25), ((0.0, 0.0), 0, 0.125)]))
    assert three.scores.tolist() == [0.5, 0.25]
    assert three.false_positives.tolist() == []


def test_a_box_near_an_object_of_another_class_is_a_false_positive() -> None:
    matched = match_frame(observability_of([((0.0, 0.0), 0, 1.0)]), detections_of([((0.0, 0.0), 1, 0.5)]))
    assert matched.false_positives.tolist() == [0.5]
    assert threshold_at([matched], 0) == 0.5
    assert threshold_at([matched], 1) == -math.inf


def test_a_velocity_error_is_the_length_of_the_difference() -> None:
    truth = observability_of([((0.0, 0.0), 0, 0.0)])
    truth.frame.boxes[:, 7:9] = torch.tensor([1.0, 2.0])
    detections = detections_of([((0.5, 0.0), 0, 0.5)])
    detections.boxes[:, 7:9] = torch.tensor([4.0, -2.0])
    assert match_frame(truth, detections).velocity_errors.tolist() == [5.0]
