from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from remembev.simulate.lidar import Geometry
from remembev.simulate.meshes import Array, Material, Mesh
from remembev.simulate.objects import KINDS
from remembev.simulate.objects.parts import PAINTS

SEEDS = range(6)
VEHICLES = [name for name, kind in KINDS.items() if kind.category.startswith("vehicle.")]
SYMMETRIC = ["car", "van", "pick_up", "truck", "bus", "trailer", "bicycle", "pram", "traffic_cone"]
PEOPLE = ["adult", "child", "worker"]


class View(NamedTuple):
    """What parallel rays across a shape's box hit, rows from the ground up: depth (inf: nothing) and material."""

    depth: Array
    material: NDArray[np.uint8]

    @property
    def silhouette(self) -> NDArray[np.bool_]:
        return np.isfinite(self.depth)

    def material_shares(self) -> Array:
        return np.bincount(self.material[self.silhouette], minlength=len(Material)) / self.silhouette.sum()


def _shape(kind: str, seed: int) -> Mesh:
    return KINDS[kind].build_sized(*KINDS[kind].mean_size, np.random.default_rng(seed))


def _view(mesh: Mesh, direction: tuple[float, float], cells: int = 60) -> View:
    """Cast parallel rays along a horizontal direction, evenly over the mesh's extent; columns from right to left."""
    ahead = np.array([*direction, 0.0])
    left = np.array([-direction[1], direction[0], 0.0])
    half, height = np.abs(mesh.vertices @ left).max(), mesh.vertices[:, 2].max()
    middles = (np.arange(cells) + 0.5) / cells
    up, aside = np.meshgrid(middles * height, (2 * middles - 1) * half, indexing="ij")
    origins = aside[..., None] * left + up[..., None] * (0.0, 0.0, 1.0) - 30.0 * ahead
    geometry = Geometry(mesh, np.zeros(len(mesh.faces), np.intp))
    directions = np.broadcast_to(ahead, origins.shape).reshape(-1, 3).astype(np.float32)
    hits = geometry.cast(origins.reshape(-1, 3).astype(np.float32), directions)
    return View(hits.distance.reshape(cells, cells), hits.material.reshape(cells, cells))


def _height_profile(view: View) -> Array:
    """Mean depth at each height relative to the nearest, where there is any."""
    filled = np.where(view.silhouette, view.depth, 0.0)
    return filled.sum(1) / np.maximum(view.silhouette.sum(1), 1) - view.depth.min()


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_every_kind_is_watertight_and_faces_outward(kind: str) -> None:
    for seed in SEEDS:
        mesh = KINDS[kind].build(np.random.default_rng(seed))
        parts = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).split(only_watertight=False)
        assert all(part.is_watertight and part.volume > 0 for part in parts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_fills_its_box_unless_it_keeps_its_proportions(kind: str) -> None:
    rng = np.random.default_rng(1)
    size = KINDS[kind].draw_size(rng)
    mesh = KINDS[kind].build_sized(*size, rng)
    extent = np.ptp(mesh.vertices, axis=0)
    if KINDS[kind].keeps_proportions:
        assert (extent <= np.array(size) + 1e-9).all()
        assert extent[2] == pytest.approx(size[2])
    else:
        np.testing.assert_allclose(extent, size)
    np.testing.assert_allclose(mesh.vertices.min(0), [-extent[0] / 2, -extent[1] / 2, 0.0], atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_no_silhouette_fills_its_rectangle(kind: str) -> None:
    for seed in SEEDS:
        mesh = _shape(kind, seed)
        filled = [_view(mesh, direction).silhouette.mean() for direction in ((1.0, 0.0), (0.0, 1.0))]
        assert min(filled) < 0.93


@pytest.mark.parametrize("kind", VEHICLES)
def test_a_vehicle_s_front_and_rear_differ_in_profile_and_material(kind: str) -> None:
    for seed in SEEDS:
        mesh = _shape(kind, seed)
        front, rear = _view(mesh, (-1.0, 0.0)), _view(mesh, (1.0, 0.0))
        assert np.abs(_height_profile(front) - _height_profile(rear)).mean() > 0.12, seed
        least = 0.05 if "bicycle" in kind else 0.12
        assert np.abs(front.material_shares() - rear.material_shares()).sum() > least, seed


@pytest.mark.parametrize("kind", SYMMETRIC)
def test_left_and_right_half_have_the_same_silhouette(kind: str) -> None:
    for seed in SEEDS:
        silhouette = _view(_shape(kind, seed), (-1.0, 0.0)).silhouette
        assert (silhouette == silhouette[:, ::-1]).mean() > 0.985, seed


def test_a_number_plate_reflects_behind_every_road_vehicle() -> None:
    for kind in ("car", "van", "pick_up", "truck", "bus", "trailer", "motorcycle"):
        for seed in SEEDS:
            assert Material.REFLECTOR in _view(_shape(kind, seed), (1.0, 0.0), 120).material, kind


def test_half_the_cars_paints_return_little() -> None:
    assert sum(PAINTS.values()) == pytest.approx(1.0)
    assert 1 - PAINTS[Material.LIGHT_PAINT] > 0.5
    seen = {m for seed in range(40) for m in np.unique(_shape("car", seed).materials)}
    assert set(PAINTS) <= seen


def test_the_wheels_of_a_bicycle_are_mostly_air() -> None:
    for seed in SEEDS:
        side = _view(_shape("bicycle", seed), (0.0, 1.0), 100).silhouette
        assert side[4:56, 68:96].mean() < 0.4
        assert side.mean() < 0.3


def test_people_of_one_box_differ_in_posture() -> None:
    for kind in PEOPLE:
        extents = np.array([np.ptp(_shape(kind, seed).vertices, axis=0) for seed in range(40)])
        assert np.ptp(extents[:, 0]) > 0.25
        assert np.ptp(extents[:, 1]) > 0.05
        assert extents[:, 2].std() < 1e-9


def test_people_have_a_neck_narrower_than_head_and_shoulders_and_a_gap_between_their_legs() -> None:
    for seed in SEEDS:
        widths = _view(_shape("adult", seed), (-1.0, 0.0), 100).silhouette.sum(1)
        neck = widths[78:92].min()
        assert neck < 0.85 * widths[88:97].max() < widths[75:82].max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_shape(kind: str) -> None:
    a, b = (_shape(kind, 3) for _ in range(2))
    np.testing.assert_array_equal(a.vertices, b.vertices)
    np.testing.assert_array_equal(a.faces, b.faces)
    np.testing.assert_array_equal(a.materials, b.materials)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_give_different_shapes(kind: str) -> None:
    shapes = {(_shape(kind, seed).vertices.tobytes(), _shape(kind, seed).materials.tobytes()) for seed in SEEDS}
    assert len(shapes) >= 2
