import pytest
import torch

from remembev.config.schema import NMSConfig, PostProcessingConfig
from remembev.models import Detections
from remembev.models.post_processing import select_candidates, suppress, top_per_class


def post(pre: int = 1000, most: int = 83, score: float = 0.1) -> PostProcessingConfig:
    return PostProcessingConfig(
        SCORE_THRESH=score, NMS_CONFIG=NMSConfig(NMS_THRESH=0.2, NMS_PRE_MAXSIZE=pre, NMS_POST_MAXSIZE=most)
    )


def row_of_boxes(count: int, labels: list[int]) -> Detections:
    boxes = torch.tensor([[10.0 * k, 0, 0, 4, 2, 1.5, 0, 0, 0] for k in range(count)])
    return Detections(boxes, torch.linspace(0.2, 0.9, count), torch.tensor(labels))


def test_scores_below_the_threshold_are_no_candidates() -> None:
    logits = torch.tensor([[0.1, 0.05], [0.3, 0.2], [0.0999, 0.9]]).logit()
    anchor, class_index, score = select_candidates(logits, post())
    assert class_index.tolist() == [0, 0, 1, 1]
    assert anchor.tolist() == [0, 1, 1, 2]
    torch.testing.assert_close(score, torch.tensor([0.1, 0.3, 0.2, 0.9]))


@pytest.mark.parametrize("threshold", [0.0, 1e-7, 0.1, 0.5, 0.9995, 1.0])
@pytest.mark.parametrize("anchors", [13, 64, 4096])
def test_skipped_blocks_score_too_low(threshold: float, anchors: int) -> None:
    exactly = torch.tensor(threshold).logit().clamp(-20, 20)
    logits = exactly + torch.randn(anchors, 2, generator=torch.Generator().manual_seed(0)) * 10.0 ** -torch.arange(
        2, 8, 3
    )
    logits[::3] -= 5
    anchor, class_index, _ = select_candidates(logits, post(pre=10000, score=threshold))
    expected = (logits.sigmoid().T >= threshold).nonzero()
    assert torch.equal(torch.stack((class_index, anchor), dim=1), expected)


def logits(anchors: int, classes: int) -> torch.Tensor:
    """Of bfloat16, so that there are equal ones."""
    return torch.randn(anchors, classes, generator=torch.Generator().manual_seed(0)).bfloat16()


def test_each_class_keeps_its_best_candidates_and_of_equal_ones_the_first() -> None:
    many = logits(500, 3)
    anchor, class_index, score = select_candidates(many, post(pre=70))
    for k in range(3):
        best = many[:, k].float().sort(descending=True, stable=True).indices[:70]
        assert anchor[class_index == k].tolist() == best.tolist()
    assert torch.equal(score, many[anchor, class_index].float().sigmoid())


def test_candidates_in_fixed_shapes_equal_those_of_one_frame() -> None:
    many = logits(500, 3)
    anchor, score = top_per_class(many[None], post(pre=70))
    expected, class_index, scores = select_candidates(many, post(pre=70))
    for k in range(3):
        assert torch.equal(anchor[0, k], expected[class_index == k])
        assert torch.equal(score[0, k], scores[class_index == k])


def test_classes_with_fewer_anchors_are_padded_with_low_scores() -> None:
    _, score = top_per_class(logits(5, 2)[None], post(pre=8, score=0.0))
    assert (score[..., :5] > 0).all()
    assert (score[..., 5:] < 0).all()


def test_each_class_has_its_own_limit_of_detections() -> None:
    kept = suppress(row_of_boxes(8, [0, 0, 0, 0, 1, 1, 1, 2]), post(most=2))
    assert kept.labels.tolist() == [2, 1, 1, 0, 0]
    assert kept.scores.tolist() == sorted(kept.scores.tolist(), reverse=True)
    assert kept.boxes[:, 0].tolist() == [70.0, 60.0, 50.0, 30.0, 20.0]


def test_the_best_of_overlapping_boxes_of_a_class_stays() -> None:
    boxes = row_of_boxes(1, [0]).boxes.repeat(3, 1)
    kept = suppress(Detections(boxes, torch.tensor([0.3, 0.8, 0.5]), torch.tensor([0, 0, 4])), post())
    assert kept.labels.tolist() == [0, 4]
    assert kept.scores.tolist() == [torch.tensor(0.8).item(), 0.5]


def test_no_candidates_give_no_boxes() -> None:
    kept = suppress(row_of_boxes(1, [0])[torch.tensor([], dtype=torch.int64)], post())
    assert len(kept) == 0
    assert kept.boxes.shape == (0, 9)
