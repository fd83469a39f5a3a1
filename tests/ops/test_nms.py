import pytest
import torch
from torch import Tensor

from remembev.ops import nms, nms_bev, pick_best_first, reference

ALL = 1000


def crowd(count: int, seed: int, spread: float, classes: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 9, generator=generator) * 2 + 0.5
    boxes[:, :2] = torch.randn(count, 2, generator=generator) * spread
    boxes[:, 3] *= 2
    boxes[:, 6] *= 3
    return boxes, torch.rand(count, generator=generator), torch.randint(classes, (count,), generator=generator)


def rows(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same boxes, a row for each class, best first, with a few more that are none; and their numbers."""
    order = scores.argsort(descending=True, stable=True)
    of_class = [order[labels[order] == k] for k in range(classes)]
    index = torch.full((classes, 3 + max(len(one) for one in of_class)), -1)
    for row, one in zip(index, of_class, strict=True):
        row[: len(one)] = one
    return boxes[index], index >= 0, index


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [0.5, 3.0, 15.0])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("limit", [3, ALL])
def test_both_forms_keep_what_a_greedy_loop_keeps(
    seed: int, spread: float, threshold: float, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nms, "_TILE", 16)
    boxes, scores, labels = crowd(60, seed, spread, classes=3)
    expected = reference.nms_bev(boxes, scores, labels, threshold, limit).tolist()
    assert nms_bev(boxes, scores, labels, threshold, limit).tolist() == expected
    by_class, valid, index = rows(boxes, scores, labels, 3)
    picked = pick_best_first(by_class, valid, threshold, limit)
    assert picked.shape == (3, limit)
    for k in range(3):
        found = index[k, picked[k, picked[k] >= 0]].tolist()
        assert found == [kept for kept in expected if labels[kept] == k]


@pytest.mark.parametrize("tile", [1, 7, 512])
def test_the_size_of_a_tile_changes_nothing(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, labels = crowd(700, 0, 3.0, classes=4)
    whole = nms_bev(boxes, scores, labels, 0.2, 30)
    monkeypatch.setattr(nms, "_TILE", tile)
    assert torch.equal(nms_bev(boxes, scores, labels, 0.2, 30), whole)


def test_a_suppressed_box_suppresses_nothing() -> None:
    boxes = torch.tensor([[x, 0.0, 0.0, 4.0, 2.0, 1.0, 0.0] for x in (0.0, 2.0, 4.0)])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert nms_bev(boxes, scores, torch.zeros(3, dtype=torch.int64), 0.2, ALL).tolist() == [0, 2]
    assert pick_best_first(boxes[None], torch.ones(1, 3, dtype=torch.bool), 0.2, 3).tolist() == [[0, 2, -1]]


def test_of_equal_scores_the_earlier_box_is_the_better() -> None:
    boxes, _, labels = crowd(200, 0, 3.0)
    kept = nms_bev(boxes, torch.full((200,), 0.5), labels, 0.2, ALL)
    assert torch.equal(kept, reference.nms_bev(boxes, torch.arange(200, 0, -1), labels, 0.2, ALL))


def test_classes_ignore_each_other() -> None:
    box = torch.tensor([[0.0, 0.0, 0.0, 4.0, 2.0, 1.0, 0.0]])
    assert nms_bev(box.repeat(2, 1), torch.tensor([0.5, 0.9]), torch.tensor([3, 7]), 0.1, ALL).tolist() == [1, 0]


def test_boxes_that_touch_do_not_overlap() -> None:
    boxes = torch.tensor([[30.0 + 4 * k, -20.0, 0.0, 4.0, 2.0, 1.0, 0.0] for k in range(5)])
    assert len(nms_bev(boxes, torch.rand(5), torch.zeros(5, dtype=torch.int64), 0.0, ALL)) == 5


def test_a_box_of_no_number_is_neither_suppressed_nor_suppresses() -> None:
    boxes = crowd(3, 0, 0.1)[0]
    boxes[1, 3] = torch.nan
    kept = nms_bev(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64), 0.0, ALL)
    assert kept.tolist() == [0, 1]
    assert pick_best_first(boxes[None], torch.ones(1, 3, dtype=torch.bool), 0.0, 3).tolist() == [[0, 1, -1]]


def test_no_boxes_leave_no_boxes() -> None:
    empty = torch.zeros(0, 9)
    assert nms_bev(empty, torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.2, ALL).tolist() == []
    nobody = torch.zeros(2, 5, dtype=torch.bool)
    assert pick_best_first(torch.ones(2, 5, 9), nobody, 0.2, 3).tolist() == [[-1] * 3] * 2
