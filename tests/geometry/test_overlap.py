import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon

from remembev.geometry import bev_corners, iou_aligned, iou_bev, pairwise_iou_bev
from remembev.geometry.overlap import intersection_bev

boxes = st.builds(
    lambda x, y, length, width, yaw: torch.tensor([x, y, 0.0, length, width, 1.0, yaw], dtype=torch.float64),
    st.floats(-4, 4),
    st.floats(-4, 4),
    st.floats(0.1, 10),
    st.floats(0.1, 10),
    st.one_of(st.floats(-7, 7), st.sampled_from([0.0, math.pi / 2, -math.pi / 2, math.pi, 1.57])),
)


def shapely_intersection(first: torch.Tensor, second: torch.Tensor) -> float:
    outlines = [Polygon(bev_corners(box).tolist()) for box in (first, second)]
    return float(outlines[0].intersection(outlines[1]).area)


@given(boxes, boxes)
def test_the_intersection_area_equals_shapelys(first: torch.Tensor, second: torch.Tensor) -> None:
    shared = intersection_bev(first, second).item()
    assert shared == pytest.approx(shapely_intersection(first, second), abs=3e-6)


@given(boxes, boxes)
def test_overlap_is_symmetric(first: torch.Tensor, second: torch.Tensor) -> None:
    assert iou_bev(first, second).item() == pytest.approx(iou_bev(second, first).item(), abs=1e-5)


@given(boxes, st.integers(-3, 3))
def test_a_box_overlaps_itself_fully_after_half_turns(box: torch.Tensor, half_turns: int) -> None:
    turned = box.clone()
    turned[6] += half_turns * math.pi
    assert iou_bev(box, turned).item() == pytest.approx(1.0, abs=1e-5)


def test_touching_boxes_do_not_overlap() -> None:
    left = torch.tensor([0.0, 0.0, 0.0, 4.0, 2.0, 1.0, 0.0])
    right = torch.tensor([0.0, 2.0, 0.0, 4.0, 2.0, 1.0, math.pi])
    assert iou_bev(left, right).item() == pytest.approx(0.0, abs=1e-6)


def test_separate_boxes_have_an_intersection_of_exactly_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    crowd = torch.rand(300, 7, generator=generator) * torch.tensor([80.0, 80, 1, 5, 3, 2, 6])
    distance = torch.cdist(crowd[:, :2], crowd[:, :2])
    radius = crowd[:, 3:5].norm(dim=-1) / 2
    apart = distance > radius[:, None] + radius[None, :]
    assert (pairwise_iou_bev(crowd, crowd)[apart] == 0).all()


def test_overlap_is_exact_far_from_the_origin() -> None:
    first = torch.tensor([5000.0, -3000.0, 0.0, 4.0, 2.0, 1.0, 0.3], dtype=torch.float64)
    second = first + torch.tensor([0.5, 0.2, 0, 0, 0, 0, 0.4], dtype=torch.float64)
    shift = torch.tensor([5000.0, -3000.0, 0, 0, 0, 0, 0], dtype=torch.float64)
    assert iou_bev(first, second).item() == pytest.approx(iou_bev(first - shift, second - shift).item(), abs=1e-9)


def test_pairwise_overlap_compares_every_box_with_every_other() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(count, 7, generator=generator) * 4 + 0.2 for count in (3, 4))
    every = pairwise_iou_bev(first, second)
    assert every.shape == (3, 4)
    for row in range(3):
        for column in range(4):
            assert every[row, column].item() == pytest.approx(iou_bev(first[row], second[column]).item())


@given(boxes, boxes)
def test_iou_aligned_equals_iou_bev_at_yaw_zero(first: torch.Tensor, second: torch.Tensor) -> None:
    upright = torch.stack((first, second))
    upright[:, 6] = 0
    half = upright[:, 3:5] / 2
    rectangles = torch.cat((upright[:, :2] - half, upright[:, :2] + half), dim=1)
    aligned = iou_aligned(rectangles[:1], rectangles[1:]).item()
    assert aligned == pytest.approx(iou_bev(upright[0], upright[1]).item(), abs=1e-5)
