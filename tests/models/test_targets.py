import pytest
import torch

from remembev.config.schema import AnchorConfig
from remembev.geometry import BEVGrid, iou_aligned, nearest_aligned_bev
from remembev.models.anchors import AnchorGrid
from remembev.models.targets import BACKGROUND, IGNORED, AxisAlignedTargetAssigner, match_anchors

GRID = BEVGrid(-10.0, -10.0, 10.0, 10.0, 20, 20)
CONFIGS = tuple(
    AnchorConfig(
        class_name=name,
        anchor_sizes=(size,),
        anchor_bottom_heights=(-1.0,),
        matched_threshold=matched,
        unmatched_threshold=0.45,
    )
    for name, size, matched in (("car", (4.0, 2.0, 1.5), 0.6), ("pedestrian", (0.9, 0.8, 1.7), 0.5))
)


def scene(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 2, (count,), generator=generator)
    boxes = torch.randn(count, 9, generator=generator)
    boxes[:, :2] *= 6
    sizes = torch.tensor([[4.0, 2.0, 1.5], [0.9, 0.8, 1.7], [1.0, 1.0, 1.0]])[labels]
    boxes[:, 3:6] = sizes * (0.8 + 0.4 * torch.rand(count, 3, generator=generator))
    return boxes, labels


def assign_one_by_one(
    anchors: AnchorGrid, boxes: torch.Tensor, labels: torch.Tensor, min_size: float
) -> list[tuple[int, int | None]]:
    """(label, row of the ground truth or None) of every anchor, as OpenPCDet's rules say, a number at a time."""
    result: list[tuple[int, int | None]] = []
    boxes, every_anchor = (
        torch.cat((rows[:, :3], rows[:, 3:5].maximum(torch.tensor(min_size)), rows[:, 5:]), dim=1)
        for rows in (boxes, anchors.boxes(torch.arange(len(anchors))))
    )
    of_all_classes = nearest_aligned_bev(every_anchor).split(len(anchors) // 2)
    for class_index, (cfg, of_class) in enumerate(zip(CONFIGS, of_all_classes, strict=True)):
        rows = [row for row in range(len(labels)) if labels[row] == class_index]
        overlap = iou_aligned(of_class, nearest_aligned_bev(boxes[rows])).tolist()
        most_of_box = [max(line[column] for line in overlap) for column in range(len(rows))]
        for line in overlap:
            if not rows:
                result.append((BACKGROUND, None))
                continue
            best = line.index(max(line))
            is_best_of_a_box = any(value == most > 0 for value, most in zip(line, most_of_box, strict=True))
            if line[best] >= cfg.matched_threshold or is_best_of_a_box:
                result.append((class_index, rows[best]))
            else:
                result.append((BACKGROUND if line[best] < cfg.unmatched_threshold else IGNORED, None))
    return result


@pytest.mark.parametrize("count", [0, 1, 5, 40])
@pytest.mark.parametrize(("seed", "min_size"), [(0, 0.0), (1, 0.0), (2, 1.0), (3, 2.5)])
def test_matching_equals_a_loop_over_the_rules(count: int, seed: int, min_size: float) -> None:
    anchors = AnchorGrid(CONFIGS, GRID)
    samples = [scene(seed, count), scene(seed + 100, count)]
    boxes, labels = (torch.stack(parts) for parts in zip(*samples, strict=True))
    targets = AxisAlignedTargetAssigner(anchors, CONFIGS, min_size).assign(boxes, labels)
    positives = iter(range(len(targets.sample)))
    for sample in range(2):
        for anchor, (label, row) in enumerate(assign_one_by_one(anchors, boxes[sample], labels[sample], min_size)):
            assert targets.labels[sample, anchor] == label
            if row is not None:
                positive = next(positives)
                assert (targets.sample[positive], targets.anchor[positive]) == (sample, anchor)
                assert torch.equal(targets.boxes[positive], boxes[sample, row])
    assert next(positives, None) is None


def test_the_best_anchor_of_a_box_is_positive_even_below_the_threshold() -> None:
    assert match_anchors(torch.tensor([[0.1], [0.2], [0.0]]), 0.6, 0.45).tolist() == [BACKGROUND, 0, BACKGROUND]


def test_anchors_between_the_thresholds_are_ignored() -> None:
    overlap = torch.tensor([[0.7], [0.5], [0.45], [0.44], [0.6]])
    assert match_anchors(overlap, 0.6, 0.45).tolist() == [0, IGNORED, IGNORED, BACKGROUND, 0]


def test_a_box_that_touches_no_anchor_has_none() -> None:
    assert match_anchors(torch.tensor([[0.7, 0.0], [0.1, 0.0]]), 0.6, 0.45).tolist() == [0, BACKGROUND]


def test_the_best_anchor_of_one_box_goes_to_the_box_it_overlaps_most() -> None:
    assert match_anchors(torch.tensor([[0.3, 0.4], [0.0, 0.5]]), 0.6, 0.45).tolist() == [1, 1]


def test_a_box_takes_anchors_of_its_own_class_only() -> None:
    anchors = AnchorGrid(CONFIGS, GRID)
    boxes = torch.tensor([[[0.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0, 0.0, 0.0]]])
    targets = AxisAlignedTargetAssigner(anchors, CONFIGS).assign(boxes, torch.tensor([[0]]))
    assert (targets.anchor < len(anchors) // 2).all()
    assert (targets.labels[0, len(anchors) // 2 :] == BACKGROUND).all()


def test_an_object_smaller_than_a_cell_has_both_anchors_of_its_cell_wherever_it_stands() -> None:
    (cone,) = (CONFIGS[1].model_copy(update={"anchor_sizes": ((0.4, 0.4, 1.0),)}),)
    anchors = AnchorGrid([cone], GRID)
    where = torch.rand(50, 1, 9, generator=torch.Generator().manual_seed(0)) * 16 - 8
    where[..., 3:] = torch.tensor([0.4, 0.4, 1.0, 0.3, 0.0, 0.0])
    labels = torch.zeros(50, 1, dtype=torch.long)
    plain = AxisAlignedTargetAssigner(anchors, [cone]).assign(where, labels)
    widened = AxisAlignedTargetAssigner(anchors, [cone], 2.0).assign(where, labels)
    counts = torch.bincount(widened.sample, minlength=50)
    assert (torch.bincount(plain.sample, minlength=50) == 0).any()
    assert (counts >= 2).all()
    assert (counts % 2 == 0).all()  # each place has two: one along x and one along y
    places = anchors.boxes(widened.anchor)[:, :2]
    assert (places - widened.boxes[:, :2]).abs().max() < 1.1
