from __future__ import annotations

import numpy as np
import pytest
import trimesh

from remembev.simulate.shapes import KINDS, Material, Mesh, ball, block, draw_size, merge, rod


def _volume(mesh: Mesh) -> float:
    return float(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).volume)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_every_kind_is_closed_and_faces_outward(kind: str) -> None:
    mesh = KINDS[kind].build(np.random.default_rng(0))
    parts = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).split(only_watertight=False)
    assert all(part.is_watertight and part.volume > 0 for part in parts)


def test_solids_have_the_volume_of_their_formula() -> None:
    assert _volume(block((-1, 1), (0, 3), (1, 2), Material.STEEL)) == pytest.approx(6.0)
    octagon = 4 * np.sin(np.pi / 4) * 0.5**2
    assert _volume(rod((1, 1, 0), (1, 1, 4), 0.5, Material.STEEL)) == pytest.approx(4 * octagon)
    assert 0.8 < _volume(ball((0, 0, 5), (1, 2, 3), Material.STEEL)) / (4 / 3 * np.pi * 6) < 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_fitted_shape_fills_its_box(kind: str) -> None:
    rng = np.random.default_rng(1)
    size = draw_size(KINDS[kind], rng)
    mesh = KINDS[kind].build(rng).fitted(*size)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), size)
    np.testing.assert_allclose(mesh.vertices.min(0), [-size[0] / 2, -size[1] / 2, 0.0], atol=1e-9)


def test_shapes_are_no_plain_boxes() -> None:
    for name, kind in KINDS.items():
        mesh = kind.build(np.random.default_rng(0))
        hull = float(np.prod(np.ptp(mesh.vertices, axis=0)))
        assert len(mesh.faces) > 12, name
        assert _volume(mesh) < 0.95 * hull, name


def test_merging_keeps_faces_on_their_own_vertices() -> None:
    a = block((0, 1), (0, 1), (0, 1), Material.STEEL)
    b = block((5, 6), (0, 1), (0, 1), Material.GLASS)
    both = merge([a, b])
    np.testing.assert_array_equal(both.vertices[both.faces[12:]], b.vertices[b.faces])
    assert both.materials.tolist() == [Material.STEEL] * 12 + [Material.GLASS] * 12
