"""What goes with the boxes of a frame when they are indexed or moved."""

from __future__ import annotations

import torch

from remembev.models import Detections

BOXES, SCORES, LABELS = torch.rand(3, 9), torch.tensor([0.9, 0.5, 0.25]), torch.tensor([0, 1, 1])


def test_indexing_keeps_observed() -> None:
    detections = Detections(BOXES, SCORES, LABELS, observed=torch.tensor([True, False, True]))
    chosen = detections[torch.tensor([2, 1])]
    assert torch.equal(chosen.boxes, BOXES[[2, 1]])
    assert torch.equal(chosen.velocities, BOXES[[2, 1], 7:])
    assert chosen.observed is not None
    assert chosen.observed.tolist() == [True, False]
    assert chosen.remembered.tolist() == [False, True]
    assert torch.equal(detections.to("cpu").remembered, torch.tensor([False, True, False]))


def test_indexing_keeps_tracks() -> None:
    ids, coasted = torch.tensor([7, -1, 3]), torch.tensor([False, False, True])
    chosen = Detections(BOXES, SCORES, LABELS, track_ids=ids, coasted=coasted)[torch.tensor([2, 0])]
    assert chosen.track_ids is not None
    assert chosen.coasted is not None
    assert (chosen.track_ids.tolist(), chosen.coasted.tolist()) == ([3, 7], [True, False])
    assert Detections(BOXES, SCORES, LABELS)[ids > 0].track_ids is None


def test_without_a_check_no_box_counts_as_remembered() -> None:
    detections = Detections(BOXES, SCORES, LABELS)
    for kept in (detections, detections[SCORES > 0.4], detections.to("cpu")):
        assert kept.observed is None
        assert kept.remembered.tolist() == [False] * len(kept)
    assert Detections.empty().remembered.tolist() == []
