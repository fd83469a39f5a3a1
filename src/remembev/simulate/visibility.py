"""Visibility of an object: the share of its surface facing the sensor that nothing occludes.

nuScenes bins that share into four levels. Rays to points sampled on the surface decide, not the LiDAR's few beams.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from remembev.simulate.lidar import Geometry, cast
from remembev.simulate.meshes import Array, Mesh

SURFACE_POINTS = 48
LEVELS = (0.4, 0.6, 0.8)  # shares between nuScenes' visibility levels 1, 2, 3 and 4
TOLERANCE = 0.05  # metres by which a hit may fall short of a surface point that counts as visible


def sample_surface(mesh: Mesh, rng: np.random.Generator) -> tuple[Array, Array]:
    """Sample points [S, 3] uniformly over a mesh; return them and the outward normals [S, 3] there."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    areas = np.linalg.norm(normals, axis=1)
    face = rng.choice(len(areas), SURFACE_POINTS, p=areas / areas.sum())
    u, v = rng.random((2, SURFACE_POINTS, 1))
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u), np.where(fold, 1 - v, v)
    return a[face] + u * (b - a)[face] + v * (c - a)[face], normals[face] / areas[face, None]


def visible_shares(
    geometries: list[Geometry], eye: Array, points: Array, normals: Array, owners: NDArray[np.intp]
) -> Array:
    """Return the visible share [K] of each object's surface that faces the eye.

    A ray that hits the object itself first counts as visible; an object with no face towards the eye has share 0.

    Args:
        geometries: What can occlude.
        eye: [3], in the world.
        points: Surface points [K, S, 3] in the world.
        normals: Outward normals [K, S, 3] there.
        owners: [K], the objects' owner numbers in the geometries.
    """
    delta = points - eye
    distance = np.linalg.norm(delta, axis=-1)
    facing = np.einsum("ksi,ksi->ks", delta, normals) < 0
    index, sample = np.nonzero(facing)
    reach = distance[index, sample]
    directions = delta[index, sample] / reach[:, None]
    hits = cast(geometries, np.broadcast_to(eye, directions.shape), directions)
    visible = (hits.owner == owners[index]) | (hits.distance > reach - TOLERANCE)
    total = np.bincount(index, minlength=len(points))
    shares: Array = np.bincount(index, weights=visible, minlength=len(points)) / np.maximum(total, 1)
    return shares


def visibility_level(share: float) -> int:
    """Return the nuScenes visibility level 1..4 of a visible share 0..1."""
    return 1 + int(np.searchsorted(LEVELS, share, side="right"))
