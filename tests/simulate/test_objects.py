from __future__ import annotations

import numpy as np
import pytest
import trimesh
from tests.simulate.test_meshes import volume

from remembev.simulate.objects import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_every_kind_is_watertight_and_faces_outward(kind: str) -> None:
    mesh = KINDS[kind].build(np.random.default_rng(0))
    parts = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).split(only_watertight=False)
    assert all(part.is_watertight and part.volume > 0 for part in parts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fitted_shape_fills_its_box(kind: str) -> None:
    rng = np.random.default_rng(1)
    size = KINDS[kind].draw_size(rng)
    mesh = KINDS[kind].build(rng).fitted(*size)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), size)
    np.testing.assert_allclose(mesh.vertices.min(0), [-size[0] / 2, -size[1] / 2, 0.0], atol=1e-9)


def test_shapes_are_not_plain_boxes() -> None:
    for name, kind in KINDS.items():
        mesh = kind.build(np.random.default_rng(0))
        hull = float(np.prod(np.ptp(mesh.vertices, axis=0)))
        assert len(mesh.faces) > 12, name
        assert volume(mesh) < 0.95 * hull, name
