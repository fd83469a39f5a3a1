from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.simulate.overlaps import Obstacles, triangles_touch_box

from remembev.simulate import streets
from remembev.simulate.lidar import Geometry
from remembev.simulate.meshes import Material, Mesh, merge, rod
from remembev.simulate.placement.scenery import facades, plots, street_furniture, vegetation, walls
from remembev.simulate.placement.scenery.street_furniture import KERBSIDE, OFF_STREET
from remembev.simulate.placement.scenery.surfaces import leaves
from remembev.simulate.placement.scenery.terrain import Slope
from remembev.simulate.placement.scenery.walls import FENCES, WALLS
from remembev.simulate.scene import SceneSimulation
from remembev.simulate.sets import SETS, build_world
from remembev.simulate.world import World, WorldBuilder

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
    obstacles = Obstacles(world.scenery)
    for actor in world.actors:
        if name == "doors" and actor.kind in ("car", "van"):  # their open doors are scenery
            continue
        for time in np.arange(0.0, 6.1, 1.0) if actor.moves else (0.0,):
            assert len(obstacles.in_box(actor, time, slack=0.05)) == 0, (actor.kind, time)


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
        assert len(mesh.faces) < 1000


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


def test_a_facade_s_windows_are_of_glass_set_back_and_show_rooms() -> None:
    shares = []
    for seed in range(20):
        mesh = facades.building(np.random.default_rng(seed), 12.0, 9.0, 3.0)
        panes = mesh.vertices[mesh.faces[mesh.materials == Material.GLASS]]
        assert panes[..., 1].min() > -4.5 + 0.09
        heights = np.random.default_rng(seed).uniform(1.0, 2.0, 400)
        places = np.column_stack([np.linspace(-5.9, 5.9, 400), np.full(400, -8.0), heights])
        rays = places.astype(np.float32), np.tile(np.float32([0.0, 1.0, 0.0]), (400, 1))
        hits = Geometry(mesh, np.zeros(len(mesh.faces), int)).cast(*rays)
        assert np.isfinite(hits.distance).all()
        shares.append([(hits.material == Material.GLASS).mean(), (hits.distance > 5.5).mean()])
    glass, rooms = np.array(shares).T
    assert glass.mean() > 0.1
    assert 0.05 < rooms.mean() < 0.4
    assert rooms.min() < 0.05 < 0.1 < rooms.max()


def test_leaves_fill_their_ellipsoid_and_let_some_pulses_through() -> None:
    radii, centre = np.array([2.0, 1.5, 1.0]), np.array([10.0, 0.0, 0.0])
    returned = {}
    for share in (0.3, 0.75):
        clump = leaves(tuple(centre), tuple(radii), np.random.default_rng(0), share)
        assert (np.abs(clump.vertices - centre) <= radii + 1e-9).all()
        within = np.random.default_rng(1).uniform(-0.6, 0.6, (2000, 2)) * radii[1:]
        rays = np.column_stack([np.full(2000, 10.0), within])
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        hits = Geometry(clump, np.zeros(len(clump.faces), int)).cast(np.zeros_like(rays, np.float32), np.float32(rays))
        returned[share] = np.isfinite(hits.distance).mean()
        depths = hits.distance[np.isfinite(hits.distance)]
        assert depths.min() < 9.0
        assert depths.max() > 10.5
    assert 0.2 < returned[0.3] < returned[0.75] < 0.95


def test_a_tree_over_a_road_hangs_low_behind_its_kerb_only() -> None:
    for seed in range(30):
        mesh = vegetation.broadleaf(np.random.default_rng(seed), (2.2, 3.0), over_road=4.3)
        crown = mesh.vertices[mesh.faces[mesh.materials == Material.LEAVES]].reshape(-1, 3)
        assert crown[:, 2].min() >= 2.2
        assert crown[crown[:, 1] < -0.4, 2].min() >= 4.3
    assert vegetation.broadleaf(np.random.default_rng(0), (2.2, 3.0)).vertices[:, 2].max() > 4.0


def test_a_low_crown_is_left_out_where_a_tall_vehicle_passes_and_kept_over_a_car() -> None:
    kept = {}
    for kind in ("car", "bus"):
        builder = WorldBuilder(
            streets.draw_layout(np.random.default_rng(0), 1, crossed=False), np.random.default_rng(1)
        )
        street = builder.layout.main
        crown = leaves((0.0, 0.0, 3.0), (1.5, 1.5, 0.7), np.random.default_rng(2))
        stem = rod((0.0, 2.5, 0.0), (0.0, 2.5, 3.0), 0.1, Material.BARK)
        assert builder.add_obstacle(merge([stem, crown]), street, 20.0, street.parking_offset)
        builder.add_object(kind, street, 20.0, street.parking_offset)
        kept[kind] = len(builder._untouched_scenery())
    assert kept == {"car": 1, "bus": 0}


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
