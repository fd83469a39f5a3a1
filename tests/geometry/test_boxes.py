import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.geometry import (
    bev_corners,
    box_corners,
    make_pose,
    nearest_aligned_bev,
    points_in_boxes,
    transform_boxes,
    transform_points,
    wrap_angle,
)


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 9, generator=generator, dtype=torch.float64)
    low = torch.tensor([-40, -40, -2, 0.4, 0.4, 0.5, -7, -9, -9], dtype=torch.float64)
    high = torch.tensor([40, 40, 1, 9, 3, 4, 7, 9, 9], dtype=torch.float64)
    return low + uniform * (high - low)


def yaw_pose(yaw: float, translation: tuple[float, float, float]) -> torch.Tensor:
    return make_pose(translation, (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)))


@given(st.floats(-1000, 1000))
def test_a_wrapped_angle_is_the_same_direction_in_minus_pi_to_pi(angle: float) -> None:
    wrapped = wrap_angle(torch.tensor(angle, dtype=torch.float64)).item()
    assert -math.pi <= wrapped < math.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-9)
    assert math.sin(wrapped) == pytest.approx(math.sin(angle), abs=1e-9)


def test_corners_go_counter_clockwise_from_the_front_left() -> None:
    box = torch.tensor([[10.0, 0.0, 1.0, 4.0, 2.0, 2.0, math.pi / 2]])
    expected = torch.tensor([[[9.0, 2.0], [9.0, -2.0], [11.0, -2.0], [11.0, 2.0]]])
    torch.testing.assert_close(bev_corners(box), expected)


def test_box_corners_are_the_bev_corners_at_bottom_and_top() -> None:
    boxes = random_boxes(6)
    corners = box_corners(boxes)
    torch.testing.assert_close(corners[:, :4, :2], bev_corners(boxes))
    torch.testing.assert_close(corners[:, 4:, :2], bev_corners(boxes))
    torch.testing.assert_close(corners[:, :4, 2], (boxes[:, 2] - boxes[:, 5] / 2)[:, None].expand(-1, 4))
    torch.testing.assert_close(corners[:, 4:, 2], (boxes[:, 2] + boxes[:, 5] / 2)[:, None].expand(-1, 4))


def test_points_in_boxes_agrees_with_coordinates_in_the_box_frame() -> None:
    boxes = random_boxes(20, seed=1)
    share = torch.rand(20, 50, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 1.6 - 0.8
    for box, local in zip(boxes, share * boxes[:, None, 3:6], strict=True):
        points = transform_points(yaw_pose(box[6].item(), tuple(box[:3].tolist())), local)
        expected = (local.abs() <= box[3:6] / 2).all(dim=-1)
        assert torch.equal(points_in_boxes(points, box[None])[0], expected)


@given(st.floats(-10, 10))
def test_the_nearest_axis_is_less_than_an_eighth_turn_away(yaw: float) -> None:
    x1, y1, x2, y2 = nearest_aligned_bev(torch.tensor([3.0, 4.0, 0.0, 6.0, 2.0, 1.0, yaw])).tolist()
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((3.0, 4.0))
    along_x = abs(math.cos(yaw)) >= abs(math.sin(yaw)) - 1e-6
    along_y = abs(math.sin(yaw)) >= abs(math.cos(yaw)) - 1e-6
    extent = (pytest.approx(x2 - x1), pytest.approx(y2 - y1))
    assert (along_x and extent == (6.0, 2.0)) or (along_y and extent == (2.0, 6.0))


@given(
    turn=st.floats(-4, 4),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(-2, 2)),
    scale=st.floats(0.5, 2.0),
    mirror=st.sampled_from([(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)]),
)
def test_transforming_a_box_transforms_its_corners_heading_and_velocity(
    turn: float, shift: tuple[float, float, float], scale: float, mirror: tuple[float, float]
) -> None:
    boxes = random_boxes(5, seed=3)
    transform = yaw_pose(turn, shift) @ torch.diag(
        torch.tensor([mirror[0] * scale, mirror[1] * scale, scale, 1.0], dtype=torch.float64)
    )
    moved = transform_boxes(transform, boxes)

    corners = transform_points(transform, box_corners(boxes))
    distance = torch.cdist(box_corners(moved), corners)
    torch.testing.assert_close(distance.amin(dim=-1), torch.zeros_like(distance[..., 0]), atol=1e-7, rtol=0)

    ahead = boxes[:, :3] + torch.stack((boxes[:, 6].cos(), boxes[:, 6].sin(), torch.zeros(5, dtype=torch.float64)), -1)
    heading = transform_points(transform, ahead) - moved[:, :3]
    torch.testing.assert_close(heading[:, 0], scale * moved[:, 6].cos(), atol=1e-9, rtol=0)
    torch.testing.assert_close(heading[:, 1], scale * moved[:, 6].sin(), atol=1e-9, rtol=0)

    later = boxes[:, :3] + torch.nn.functional.pad(boxes[:, 7:9], (0, 1))
    travelled = transform_points(transform, later) - moved[:, :3]
    torch.testing.assert_close(travelled[:, :2], moved[:, 7:9], atol=1e-9, rtol=0)


def test_batches_of_boxes_take_batches_of_transforms() -> None:
    boxes = random_boxes(6).view(2, 3, 9)
    transforms = torch.stack([yaw_pose(0.3, (1, 2, 3)), yaw_pose(-1.0, (0, 5, 0))])
    torch.testing.assert_close(transform_boxes(transforms, boxes)[1], transform_boxes(transforms[1], boxes[1]))


def test_transforming_does_not_change_the_input() -> None:
    boxes = random_boxes(3)
    before = boxes.clone()
    transform_boxes(yaw_pose(1.0, (1, 2, 3)), boxes)
    assert torch.equal(boxes, before)
