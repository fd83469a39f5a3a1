"""Scores of an occupancy, against slow and obvious counts."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.annotated import RANGE, frame

from remembev.evaluation.observability import FrameObservability, Observability, track_observability
from remembev.evaluation.occupancy import average_precision, observability_cells, roc_auc, score_occupancy
from remembev.geometry import BEVGrid

GRID = BEVGrid(-10.0, -10.0, 10.0, 10.0, 10, 10)
scores = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), max_size=12)


def test_a_cell_of_several_objects_counts_as_the_one_that_is_seen_best() -> None:
    places = [(-9.0, -9.0), (-9.0, -9.0), (1.0, -9.0)]
    levels = torch.tensor([Observability.HIDDEN, Observability.FAINT, Observability.UNSEEN])
    cells = observability_cells(
        FrameObservability(frame(0, dict.fromkeys(range(3), 0), dict(enumerate(places))), levels, torch.zeros(3)), GRID
    )
    expected = torch.full((10, 10), int(Observability.FREE), dtype=torch.int8)
    expected[0, 0], expected[0, 5] = Observability.FAINT, Observability.UNSEEN
    assert torch.equal(cells, expected)


def test_a_frame_without_objects_is_free() -> None:
    (empty,) = track_observability([frame(0, {})], RANGE)
    assert (observability_cells(empty, GRID) == Observability.FREE).all()


@given(scores, scores)
def test_roc_auc_is_the_share_of_pairs_in_order_with_ties_counted_half(good: list[float], bad: list[float]) -> None:
    auc = roc_auc(torch.tensor(good), torch.tensor(bad))
    if not good or not bad:
        assert math.isnan(auc)
        return
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(good, bad)]
    assert auc == pytest.approx(sum(wins) / len(wins), abs=1e-12)


@given(scores, scores)
def test_average_precision_sums_precision_times_gain_in_recall(good: list[float], bad: list[float]) -> None:
    precision = average_precision(torch.tensor(good), torch.tensor(bad))
    if not good:
        assert math.isnan(precision)
        return
    area = recalled = 0.0
    for threshold in sorted({*good, *bad}, reverse=True):
        hits, false = sum(p >= threshold for p in good), sum(n >= threshold for n in bad)
        area += hits / (hits + false) * (hits / len(good) - recalled)
        recalled = hits / len(good)
    assert precision == pytest.approx(area, abs=1e-12)


def split_of() -> list[FrameObservability]:
    """A scene of nine objects, three in sight, three hidden, three unseen."""
    points = dict.fromkeys(range(6), 9) | {6: 0, 7: 0, 8: 0}
    later = {track: 9 * (track < 3) for track in range(9)}
    return track_observability([frame(0, points), frame(1, later)], RANGE)


def test_an_occupancy_of_visible_objects_scores_below_one_that_remembers() -> None:
    frames = split_of()
    present = [(observability_cells(frame, GRID) == Observability.SEEN).float() for frame in frames]
    remembered = [(observability_cells(frame, GRID) >= Observability.HIDDEN).float() for frame in frames]
    visible, memory = (score_occupancy(frames, maps, GRID) for maps in (present, remembered))
    assert (visible.auc_seen, visible.auc_hidden, visible.auc_unseen) == (1.0, 0.5, 0.5)
    assert (memory.auc_seen, memory.auc_hidden, memory.auc_unseen) == (1.0, 1.0, 0.5)
    assert visible.occupancy_ap < memory.occupancy_ap < 1.0


def test_a_detector_without_an_occupancy_has_no_score() -> None:
    assert score_occupancy(split_of(), [], GRID) is None
