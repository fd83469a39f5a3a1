from __future__ import annotations

import numpy as np
import pytest

from remembev.simulate import lidar
from remembev.simulate.lidar import Geometry
from remembev.simulate.meshes import Material, block
from remembev.simulate.objects import KINDS
from remembev.simulate.visibility import sample_surface, visibility_level, visible_shares

EYE = np.array([0.0, 0.0, 1.8])


def _share(*wall: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]) -> float:
    """Visible share of a car 20 m ahead, with walls in the world."""
    car = KINDS["car"].build(np.random.default_rng(0)).placed(20.0, 0.0, 0.0, 0.6)
    points, normals = sample_surface(car, np.random.default_rng(1))
    geometries = [Geometry(car, np.zeros(len(car.faces), np.intp))]
    for x, y, z in wall:
        mesh = block(x, y, z, Material.CONCRETE)
        geometries.append(Geometry(mesh, np.full(12, lidar.SCENERY)))
    return float(visible_shares(geometries, EYE, points[None], normals[None], np.array([0]))[0])


def test_an_unoccluded_object_is_fully_visible_despite_its_own_parts() -> None:
    assert _share() == 1.0


def test_visibility_falls_with_occlusion() -> None:
    half = _share(((10, 10.2), (0, 9), (-1, 9)))
    assert 0.2 < half < 0.8
    assert _share(((10, 10.2), (-9, 9), (-1, 9))) == 0.0


def test_a_wall_behind_hides_nothing() -> None:
    assert _share(((25, 25.2), (-9, 9), (-1, 9))) == 1.0


def test_levels_are_those_of_nuscenes() -> None:
    assert [visibility_level(s) for s in (0.0, 0.39, 0.41, 0.59, 0.61, 0.79, 0.81, 1.0)] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_surface_samples_lie_on_the_surface_with_outward_normals() -> None:
    mesh = block((-1, 1), (-1, 1), (-1, 1), Material.STEEL)
    points, normals = sample_surface(mesh, np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(points).max(1), 1.0)
    assert np.einsum("ij,ij->i", points, normals) == pytest.approx(np.ones(len(points)))
