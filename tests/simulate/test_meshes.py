from __future__ import annotations

import numpy as np
import pytest
import trimesh

from remembev.simulate.meshes import Material, Mesh, block, ellipsoid, merge, rod


def volume(mesh: Mesh) -> float:
    return float(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).volume)


def test_solids_have_the_volume_of_their_formula() -> None:
    assert volume(block((-1, 1), (0, 3), (1, 2), Material.STEEL)) == pytest.approx(6.0)
    octagon = 4 * np.sin(np.pi / 4) * 0.5**2
    assert volume(rod((1, 1, 0), (1, 1, 4), 0.5, Material.STEEL)) == pytest.approx(4 * octagon)
    assert 0.8 < volume(ellipsoid((0, 0, 5), (1, 2, 3), Material.STEEL)) / (4 / 3 * np.pi * 6) < 1


def test_merging_keeps_faces_on_their_own_vertices() -> None:
    a = block((0, 1), (0, 1), (0, 1), Material.STEEL)
    b = block((5, 6), (0, 1), (0, 1), Material.GLASS)
    both = merge([a, b])
    np.testing.assert_array_equal(both.vertices[both.faces[12:]], b.vertices[b.faces])
    assert both.materials.tolist() == [Material.STEEL] * 12 + [Material.GLASS] * 12
