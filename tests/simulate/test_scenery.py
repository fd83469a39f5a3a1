from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.simulate.overlaps import scenery_in_box, triangles_touch_box

from remembev.simulate.meshes import Material, Mesh
from remembev.simulate.placement.scenery import facades, plots, street_furniture, vegetation, walls
from remembev.simulate.placement.scenery.street_furniture import KERBSIDE, OFF_STREET
from remembev.simulate.placement.scenery.terrain import Slope
from remembev.simulate.placement.scenery.walls import FENCES, WALLS
from remembev.simulate.scene import SceneSimulation
from remembev.simulate.sets import SETS, build_world
from remembev.simulate.world import World

SHAPES: list[Callable[[np.random.Generator], Mesh]] = [*KERBSIDE, *OFF_STREET, *vegetation.TREES, vegetation.bush]
STRETCHES = [*WALLS, *FENCES]


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    return {name: build_world(6.0, np.random.default_rng([31, i]), name) for i, name in enumerate(SETS)}


def test_a_triangle_touches_a_box_that_it_cuts_and_not_one_that_it_only_surrounds() -> None:
    half = np.array([1.0, 1.0, 1.0])
    through = np.array([[-9.0, 0.0, 0.5], [9.0, 0.0, 0.5], [0.0, 0.2, 9.0]])
    past_a_corner = np.array([[2.4, 0.0, 0.0], [0.0, 2.4, 0.0], [2.4, 2.4, 0.0]])
    assert triangles_touch_box(np.stack([through, past_a_corner]), half).tolist() == [True, False]


@pytest.mark.parametrize("name", SETS)
def test_scenery_never_overlaps_an_annotated_box(worlds: dict[str, World], name: str) -> None:
    world = worlds[name]
    for actor in world.actors:
        if name == "doors" and actor.kind in ("car", "van"):  # their open doors are scenery
            continue
        for time in np.arange(0.0, 6.1, 1.0) if actor.moves else (0.0,):
            assert len(scenery_in_box(world.scenery, actor, time, slack=0.05)) == 0, (actor.kind, time)


@pytest.mark.parametrize("name", SETS)
def test_equal_generators_give_equal_scenery(worlds: dict[str, World], name: str) -> None:
    again = build_world(6.0, np.random.default_rng([31, list(SETS).index(name)]), name)
    np.testing.assert_array_equal(again.scenery.vertices, worlds[name].scenery.vertices)
    np.testing.assert_array_equal(again.scenery.materials, worlds[name].scenery.materials)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_shape_stands_on_the_ground_and_is_small_enough_for_a_street(shape: Callable) -> None:
    for seed in range(8):
        mesh = shape(np.random.default_rng(seed))
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        assert -1.0 < low[2] < 0.45
        assert (np.maximum(-low, high)[:2] < 9.0).all()
        assert 0.3 < high[2] < 18.0
        assert len(mesh.faces) < 500


@pytest.mark.parametrize("stretch", STRETCHES, ids=lambda stretch: stretch.__name__)
def test_walls_and_fences_have_the_length_asked_for_and_a_vehicle_s_height(stretch: Callable) -> None:
    heights, lengths = [], []
    for seed in range(12):
        mesh = stretch(np.random.default_rng(seed), 8.0)
        lengths.append(np.ptp(mesh.vertices[:, 0]))  # shorter where an end panel is missing
        heights.append(mesh.vertices[:, 2].max())
    assert np.median(lengths) == pytest.approx(8.0, abs=0.5)
    assert max(lengths) < 8.8
    assert 0.4 < min(heights)
    assert max(heights) < 5.5


@pytest.mark.parametrize("kind", sorted({s.__name__ for s in [*SHAPES, *STRETCHES]} | {"hedge", "building", "tower"}))
def test_every_kind_of_scenery_occurs(drawn: set[str], kind: str) -> None:
    assert kind in drawn


@pytest.fixture(scope="module")
def drawn() -> set[str]:
    """Return the names of the shapes that are built while a few worlds are drawn."""
    names: set[str] = set()

    def record(build: Callable) -> Callable:
        def recorded(*args: object, **options: object) -> Mesh:
            names.add(build.__name__)
            return build(*args, **options)

        return recorded

    with pytest.MonkeyPatch.context() as patch:
        for table in (KERBSIDE, OFF_STREET, WALLS, FENCES, vegetation.TREES):
            shares = dict(table)
            for shape in shares:
                patch.delitem(table, shape)
            for shape, share in shares.items():
                patch.setitem(table, record(shape), share)
        for name, module in (("bush", vegetation), ("hedge", vegetation), ("building", facades), ("tower", facades)):
            patch.setattr(plots, name, record(getattr(module, name)))
        for seed, name in enumerate([*SETS, "street", "overtaking"]):
            SETS[name].draw(np.random.default_rng([7, seed]))
    return names


def test_ground_rises_only_behind_the_start_of_its_slope() -> None:
    slope = Slope(rise=3.0, start=12.0, end=30.0, phase=0.0)
    assert slope.height(5.0, np.array([0.0, 12.0])).tolist() == [0.0, 0.0]
    heights = slope.height(5.0, np.linspace(12.0, 30.0, 9))
    assert (np.diff(heights) > 0).all()
    assert heights[-1] > 1.4


def test_a_facade_s_windows_are_of_glass_and_set_back() -> None:
    mesh = facades.building(np.random.default_rng(0), 12.0, 9.0, 12.0)
    glass = mesh.faces[mesh.materials == Material.GLASS]
    body = mesh.vertices[glass][np.ptp(mesh.vertices[glass][..., 2], axis=1) > 12.0]
    assert len(body) == 2
    assert body[..., 1].min() > -4.5 + 0.09


def test_a_road_crown_never_rises_into_the_boxes_above_it(worlds: dict[str, World]) -> None:
    for world in worlds.values():
        asphalt = world.scenery.faces[world.scenery.materials == Material.ASPHALT]
        assert -0.1 < world.scenery.vertices[asphalt][..., 2].min()
        assert world.scenery.vertices[asphalt][..., 2].max() <= 0.0


def test_a_real_share_of_the_returns_lies_higher_than_a_metre_above_the_sensor() -> None:
    shares = []
    for name in ("street", "overtaking", "crossings", "crowd", "doors"):
        for index in range(3):
            for sweep in SceneSimulation(0, index, 1.0, 361, name).frames(sweeps=False):
                returns = sweep.points[(np.abs(sweep.points[:, :2]) >= 1.0).any(axis=1)]
                shares.append((returns[:, 2] > 1.0).mean())
    assert 0.14 < np.mean(shares) < 0.21  # 0.18 in a key frame of nuScenes


def test_furniture_at_a_kerb_leaves_the_sidewalk_free() -> None:
    for shape in street_furniture.KERBSIDE:
        for seed in range(8):
            mesh = shape(np.random.default_rng(seed))
            within_reach = mesh.vertices[mesh.vertices[:, 2] < 2.0]
            assert within_reach[:, 1].max() < 0.6, shape.__name__


def test_walls_differ_in_depth_and_height() -> None:
    tops = [walls.garden_wall(np.random.default_rng(seed), 10.0).vertices[:, 2].max() for seed in range(20)]
    assert min(tops) < 1.2
    assert max(tops) > 2.5
