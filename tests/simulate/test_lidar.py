from __future__ import annotations

import itertools

import numpy as np
import pytest

from remembev.simulate import lidar
from remembev.simulate.lidar import Geometry, beam_directions, column_times, ego_from_unit, sweep_points, texture
from remembev.simulate.meshes import Material, Mesh, block, merge
from remembev.simulate.poses import rotation, transform
from remembev.simulate.sensors import ORDINARY_SENSOR, SENSORS, Sensor
from remembev.simulate.weather import Weather

NUSCENES = SENSORS[ORDINARY_SENSOR]


def _geometry(*meshes: Mesh) -> Geometry:
    mesh = merge(meshes)
    return Geometry(mesh, np.full(len(mesh.faces), lidar.SCENERY))


def _poses(azimuths: int, speed: float = 0.0, yaw_rate: float = 0.0) -> np.ndarray:
    """world_from_ego of each column for an ego car that drives along +x, at the origin as the turn ends."""
    t = column_times(azimuths, NUSCENES.seconds)
    return transform(rotation(yaw_rate * t), np.column_stack([speed * t, 0 * t, 0 * t]))


def _scan(
    meshes: list[Mesh], poses: np.ndarray, sensor: Sensor = NUSCENES, weather: Weather | None = None, **more: object
) -> np.ndarray:
    """Returns of a turn, without the rows at the sensor itself."""
    weather = Weather() if weather is None else weather
    points = sweep_points(sensor, [_geometry(*meshes)], poses, np.random.default_rng(0), weather, **more)
    return points[np.linalg.norm(points[:, :3], axis=1) >= 1.7]


def _in_world(points: np.ndarray, poses: np.ndarray, sensor: Sensor = NUSCENES) -> np.ndarray:
    pose = poses[-1] @ ego_from_unit(sensor.units[0])
    return points[:, :3] @ pose[:3, :3].T + pose[:3, 3]


WALL = block((20.0, 20.5), (-60.0, 60.0), (-1.0, 30.0), Material.CONCRETE)
OUT_OF_RANGE = block((500, 501), (0, 1), (0, 1), Material.SOIL)
GROUND = block((-90.0, 90.0), (-90.0, 90.0), (-1.0, 0.0), Material.ASPHALT)


def test_a_wall_stays_where_it_is_while_the_ego_car_drives_and_turns() -> None:
    poses = _poses(720, speed=12.0, yaw_rate=0.6)
    points = _scan([WALL], poses)
    x = _in_world(points, poses)[:, 0]
    assert len(x) > 2000
    assert abs(np.median(x) - 20.0) < 0.01
    assert np.abs(x - 20.0).max() < 0.12  # noise only; uncompensated, 12 m/s smears it over 0.6 m


def test_each_ring_has_its_elevation() -> None:
    points = _scan([WALL, GROUND], _poses(720)).astype(np.float64)
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    expected = np.linspace(-30.67, 10.67, 32)[points[:, 4].astype(int)]
    assert np.abs(elevation - expected).max() < 1e-3
    assert set(points[:, 4]) == set(range(32))


def test_the_ground_lies_below_the_sensor_and_the_sky_returns_nothing() -> None:
    poses = _poses(360)
    points = _scan([GROUND], poses)
    assert abs(np.median(_in_world(points, poses)[:, 2])) < 0.005
    assert points[:, 4].max() < 25  # the sensor is tilted by 1.4 degrees, a beam's spacing
    assert len(_scan([OUT_OF_RANGE], poses)) == 0


def test_every_pulse_of_nuscenes_sensor_is_a_row_and_those_without_an_echo_lie_where_they_were_fired() -> None:
    poses = _poses(360, speed=10.0)
    points = sweep_points(NUSCENES, [_geometry(OUT_OF_RANGE)], poses, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(points[:, 4].astype(int)), np.full(32, 360))
    sky = points[points[:, 4] > 20]
    assert np.abs(sky[:, 1]).max() == pytest.approx(0.5, abs=0.01)  # 10 m/s for 0.05 s, compensated
    assert np.abs(sky[:, [0, 2]]).max() < 0.02
    assert (points[:, 3] >= 1).all()


def test_other_sensors_drop_pulses_without_an_echo() -> None:
    for name in set(SENSORS) - {ORDINARY_SENSOR}:
        points = sweep_points(SENSORS[name], [_geometry(GROUND)], _poses(360), np.random.default_rng(0))
        assert 0 < len(points) < 360 * SENSORS[name].rings
        assert np.linalg.norm(points[:, :3], axis=1).min() > 1.0


