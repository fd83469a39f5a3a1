"""How much of an object can be seen: the share of its surface towards the sensor that nothing else hides.

nuScenes bins that share into four levels. Light rays to points on the surface decide, not the LiDAR's few beams.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from remembev.simulate.sensor import Geometry, cast
from remembev.simulate.shapes import Array, Mesh

SURFACE_POINTS = 48
LEVELS = (0.4, 0.6, 0.8)  # shares between nuScenes' visibility levels 1, 2, 3 and 4


def sample_surface(mesh: Mesh, rng: np.random.Generator) -> tuple[Array, Array]:
    """Points [S, 3] spread evenly over a mesh and the outward normals [S, 3] there."""
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
    """Share [K] of each object's surface facing the eye that can be seen.

    eye [3]; points, normals [K, S, 3] in the world; owners [K] as the geometries name them. A ray that meets the
    object itself first counts as seen; an object that shows no face to the eye has share 0.
    """
    delta = points - eye
    distance = np.linalg.norm(delta, axis=-1)
    facing = np.einsum("ksi,ksi->ks", delta, normals) < 0
    which, sample = np.nonzero(facing)
    reach = distance[which, sample]
    ways = delta[which, sample] / reach[:, None]
    hits = cast(geometries, np.broadcast_to(eye, ways.shape), ways)
    seen = (hits.owner == owners[which]) | (hits.distance > reach - 0.05)
    total = np.bincount(which, minlength=len(points))
    shares: Array = np.bincount(which, weights=seen, minlength=len(points)) / np.maximum(total, 1)
    return shares


def visibility_level(share: float) -> int:
    """The visibility level 1..4 that nuScenes gives a share 0..1."""
    return 1 + int(np.searchsorted(LEVELS, share, side="right"))
