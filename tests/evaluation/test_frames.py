"""Scores of single annotated frames: every number here is counted by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tests.evaluation.annotated import Place, detections_of
from tests.evaluation.annotated import frame as annotated_frame
from torch import Tensor

from remembev.config import Config, load_config
from remembev.data import Frame
from remembev.evaluation import evaluate_frames, frames_table
from remembev.evaluation.frame_scores import FrameMatches, match_in_range, precision_recall, score_frames
from remembev.evaluation.frames import by_stream_age, write_metrics
from remembev.models import Detections
from remembev.streaming.sources.recordings import Recording

RANGE = (-10.0, -10.0, -5.0, 10.0, 10.0, 3.0)
CAR, BARRIER, PEDESTRIAN, CONE = 0, 5, 8, 9
NAMES = load_config("tiny").CLASS_NAMES

Truth = tuple[Place, int, int]
Box = tuple[Place, int, float]


def frame_of(truth: Sequence[Truth], time: float = 0.0) -> Frame:
    """A frame of objects with place, label and number of points."""
    made = annotated_frame(
        time, {n: points for n, (_, _, points) in enumerate(truth)}, {n: place for n, (place, _, _) in enumerate(truth)}
    )
    labels = torch.tensor([label for _, label, _ in truth], dtype=torch.int64)
    return replace(made, labels=labels, points=torch.ones(3, 5))


def matches_of(frame: Frame, detections: Detections, *, remembered: bool = False) -> FrameMatches:
    return match_in_range(frame, detections, NAMES, RANGE, scene="made", annotated=True, remembered=remembered)


def matched(truth: Sequence[Truth], boxes: list[Box]) -> FrameMatches:
    return matches_of(frame_of(truth), detections_of(boxes))


def test_recall_precision_and_false_boxes_are_those_counted_by_hand() -> None:
    truth = [((0.0, 0.0), CAR, 9), ((5.0, 0.0), CAR, 2), ((0.0, 5.0), PEDESTRIAN, 1)]
    boxes = [((0.5, 0.0), CAR, 0.9), ((8.0, 0.0), CAR, 0.8), ((5.0, 1.9), CAR, 0.4), ((0.0, 5.0), PEDESTRIAN, 0.2)]
    frames = [matched(truth, boxes), matched([], [((0.0, 0.0), CAR, 0.35)])]
    cars = score_frames(frames, 0.3, CAR)
    assert (cars.objects, cars.found, cars.false_boxes, cars.false_per_frame) == (2, 2, 2, 1.0)
    assert (cars.recall, cars.precision) == (1.0, 0.5)
    everything = score_frames(frames, 0.3)
    assert (everything.recall, everything.precision) == (2 / 3, 0.5)
    strict = score_frames(frames, 0.5)
    assert (strict.recall, strict.precision, strict.false_per_frame) == (1 / 3, 0.5, 0.5)


def test_a_box_at_the_threshold_counts() -> None:
    assert score_frames([matched([((0.0, 0.0), CAR, 1)], [((0.0, 0.0), CAR, 0.3)])], 0.3).found == 1


def test_a_second_box_on_an_object_is_false_and_the_better_one_takes_it() -> None:
    frame = matched([((0.0, 0.0), CAR, 1)], [((0.1, 0.0), CAR, 0.5), ((1.0, 0.0), CAR, 0.9)])
    assert frame.match.tolist() == [0, -1]
    assert frame.scores.tolist() == pytest.approx([0.9, 0.5])
    assert score_frames([frame], 0.3).false_boxes == 1


def test_an_object_two_metres_away_is_not_matched() -> None:
    assert matched([((0.0, 0.0), CAR, 1)], [((2.0, 0.0), CAR, 0.9)]).match.tolist() == [-1]


def test_a_box_of_a_class_without_objects_is_false_and_its_recall_is_undefined() -> None:
    frame = matched([((0.0, 0.0), CAR, 1)], [((0.0, 0.0), PEDESTRIAN, 0.9)])
    pedestrians = score_frames([frame], 0.3, PEDESTRIAN)
    assert (pedestrians.false_boxes, pedestrians.precision) == (1, 0.0)
    assert math.isnan(pedestrians.recall)
    assert score_frames([frame], 0.3, CAR).recall == 0.0


def test_objects_and_boxes_outside_the_range_and_objects_without_a_point_do_not_count() -> None:
    truth = [((11.0, 0.0), CAR, 9), ((0.0, 0.0), CAR, 0), ((5.0, 5.0), CAR, 1)]
    frame = matched(truth, [((10.5, 0.0), CAR, 0.9), ((0.0, 0.0), CAR, 0.8), ((5.0, 5.0), CAR, 0.7)])
    score = score_frames([frame], 0.3)
    assert (score.objects, score.found, score.false_boxes) == (1, 1, 1)  # a box on an object without a point is false


def test_well_seen_objects_are_scored_by_themselves_and_boxes_on_others_are_not_false() -> None:
    truth = [((0.0, 0.0), CAR, 5), ((5.0, 0.0), CAR, 4), ((0.0, 5.0), CAR, 8)]
    boxes = [((0.0, 0.0), CAR, 0.9), ((5.0, 0.0), CAR, 0.8), ((-5.0, -5.0), CAR, 0.7)]
    score = score_frames([matched(truth, boxes)], 0.3)
    assert (score.well_seen, score.well_seen_found) == (2, 1)
    assert (score.well_seen_recall, score.well_seen_precision) == (0.5, 0.5)
    assert (score.recall, score.precision) == (2 / 3, 2 / 3)


def test_a_remembered_box_counts_only_if_asked_for() -> None:
    detections = replace(detections_of([((0.0, 0.0), CAR, 0.9)]), observed=torch.tensor([False]))
    frame = frame_of([((0.0, 0.0), CAR, 1)])
    observed_only, everything = matches_of(frame, detections), matches_of(frame, detections, remembered=True)
    assert score_frames([observed_only], 0.3).found == 0
    assert score_frames([everything], 0.3).found == 1
    assert observed_only.remembered_scores.tolist() == everything.remembered_scores.tolist() == pytest.approx([0.9])


def test_heading_errors_turn_the_short_way_round_and_those_of_moving_objects_are_apart() -> None:
    places = [(0.0, 0.0), (5.0, 0.0), (0.0, 5.0), (5.0, 5.0)]
    labels = [CAR, CAR, BARRIER, CONE]
    frame = frame_of([(place, label, 1) for place, label in zip(places, labels, strict=True)])
    detections = detections_of([(place, label, 0.9) for place, label in zip(places, labels, strict=True)])
    frame.boxes[:, 6] = torch.tensor([3.0, 0.0, 0.0, 0.0])
    frame.boxes[1, 7:9] = torch.tensor([0.8, 0.8])
    detections.boxes[:, 6] = torch.tensor([-3.0, math.pi, 3.0, 1.0])
    matches = matches_of(frame, detections)
    expected = [2 * math.pi - 6, math.pi, math.pi - 3]  # a barrier has no front; a cone no heading
    assert matches.heading_errors[:3].tolist() == pytest.approx(expected, abs=1e-5)
    assert matches.heading_errors[3].isnan()
    score = score_frames([matches], 0.3)
    assert score.heading_error == pytest.approx(sum(expected) / 3, abs=1e-5)
    assert score.heading_error_moving == pytest.approx(math.pi, abs=1e-5)
    assert math.isnan(score_frames([matches], 0.95).heading_error)


def test_the_recall_at_a_precision_is_the_highest_over_all_thresholds() -> None:
    truth: list[Truth] = [((-9.0 + 2.5 * n, 0.0), CAR, 1) for n in range(8)]
    hits = [(place, CAR, 0.9 - 0.05 * n) for n, (place, _, _) in enumerate(truth[:7])]
    # false box first: precision 0, 1/2, 2/3 … 6/7 at the sixth hit, 7/8 at the seventh
    curve = precision_recall([matched(truth, [((0.0, 9.0), CAR, 0.95), *hits])], CAR)
    at_precision = curve.recall_at_precision()
    assert at_precision.recall == 7 / 8
    assert at_precision.threshold == pytest.approx(0.6)
    assert curve.precision.tolist() == pytest.approx([n / (n + 1) for n in range(8)])


def test_boxes_of_one_score_are_one_step_of_the_curve() -> None:
    frame = matched([((0.0, 0.0), CAR, 1)], [((0.0, 0.0), CAR, 0.5), ((0.0, 9.0), CAR, 0.5)])
    curve = precision_recall([frame], CAR)
    assert (curve.precision.tolist(), curve.recall.tolist()) == ([0.5], [1.0])
    assert math.isnan(curve.recall_at_precision().recall)


def test_average_precision_is_one_for_perfect_boxes_zero_without_boxes_and_undefined_without_objects() -> None:
    perfect = matched([((0.0, 0.0), CAR, 1)], [((0.0, 0.0), CAR, 0.5)])
    assert precision_recall([perfect], CAR).average_precision() == pytest.approx(1.0)
    assert precision_recall([matched([((0.0, 0.0), CAR, 1)], [])], CAR).average_precision() == 0.0
    assert math.isnan(precision_recall([perfect], PEDESTRIAN).average_precision())


def test_average_precision_is_the_devkits() -> None:
    pytest.importorskip("nuscenes")
    from nuscenes.eval.detection.algo import calc_ap

    from remembev.evaluation.accumulation import MatchedClass

    truth: list[Truth] = [((-9.0 + 2.5 * n, 0.0), CAR, 1) for n in range(8)]
    boxes = [(truth[n][0] if n % 3 else (9.0 - n, 9.0), CAR, 0.95 - 0.1 * n) for n in range(8)]
    frame = matched(truth, boxes)
    unused = dict.fromkeys(("trans_err", "vel_err", "scale_err", "orient_err", "attr_err"), np.zeros(5))
    devkit = MatchedClass([None] * 8, frame.scores.numpy(), frame.match.numpy(), unused)
    data = devkit.curves((frame.scores > 0).numpy(), 8)
    assert precision_recall([frame], CAR).average_precision() == pytest.approx(calc_ap(data, 0.1, 0.1))


def test_false_boxes_are_counted_by_the_age_of_the_stream() -> None:
    truth = [((0.0, 0.0), CAR, 1)]
    streams = [
        [matched(truth, [((0.0, 0.0), CAR, 0.9), *([((9.0, 9.0 - 3.0 * n), CAR, 0.4) for n in range(false)])])
         for false in counts]
        for counts in ([0, 1, 2, 2, 5, 6, 6], [0, 3, 2])
    ]  # fmt: skip
    rows = by_stream_age(streams, 0.3)
    assert [(row.from_frame, row.frames, row.false_boxes, row.boxes) for row in rows] == [
        (1, 2, 0.0, 1.0),
        (2, 2, 2.0, 3.0),
        (3, 4, 11 / 4, 15 / 4),
        (6, 2, 6.0, 7.0),
    ]
    assert [row.recall for row in rows] == [1.0] * 4
    assert [row.false_boxes for row in by_stream_age(streams, 0.5)] == [0.0] * 4


class Hoarder:
    """Detects the car, and one false box more with every frame in its memory."""

    def __init__(self) -> None:
        self.cfg: Config = load_config("tiny")
        self.calls: list[tuple[float, int]] = []
        self.memory = 0

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Detections:
        self.calls.append((timestamp, self.memory))
        false = [((20.0, -30.0 + 5.0 * n), CAR, 0.5) for n in range(self.memory)]
        self.memory += 1
        return detections_of([((0.0, 0.0), CAR, 0.9), *false])

    def reset(self, scene_token: str | None = None) -> None:
        self.memory = 0

    def clear_memory(self, scene_token: str) -> None:
        self.memory = 0


def pair(*, annotated: bool = True) -> Recording:
    frames = [frame_of([((0.0, 0.0), CAR, 1)], time) for time in (0.0, 0.5)]
    return Recording("pair", annotated, lambda _: frames)


def test_frames_are_streamed_in_order_with_or_without_a_memory() -> None:
    detector = Hoarder()
    with_memory = evaluate_frames(detector, [pair(), pair()])
    assert [memory for _, memory in detector.calls] == [0, 1, 0, 1]
    assert with_memory.score(0.3).false_per_frame == 0.5
    assert with_memory.score(0.3).recall == 1.0
    without = evaluate_frames(detector, [pair()], use_memory=False)
    assert [memory for _, memory in detector.calls[4:]] == [0, 0]
    assert without.score(0.3).false_boxes == 0


def test_a_loop_has_the_false_boxes_of_a_long_stream_with_memory_and_without(tmp_path: Path) -> None:
    detector = Hoarder()
    evaluation = evaluate_frames(detector, [pair()], use_memory=False, loop=7)
    assert evaluation.loop is not None
    assert [age.false_boxes for age in evaluation.loop.with_memory] == [0.0, 1.0, 3.0, 5.5]
    assert [age.false_boxes for age in evaluation.loop.without_memory] == [0.0] * 4
    times = [time for time, _ in detector.calls[2:9]]
    assert [after - times[0] for after in times] == pytest.approx([0.5 * n for n in range(7)])
    write_metrics(evaluation, tmp_path)
    assert '"false_boxes": 5.5' in (tmp_path / "metrics.json").read_text()


def printed(recordings: Sequence[Recording], **options: int) -> str:
    text = StringIO()
    Console(file=text, width=120).print(frames_table(evaluate_frames(Hoarder(), recordings, **options)))
    return text.getvalue()


def test_the_tables_show_classes_thresholds_frames_and_ages() -> None:
    text = printed([pair()], loop=7)
    for heading in ("2 annotated frames", "all classes by score", "pair 2", "6 to 7"):
        assert heading in text


def test_without_annotations_boxes_are_counted_and_nothing_is_called_false() -> None:
    evaluation = evaluate_frames(Hoarder(), [pair(annotated=False)], loop=2)
    assert evaluation.annotated == []
    assert evaluation.loop is not None
    assert [age.boxes for age in evaluation.loop.with_memory] == [1.0, 2.0]
    assert all(math.isnan(age.false_boxes) for age in evaluation.loop.with_memory)
    assert evaluation.to_json()["frames"][1]["boxes"]["0.3"] == 2
    assert "annotated frame" not in printed([pair(annotated=False)])


def test_the_metrics_have_every_threshold_and_class() -> None:
    metrics = evaluate_frames(Hoarder(), [pair()], threshold=0.6).to_json()
    assert list(metrics["thresholds"]) == ["0.1", "0.2", "0.3", "0.5", "0.6"]
    assert metrics["thresholds"]["0.3"]["classes"]["car"]["precision"] == pytest.approx(2 / 3)
    assert metrics["thresholds"]["0.6"]["all"]["precision"] == 1.0
    assert metrics["classes"]["pedestrian"]["average_precision"] is None
    assert [frame["thresholds"]["0.3"]["car"]["false_boxes"] for frame in metrics["frames"]] == [0, 1]
