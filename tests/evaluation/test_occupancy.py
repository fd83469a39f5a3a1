"""How well an occupancy tells objects in and out of sight from free space, against slow and obvious counts."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.sights import RANGE, frame

from remembev.evaluation.observability import FrameObservability, Observability, track_observability
from remembev.evaluation.occupancy import average_precision, observability_cells, roc_auc, score_occupancy
from remembev.geometry import BEVGrid

GRID = BEVGrid(-10.0, -10.0, 10.0, 10.0, 10, 10)
scores = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), max_size=12)


def test_a_cell_of_several_objects_counts_as_the_one_that_is_seen_best() -> None:
    places = [(-9.0, -9.0), (-9.0, -9.0), (1.0, -9.0)]
    sight = torch.tensor([Observability.HIDDEN, Observability.FAINT, Observability.UNSEEN])
    cells = observability_cells(
        FrameObservability(frame(0, dict.fromkeys(range(3), 0), dict(enumerate(places))), sight, torch.zeros(3)), GRID
    )
    expected = torch.full((10, 10), int(Observability.FREE))
    expected[0, 0], expected[0, 5] = Observability.FAINT, Observability.UNSEEN
    assert torch.equal(cells, expected)


def test_a_frame_without_objects_is_free() -> None:
    (empty,) = track_observability([frame(0, {})], RANGE)
    assert (observability_cells(empty, GRID) == Observability.FREE).all()


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


def split_of() -> list[FrameObservability]:
    """A scene of nine objects, three in sight, three hidden, three unseen."""
    points = dict.fromkeys(range(6), 9) | {6: 0, 7: 0, 8: 0}
    later = {track: 9 * (track < 3) for track in range(9)}
    return track_observability([frame(0, points), frame(1, later)], RANGE)


def test_an_occupancy_that_knows_only_what_is_in_sight_is_told_from_one_that_remembers() -> None:
    frames = split_of()
    present = [(observability_cells(one, GRID) == Observability.SEEN).float() for one in frames]
    remembered = [(observability_cells(one, GRID) >= Observability.HIDDEN).float() for one in frames]
    one, other = (score_occupancy(frames, shown, GRID) for shown in (present, remembered))
    assert (one.auc_seen, one.auc_hidden, one.auc_unseen) == (1.0, 0.5, 0.5)
    assert (other.auc_seen, other.auc_hidden, other.auc_unseen) == (1.0, 1.0, 0.5)
    assert one.occupancy_ap < other.occupancy_ap < 1.0


def test_a_detector_without_an_occupancy_has_no_score() -> None:
    assert score_occupancy(split_of(), [], GRID) is None