@pytest.mark.parametrize("name", SENSORS)
def test_a_wall_stands_where_it_is_for_every_unit_of_a_sensor(name: str) -> None:
    sensor, poses = SENSORS[name], _poses(720)
    points = _scan([WALL], poses, sensor)
    world = _in_world(points, poses, sensor)
    first_rings = np.cumsum([0] + [len(unit.elevations) for unit in sensor.units])
    for first, last in itertools.pairwise(first_rings):
        own = (points[:, 4] >= first) & (points[:, 4] < last)
        assert own.sum() > 100
        assert abs(np.median(world[own, 0]) - 20.0) < 0.02
    ahead = points[np.abs(world[:, 1]) < 1.0]
    assert (ahead[:, 1] > 15.0).all()  # +y looks forward in the frame of every sensor


def test_rain_adds_drops_near_the_sensor_and_takes_returns_far_away() -> None:
    poses = _poses(720)
    dry, wet = (_scan([WALL, GROUND], poses, weather=w) for w in (Weather(), Weather(0.02, 0.012)))
    near, far = (
        [int((np.linalg.norm(p[:, :3], axis=1) < 2.5).sum()) for p in (dry, wet)],
        [int((np.linalg.norm(p[:, :3], axis=1) > 30.0).sum()) for p in (dry, wet)],
    )
    assert near[0] == 0 < near[1]
    assert far[1] < 0.8 * far[0]


def test_spray_hangs_in_the_air_behind_a_vehicle_only_where_it_rains() -> None:
    poses, plumes = _poses(720), np.array([[12.0, 0.0, 1.0, 0.8]])
    for weather, sprayed in ((Weather(), False), (Weather(0.01, 0.001), True)):
        world = _in_world(_scan([WALL], poses, weather=weather, plumes=plumes), poses)
        inside = np.linalg.norm(world - plumes[0, :3], axis=1) < 1.0
        assert bool(inside.sum() > 3) is sprayed


def test_texture_is_a_property_of_the_place() -> None:
    places = np.random.default_rng(0).uniform(-50, 50, (4000, 3))
    first, again = (texture(places, np.full(4000, 0.5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.std(np.log(first)) == pytest.approx(0.5, rel=0.1)
    assert abs(np.mean(np.log(first))) < 0.05
    np.testing.assert_array_equal(texture(places, np.zeros(4000)), np.ones(4000))


def test_points_come_clockwise_from_the_left_and_forward_is_y() -> None:
    directions = beam_directions(NUSCENES.units[0], 360)
    assert directions[0, 0, 0] < 0
    assert directions[90, 0, 1] > 0.8
    assert directions[180, 0, 0] > 0.8
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0)
    forward = ego_from_unit(NUSCENES.units[0])[:3, :3] @ [0.0, 1.0, 0.0]
    assert forward[0] > 0.99


def test_range_noise_is_two_centimetres() -> None:
    poses = _poses(720)
    world = _in_world(_scan([WALL], poses), poses)
    straight = np.abs(world[:, 1]) < 3.0
    assert np.std(world[straight, 0]) == pytest.approx(0.02, rel=0.25)


def test_far_and_dark_surfaces_lose_returns() -> None:
    def share(distance: float, material: Material) -> float:
        wall = block((distance, distance + 1), (-99.0, 99.0), (-50.0, 90.0), material)
        poses = _poses(720)
        ahead = _in_world(_scan([wall], poses), poses)
        near = np.abs(ahead[:, 1]) < 0.2 * distance
        return float(near.sum())

    assert share(90.0, Material.DARK_PAINT) < share(15.0, Material.DARK_PAINT) * 0.95
    assert share(90.0, Material.RUBBER) < share(90.0, Material.CONCRETE)
    assert share(99.0 + 5, Material.REFLECTOR) == 0


def test_a_reflector_is_bright_and_intensities_fit_a_byte() -> None:
    plate = block((10.0, 10.1), (-3.0, 3.0), (0.5, 4.0), Material.REFLECTOR)
    points = _scan([plate, GROUND], _poses(720))
    world = _in_world(points, _poses(720))
    on_plate = (np.abs(world[:, 0] - 10.0) < 0.2) & (world[:, 2] > 0.5)
    assert points[on_plate, 3].mean() > 4 * points[~on_plate, 3].mean()
    assert points[:, 3].min() >= 0
    assert points[:, 3].max() <= 255
    assert points.dtype == np.float32
    assert points.shape[1] == 5


def test_the_lowest_beams_lose_most_of_their_sweep_to_the_ego_roof() -> None:
    points = _scan([GROUND], _poses(1080))
    per_ring = np.bincount(points[:, 4].astype(int), minlength=32)
    assert per_ring[0] < 0.5 * per_ring[10]
