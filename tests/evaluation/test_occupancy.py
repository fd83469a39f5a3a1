"""What the sensor has seen of objects, and scores in and out of sight, against slow and obvious counts."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remembev.data import Frame
from remembev.evaluation.occupancy import (
    ENOUGH_POINTS,
    HIDDEN_SECONDS,
    NEAR,
    Sight,
    SightedFrame,
    average_precision,
    recall,
    roc_auc,
    score_allowing,
    score_out_of_sight,
    sightings,
)
from remembev.geometry import BEVGrid
from remembev.models import Detections

RANGE = (-10.0, -10.0, -5.0, 10.0, 10.0, 3.0)
GRID = BEVGrid(-10.0, -10.0, 10.0, 10.0, 10, 10)
scores = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), max_size=12)


def boxes_at(*places: tuple[float, float]) -> Tensor:
    return torch.tensor([[x, y, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0] for x, y in places]).reshape(-1, 9)


def frame(time: float, points: dict[int, int], places: dict[int, tuple[float, float]] | None = None) -> Frame:
    """A frame with so many points on each track; tracks stand in a row of cells unless they have other places."""
    where = {track: (-9.0 + 2.0 * track, 1.0) for track in points} | (places or {})
    return Frame(
        points=torch.zeros(0, 5),
        global_from_lidar=torch.eye(4, dtype=torch.float64),
        timestamp=1.6e9 + time,
        scene_token="scene",
        sample_token=f"sample-{time}",
        boxes=boxes_at(*(where[track] for track in points)),
        labels=torch.zeros(len(points), dtype=torch.int64),
        track_ids=torch.tensor(list(points), dtype=torch.int64),
        num_points=torch.tensor(list(points.values()), dtype=torch.int64),
        visibility=torch.ones(len(points), dtype=torch.int64),
    )


def sights(frames: list[Frame]) -> list[list[Sight]]:
    return [[Sight(value) for value in sighted.sight.tolist()] for sighted in sightings(frames, RANGE)]


def test_an_object_is_hidden_for_four_seconds_after_it_was_seen_and_lost_after_that() -> None:
    points = [5, 0, *[0] * 8]
    found = sights([frame(0.5 * number, {0: count}) for number, count in enumerate(points)])
    assert found == [[Sight.SEEN], *[[Sight.HIDDEN]] * 8, [Sight.LOST]]


def test_an_object_of_too_few_points_is_faint_and_lost_but_never_hidden() -> None:
    assert sights([frame(0, {0: 4}), frame(1, {0: 0})]) == [[Sight.FAINT], [Sight.LOST]]


def test_an_object_is_unseen_until_its_first_point() -> None:
    assert sights([frame(0, {0: 0}), frame(1, {0: 0}), frame(2, {0: 9})]) == [[Sight.UNSEEN]] * 2 + [[Sight.SEEN]]


def test_points_outside_the_range_show_nothing() -> None:
    outside = {0: (10.5, 0.0)}
    assert sights([frame(0, {0: 50}, outside), frame(1, {0: 0})]) == [[Sight.OUTSIDE], [Sight.UNSEEN]]


@given(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=1, max_size=14))
def test_sight_is_what_the_frames_before_say(points: list[list[int]]) -> None:
    times = [0.5 * number for number in range(len(points))]
    found = sights([frame(t, dict(enumerate(row))) for t, row in zip(times, points, strict=True)])
    for now, track in product(range(len(points)), range(3)):
        before = [(times[now] - times[past], points[past][track]) for past in range(now)]
        if points[now][track] > 0:
            expected = Sight.SEEN if points[now][track] >= ENOUGH_POINTS else Sight.FAINT
        elif any(count >= ENOUGH_POINTS and since <= HIDDEN_SECONDS for since, count in before):
            expected = Sight.HIDDEN
        else:
            expected = Sight.LOST if any(count > 0 for _, count in before) else Sight.UNSEEN
        assert found[now][track] is expected


def test_a_cell_of_several_objects_counts_as_the_one_that_is_seen_best() -> None:
    places = [(-9.0, -9.0), (-9.0, -9.0), (1.0, -9.0)]
    sight = torch.tensor([Sight.HIDDEN, Sight.FAINT, Sight.UNSEEN])
    cells = SightedFrame(boxes_at(*places), torch.zeros(3, dtype=torch.int64), sight).cells(GRID)
    expected = torch.full((10, 10), int(Sight.FREE))
    expected[0, 0], expected[0, 5] = Sight.FAINT, Sight.UNSEEN
    assert torch.equal(cells, expected)


def test_a_frame_without_objects_is_free() -> None:
    empty = SightedFrame(boxes_at(), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert (empty.cells(GRID) == Sight.FREE).all()


@given(scores, scores)
def test_roc_auc_is_the_share_of_pairs_in_order_with_ties_counted_half(good: list[float], bad: list[float]) -> None:
    found = roc_auc(torch.tensor(good), torch.tensor(bad))
    if not good or not bad:
        assert math.isnan(found)
        return
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(good, bad)]
    assert found == pytest.approx(sum(wins) / len(wins), abs=1e-12)


@given(scores, scores)
def test_average_precision_sums_precision_times_gain_in_recall(good: list[float], bad: list[float]) -> None:
    found = average_precision(torch.tensor(good), torch.tensor(bad))
    if not good:
        assert math.isnan(found)
        return
    area = recalled = 0.0
    for threshold in sorted({*good, *bad}, reverse=True):
        hits, false = sum(p >= threshold for p in good), sum(n >= threshold for n in bad)
        area += hits / (hits + false) * (hits / len(good) - recalled)
        recalled = hits / len(good)
    assert found == pytest.approx(area, abs=1e-12)


@given(scores, st.integers(0, 12))
def test_the_score_that_allows_so_many_is_the_lowest_there_is(values: list[float], allowed: int) -> None:
    threshold = score_allowing(torch.tensor(values), allowed)
    assert sum(value > threshold for value in values) <= allowed
    for lower in (-math.inf, *(value for value in values if value < threshold)):
        assert threshold == -math.inf or sum(value > lower for value in values) > allowed


places = st.tuples(st.integers(-3, 3).map(float), st.integers(-3, 3).map(float))
objects = st.lists(st.tuples(places, st.integers(0, 1), st.sampled_from([Sight.SEEN, Sight.HIDDEN])), max_size=4)
found_boxes = st.lists(st.tuples(places, st.integers(0, 1), st.sampled_from([0.125, 0.25, 0.5, 0.75])), max_size=6)


@given(st.lists(st.tuples(objects, found_boxes), min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 1.0, 5.0]))
def test_recall_counts_objects_near_a_box_of_their_class_at_the_score_that_false_boxes_allow(
    split: list[tuple[list, list]], false_boxes: float
) -> None:
    frames = [
        SightedFrame(
            boxes_at(*(place for place, _, _ in truth)),
            torch.tensor([label for _, label, _ in truth], dtype=torch.int64),
            torch.tensor([int(sight) for _, _, sight in truth], dtype=torch.int64),
        )
        for truth, _ in split
    ]
    detections = [
        Detections(
            boxes_at(*(place for place, _, _ in boxes)),
            torch.tensor([score for _, _, score in boxes]),
            torch.tensor([label for _, label, _ in boxes], dtype=torch.int64),
        )
        for _, boxes in split
    ]

    def near(one: tuple, other: tuple) -> bool:
        return one[1] == other[1] and math.dist(one[0], other[0]) <= NEAR

    def recall_above(threshold: float) -> tuple[int, int]:
        """False boxes, and hidden objects that are found."""
        kept = [(truth, [box for box in boxes if box[2] > threshold]) for truth, boxes in split]
        false = sum(not any(near(box, thing) for thing in truth) for truth, boxes in kept for box in boxes)
        hidden = [(thing, boxes) for truth, boxes in kept for thing in truth if thing[2] is Sight.HIDDEN]
        return false, sum(any(near(box, thing) for box in boxes) for thing, boxes in hidden)

    hidden = sum(thing[2] is Sight.HIDDEN for truth, _ in split for thing in truth)
    got = recall(frames, detections, Sight.HIDDEN, false_boxes)
    if hidden == 0:
        assert math.isnan(got)
        return
    curve = [recall_above(threshold) for threshold in (-math.inf, 0.125, 0.25, 0.5, 0.75)]
    best = max(hits for false, hits in curve if false <= false_boxes * len(split))
    assert got == pytest.approx(best / hidden)


def split_of() -> tuple[list[SightedFrame], list[Detections]]:
    """A scene of nine objects, three in sight, three hidden, three unseen, and nothing detected."""
    points = dict.fromkeys(range(6), 9) | {6: 0, 7: 0, 8: 0}
    later = {track: 9 * (track < 3) for track in range(9)}
    frames = sightings([frame(0, points), frame(1, later)], RANGE)
    return frames, [Detections.empty()] * len(frames)


def test_an_occupancy_that_knows_only_what_is_in_sight_is_told_from_one_that_remembers() -> None:
    frames, detections = split_of()
    present = [(one.cells(GRID) == Sight.SEEN).float() for one in frames]
    remembered = [(one.cells(GRID) >= Sight.HIDDEN).float() for one in frames]
    one, other = (score_out_of_sight(frames, detections, shown, GRID) for shown in (present, remembered))
    assert (one.auc_seen, one.auc_hidden, one.auc_unseen) == (1.0, 0.5, 0.5)
    assert (other.auc_seen, other.auc_hidden, other.auc_unseen) == (1.0, 1.0, 0.5)
    assert one.occupancy_ap < other.occupancy_ap < 1.0
    assert one.hidden_objects == 3
    assert one.hidden_recall == 0.0


def test_a_detector_without_an_occupancy_is_scored_by_its_boxes_alone() -> None:
    frames, _ = split_of()
    found = [Detections(one.boxes, torch.ones(len(one.labels)), one.labels) for one in frames]
    score = score_out_of_sight(frames, found, [], GRID)
    assert score.hidden_recall == 1.0
    assert all(math.isnan(value) for value in (score.auc_seen, score.auc_hidden, score.auc_unseen, score.occupancy_ap))
