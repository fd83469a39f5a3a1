import pytest
import torch

from remembev.geometry import iou_bev, nms_bev


def crowd(count: int, seed: int, spread: float, classes: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 9, generator=generator) * 2 + 0.5
    boxes[:, :2] = torch.randn(count, 2, generator=generator) * spread
    boxes[:, 3] *= 2
    boxes[:, 6] *= 3
    return boxes, torch.rand(count, generator=generator), torch.randint(classes, (count,), generator=generator)


def greedy_nms(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, threshold: float) -> list[int]:
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        rivals = [other for other in kept if labels[other] == labels[index]]
        if all(iou_bev(boxes[index], boxes[other]).item() <= threshold for other in rivals):
            kept.append(index)
    return kept


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.5, 3.0, 15.0])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.6])
def test_it_keeps_what_a_greedy_loop_keeps(seed: int, spread: float, threshold: float) -> None:
    boxes, scores, labels = crowd(60, seed, spread, classes=3)
    assert nms_bev(boxes, scores, labels, threshold).tolist() == greedy_nms(boxes, scores, labels, threshold)


def test_a_suppressed_box_suppresses_nothing() -> None:
    boxes = torch.tensor([[x, 0.0, 0.0, 4.0, 2.0, 1.0, 0.0] for x in (0.0, 2.0, 4.0)])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert nms_bev(boxes, scores, torch.zeros(3, dtype=torch.int64), 0.2).tolist() == [0, 2]


def test_classes_ignore_each_other() -> None:
    box = torch.tensor([[0.0, 0.0, 0.0, 4.0, 2.0, 1.0, 0.0]])
    assert nms_bev(box.repeat(2, 1), torch.tensor([0.5, 0.9]), torch.tensor([3, 7]), 0.1).tolist() == [1, 0]


def test_no_boxes_leave_no_boxes() -> None:
    empty = torch.zeros(0, 9)
    assert nms_bev(empty, torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.2).tolist() == []
