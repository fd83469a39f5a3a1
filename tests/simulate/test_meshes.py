from __future__ import annotations

import numpy as np
import pytest
import trimesh

from remembev.simulate.meshes import Material, Mesh, Ring, Section, block, ellipsoid, hoop, loft, merge, rod, turned


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


def test_a_loft_has_the_volume_of_its_sections_and_its_tops_face_up() -> None:
    sections = [Section(0, (0, 1), (1, 1)), Section(1, (0, 1), (1, 1)), Section(3, (0, 2), (1, 1))]
    mesh = loft(sections, Material.STEEL, tops=[Material.GLASS], front=Material.LAMP)
    assert volume(mesh) == pytest.approx(2.0 + 2 * 1.5 * 2)
    normals = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).face_normals
    np.testing.assert_allclose(normals[mesh.materials == Material.GLASS], [(0, 0, 1)] * 2)
    np.testing.assert_allclose(normals[mesh.materials == Material.LAMP], [(1, 0, 0)] * 2)


def test_turned_solids_and_hoops_have_the_volume_of_their_formula() -> None:
    polygon = 3 * np.sin(np.pi / 3)  # area of a hexagon of radius 1
    assert volume(turned([Ring(0, 0, 2, 1), Ring(0, 3, 2, 1)], Material.STEEL)) == pytest.approx(polygon * 6)
    ring = 5 * np.sin(np.pi / 5) * (1.0 - 0.8**2)  # decagons
    assert volume(hoop((0, 0, 1), 1.0, 0.2, 0.1, Material.RUBBER)) == pytest.approx(0.1 * ring)


def test_a_mirrored_mesh_still_faces_outward() -> None:
    part = block((0, 1), (1, 3), (0, 1), Material.STEEL)
    assert volume(part.mirrored()) == pytest.approx(volume(part))
    assert part.mirrored().vertices[:, 1].max() == -1.0


def test_within_keeps_proportions_and_never_exceeds_the_box() -> None:
    slim = block((0, 1), (0, 2), (0, 4), Material.STEEL)
    np.testing.assert_allclose(np.ptp(slim.within(5, 5, 2).vertices, axis=0), [0.5, 1.0, 2.0])
    np.testing.assert_allclose(np.ptp(slim.within(0.3, 5, 2).vertices, axis=0), [0.3, 1.0, 2.0])
