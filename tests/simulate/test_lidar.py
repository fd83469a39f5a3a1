from __future__ import annotations

import numpy as np
import pytest

from remembev.simulate import lidar
from remembev.simulate.lidar import Geometry, beam_directions, column_times, sweep_points
from remembev.simulate.meshes import Material, Mesh, block, merge
from remembev.simulate.scene import EGO_FROM_LIDAR, rotation, transform


def _geometry(*meshes: Mesh) -> Geometry:
    mesh = merge(meshes)
    return Geometry(mesh, np.full(len(mesh.faces), lidar.SCENERY))


def _poses(azimuths: int, speed: float = 0.0, yaw_rate: float = 0.0) -> np.ndarray:
    """world_from_sensor of each column for an ego car that drives along +x, at the origin as the turn ends."""
    t = column_times(azimuths)
    ego = transform(rotation(yaw_rate * t), np.column_stack([speed * t, 0 * t, 0 * t]))
    return ego @ EGO_FROM_LIDAR


def _in_world(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    return points[:, :3] @ poses[-1, :3, :3].T + poses[-1, :3, 3]


WALL = block((20.0, 20.5), (-60.0, 60.0), (-1.0, 30.0), Material.CONCRETE)
GROUND = block((-90.0, 90.0), (-90.0, 90.0), (-1.0, 0.0), Material.ASPHALT)


def test_a_wall_stays_where_it_is_while_the_ego_car_drives_and_turns() -> None:
    poses = _poses(720, speed=12.0, yaw_rate=0.6)
    points = sweep_points([_geometry(WALL)], poses, np.random.default_rng(0))
    x = _in_world(points, poses)[:, 0]
    assert len(x) > 2000
    assert abs(np.median(x) - 20.0) < 0.01
    assert np.abs(x - 20.0).max() < 0.12  # noise only; uncompensated, 12 m/s smears it over 0.6 m


def test_each_ring_has_its_elevation() -> None:
    points = sweep_points([_geometry(WALL, GROUND)], _poses(720), np.random.default_rng(0)).astype(np.float64)
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    expected = np.linspace(-30.67, 10.67, 32)[points[:, 4].astype(int)]
    assert np.abs(elevation - expected).max() < 1e-3
    assert set(points[:, 4]) == set(range(32))


def test_the_ground_lies_below_the_sensor_and_the_sky_returns_nothing() -> None:
    poses = _poses(360)
    points = sweep_points([_geometry(GROUND)], poses, np.random.default_rng(0))
    assert abs(np.median(_in_world(points, poses)[:, 2])) < 0.005
    assert points[:, 4].max() < 25  # the sensor is tilted by 1.4 degrees, a beam's spacing
    assert (
        len(
            sweep_points([_geometry(block((500, 501), (0, 1), (0, 1), Material.SOIL))], poses, np.random.default_rng(0))
        )
        == 0
    )


def test_points_come_clockwise_from_the_left_and_forward_is_y() -> None:
    directions = beam_directions(360)
    assert directions[0, 0, 0] < 0
    assert directions[90, 0, 1] > 0.8
    assert directions[180, 0, 0] > 0.8
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0)
    forward = EGO_FROM_LIDAR[:3, :3] @ [0.0, 1.0, 0.0]
    assert forward[0] > 0.99


def test_range_noise_is_two_centimetres() -> None:
    poses = _poses(720)
    world = _in_world(sweep_points([_geometry(WALL)], poses, np.random.default_rng(0)), poses)
    straight = np.abs(world[:, 1]) < 3.0
    assert np.std(world[straight, 0]) == pytest.approx(0.02, rel=0.25)


def test_far_and_dark_surfaces_lose_returns() -> None:
    def share(distance: float, material: Material) -> float:
        wall = block((distance, distance + 1), (-99.0, 99.0), (-50.0, 90.0), material)
        poses = _poses(720)
        ahead = _in_world(sweep_points([_geometry(wall)], poses, np.random.default_rng(0)), poses)
        near = np.abs(ahead[:, 1]) < 0.2 * distance
        return float(near.sum())

    assert share(90.0, Material.DARK_PAINT) < share(15.0, Material.DARK_PAINT) * 0.95
    assert share(90.0, Material.RUBBER) < share(90.0, Material.CONCRETE)
    assert share(99.0 + 5, Material.REFLECTOR) == 0


def test_a_reflector_is_bright_and_intensities_fit_a_byte() -> None:
    plate = block((10.0, 10.1), (-3.0, 3.0), (0.5, 4.0), Material.REFLECTOR)
    points = sweep_points([_geometry(plate, GROUND)], _poses(720), np.random.default_rng(0))
    world = _in_world(points, _poses(720))
    on_plate = (np.abs(world[:, 0] - 10.0) < 0.2) & (world[:, 2] > 0.5)
    assert points[on_plate, 3].mean() > 150 > 30 > points[~on_plate, 3].mean()
    assert points[:, 3].min() >= 0
    assert points[:, 3].max() <= 255
    assert points.dtype == np.float32
    assert points.shape[1] == 5


def test_the_lowest_beams_lose_most_of_their_sweep_to_the_ego_roof() -> None:
    points = sweep_points([_geometry(GROUND)], _poses(1080), np.random.default_rng(0))
    per_ring = np.bincount(points[:, 4].astype(int), minlength=32)
    assert per_ring[0] < 0.5 * per_ring[10]
