import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.geometry import invert_pose, make_pose, relative_pose, transform_points

coordinate = st.floats(-3000, 3000)
component = st.floats(-1, 1)
quaternions = st.tuples(component, component, component, component).filter(lambda q: sum(c * c for c in q) > 0.01)
poses = st.builds(make_pose, st.tuples(coordinate, coordinate, coordinate), quaternions)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    pose = make_pose((10.0, 20.0, 30.0), (math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4)))
    moved = transform_points(pose, torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(moved, torch.tensor([[10.0, 21.0, 30.0]], dtype=torch.float64))


@given(poses)
def test_a_pose_is_rigid_and_right_handed(pose: torch.Tensor) -> None:
    rotation = pose[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.linalg.det(rotation).item() == pytest.approx(1.0)


@given(poses)
def test_the_inverse_undoes_a_pose(pose: torch.Tensor) -> None:
    identity = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(invert_pose(pose) @ pose, identity, atol=1e-9, rtol=0)
    torch.testing.assert_close(pose @ invert_pose(pose), identity, atol=1e-9, rtol=0)


@given(poses, poses, st.tuples(coordinate, coordinate, coordinate))
def test_a_relative_pose_maps_through_the_global_frame(
    target: torch.Tensor, source: torch.Tensor, point: tuple[float, float, float]
) -> None:
    points = torch.tensor([point], dtype=torch.float64)
    direct = transform_points(relative_pose(target, source), points)
    by_way_of_global = transform_points(invert_pose(target), transform_points(source, points))
    torch.testing.assert_close(direct, by_way_of_global, atol=1e-8, rtol=0)


def test_relative_poses_are_composed_in_float64() -> None:
    far = make_pose((1234.567, -2345.678, 12.3), (0.9, 0.01, 0.02, 0.4)).float()
    assert relative_pose(far, far).dtype == torch.float64


def test_batches_of_poses_transform_batches_of_points() -> None:
    translations = torch.randn(5, 3, dtype=torch.float64)
    quaternions = torch.randn(5, 4, dtype=torch.float64)
    points = torch.randn(5, 7, 3, dtype=torch.float64)
    together = transform_points(make_pose(translations, quaternions), points)
    for index in range(5):
        alone = transform_points(make_pose(translations[index], quaternions[index]), points[index])
        torch.testing.assert_close(together[index], alone)


def test_points_broadcast_over_poses() -> None:
    poses = make_pose(torch.randn(2, 3), torch.randn(2, 4))
    points = torch.randn(6, 3, dtype=torch.float64)
    assert transform_points(poses, points).shape == (2, 6, 3)


def test_autocast_does_not_round_positions() -> None:
    pose = make_pose((3.0, -4.0, 0.5), (0.9, 0.01, 0.02, 0.4)).float()
    points = torch.tensor([[51.13, -47.71, 1.03]])
    expected = transform_points(invert_pose(pose), points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(transform_points(invert_pose(pose), points), expected)
