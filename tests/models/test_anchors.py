import pytest
import torch

from remembev.config import load_config
from remembev.config.schema import AnchorConfig
from remembev.geometry import BEVGrid, iou_aligned, nearest_aligned_bev
from remembev.models.anchors import AnchorGrid

GRID = BEVGrid(-8.0, -4.0, 8.0, 4.0, 6, 12)


def anchor_config(
    name: str = "car", size: tuple[float, float, float] = (4.0, 2.0, 1.5), **kwargs: object
) -> AnchorConfig:
    values = {"anchor_bottom_heights": (-1.0,), "matched_threshold": 0.6, "unmatched_threshold": 0.45, **kwargs}
    return AnchorConfig.model_validate({"class_name": name, "anchor_sizes": (size,), **values})


def all_boxes(anchors: AnchorGrid) -> torch.Tensor:
    return anchors.boxes(torch.arange(len(anchors)))


def test_published_anchors_span_the_range_off_the_cell_centres() -> None:
    cfg = load_config("nuscenes")
    car = next(entry for entry in cfg.MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG if entry.class_name == "car")
    anchors = AnchorGrid([car], cfg.feature_grid)
    assert anchors.shape == (2, 128, 128)
    boxes = all_boxes(anchors).view(2, 128, 128, 7)
    steps = torch.linspace(-51.2, 51.2, 128)
    torch.testing.assert_close(boxes[0, 5, :, 0], steps)
    torch.testing.assert_close(boxes[1, :, 7, 1], steps)
    assert boxes[1, 3, 4, 2:].tolist() == pytest.approx([-0.95 + 1.74 / 2, 4.63, 1.97, 1.74, 1.57])


def test_anchors_are_ordered_by_class_size_rotation_height_row_and_column() -> None:
    first = anchor_config(anchor_sizes=((4, 2, 2), (5, 2, 2)), anchor_bottom_heights=(-1.0, 0.0))
    anchors = AnchorGrid([first, anchor_config(size=(1.0, 1.0, 2.0))], GRID)
    expected = [(length, yaw, z) for length in (4.0, 5.0) for yaw in (0.0, 1.57) for z in (0.0, 1.0)]
    expected += [(1.0, 0.0, 0.0), (1.0, 1.57, 0.0)]
    torch.testing.assert_close(anchors.templates[:, [1, 4, 0]], torch.tensor(expected))
    assert anchors.class_templates == [slice(0, 8), slice(8, 10)]
    boxes = all_boxes(anchors).view(10, 6, 12, 7)
    assert (boxes[:, :, 1:, 0] > boxes[:, :, :-1, 0]).all()
    assert (boxes[:, 1:, :, 1] > boxes[:, :-1, :, 1]).all()


def test_aligned_anchors_lie_on_cell_centres() -> None:
    boxes = all_boxes(AnchorGrid([anchor_config(align_center=True)], GRID)).view(2, 6, 12, 7)
    torch.testing.assert_close(boxes[0, ..., :2], GRID.centres())


@pytest.mark.parametrize("seed", range(5))
def test_no_anchor_that_overlaps_a_box_is_missed(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(4, 9, generator=generator) * 3 + 0.3
    gt[:, :2] = gt[:, :2] * 6 - 10
    gt[:, 6] *= 2
    anchors = AnchorGrid([anchor_config(), anchor_config(size=(0.8, 0.7, 1.7))], GRID)
    overlap = iou_aligned(nearest_aligned_bev(all_boxes(anchors)), nearest_aligned_bev(gt)).sum(dim=1)
    for class_index, numbers in enumerate((range(144), range(144, 288))):
        touching = anchors.touching(class_index, gt).tolist()
        overlapping = [number for number in numbers if overlap[number] > 1e-6]
        assert overlapping
        assert set(overlapping) <= set(touching) <= set(numbers)
        assert touching == sorted(touching)
        assert len(touching) < 2 * len(overlapping) + 10


def test_no_boxes_touch_no_anchors() -> None:
    assert AnchorGrid([anchor_config()], GRID).touching(0, torch.zeros(0, 9)).shape == (0,)
