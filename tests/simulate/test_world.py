from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import Polygon

from remembev.simulate.objects import KINDS
from remembev.simulate.sets import SETS, build_world
from remembev.simulate.world import Actor, World, poses_at

DETECTION_CATEGORIES = {
    "vehicle.car", "vehicle.truck", "vehicle.bus.rigid", "vehicle.trailer", "vehicle.construction",
    "vehicle.motorcycle", "vehicle.bicycle", "human.pedestrian.adult", "movable_object.barrier",
    "movable_object.trafficcone",
}  # fmt: skip


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [build_world(10.0, np.random.default_rng([5, i])) for i in range(3)]


@pytest.fixture(scope="module")
def occluding() -> list[World]:
    """A world of each set in which objects are often occluded."""
    return [build_world(10.0, np.random.default_rng(5), name) for name in SETS if name != "street"]


def _footprint(actor: Actor, time: float) -> Polygon:
    x, y, _, yaw = poses_at(actor.poses, time)
    a, b = actor.size[0] / 2, actor.size[1] / 2
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    return Polygon(np.array([[a, b], [a, -b], [-a, -b], [-a, b]]) @ turn.T + (x, y))


def test_all_ten_detection_classes_occur(worlds: list[World]) -> None:
    assert DETECTION_CATEGORIES <= {a.category for w in worlds for a in w.actors}


def test_objects_do_not_overlap(worlds: list[World], occluding: list[World]) -> None:
    for world in worlds + occluding:
        for time in (0.0, 4.0, 8.0):
            prints = [_footprint(a, time) for a in world.actors]
            for i, a in enumerate(prints):
                for b in prints[:i]:
                    if a.intersects(b):
                        assert a.intersection(b).area < 0.25 * min(a.area, b.area)


def test_the_ego_car_drives_a_car_s_speeds(worlds: list[World]) -> None:
    for world in worlds:
        speed = np.hypot(*np.diff(world.ego[:, :2], axis=0).T) / 0.1
        assert speed.max() < 14.0
        assert np.abs(np.diff(speed)).max() / 0.1 < 9.0


def test_nobody_jumps(worlds: list[World], occluding: list[World]) -> None:
    for actor in (a for w in worlds + occluding for a in w.actors if a.moves):
        assert np.hypot(*np.diff(actor.poses[:, :2], axis=0).T).max() < 0.1 * 14.5


def test_every_mesh_is_inside_its_box(worlds: list[World]) -> None:
    for actor in worlds[0].actors:
        half = np.array(actor.size) / 2
        vertices = actor.mesh.vertices - (0.0, 0.0, half[2])
        assert (np.abs(vertices) <= half + 1e-9).all(), actor.kind


def test_the_same_generator_gives_the_same_world() -> None:
    a, b = (build_world(2.0, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(a.scenery.vertices, b.scenery.vertices)
    assert [x.kind for x in a.actors] == [x.kind for x in b.actors]
    for x, y in zip(a.actors, b.actors, strict=True):
        np.testing.assert_array_equal(x.poses, y.poses)


def test_poses_between_steps_are_linear_and_standing_ones_hold() -> None:
    poses = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.2]])
    np.testing.assert_allclose(poses_at(poses, 0.05), [0.5, 1.0, 0.0, 0.1])
    np.testing.assert_allclose(poses_at(poses[:1], np.array([0.0, 7.0])), poses[[0, 0]])


def test_every_kind_but_prams_has_a_nuscenes_detection_category() -> None:
    from nuscenes.eval.detection.utils import category_to_detection_name

    assert {category_to_detection_name(k.category) for k in KINDS.values()} >= {"car", "trailer", "barrier"}
    assert [name for name, k in KINDS.items() if not category_to_detection_name(k.category)] == ["pram"]
