"""Surfaces that scenery is made of: open sheets, blocks without hidden faces, leaves that let pulses through."""

from __future__ import annotations

import numpy as np

from remembev.simulate.meshes import Array, Interval, Material, Mesh, Vec3, block

LEAF_PATCHES = 110  # triangles of a clump of leaves
_LEAF_COVER = 12.0  # squared circumradii of all triangles, per squared radius of the clump, that catch most pulses

BOTTOM, TOP, NEAR, FAR, REAR, FRONT = range(6)  # faces of a block: z low, z high, y low, y high, x low, x high


def sheet(grid: Array, material: Material) -> Mesh:
    """Return the surface through a grid of points [N, M, 3]."""
    n, m, _ = grid.shape
    corner = (np.arange(n - 1)[:, None] * m + np.arange(m - 1)).ravel()
    first = np.stack([corner, corner + m, corner + m + 1], axis=1)
    second = np.stack([corner, corner + m + 1, corner + 1], axis=1)
    faces = np.concatenate([first, second]).astype(np.int32)
    return Mesh(grid.reshape(-1, 3).astype(np.float64), faces, np.full(len(faces), material, np.uint8))


def slab(x: Interval, y: Interval, z: Interval, material: Material, *sides: int) -> Mesh:
    """Return only the given faces of a block."""
    whole = block(x, y, z, material)
    keep = np.concatenate([np.array(sides), np.array(sides) + 6])
    return Mesh(whole.vertices, whole.faces[keep], whole.materials[keep])


def thinned(mesh: Mesh, share: float, rng: np.random.Generator) -> Mesh:
    """Return a mesh with a random share of its faces, so that pulses pass between them."""
    keep = rng.random(len(mesh.faces)) < share
    keep[0] = True
    return Mesh(mesh.vertices, mesh.faces[keep], mesh.materials[keep])


def roughened(mesh: Mesh, depth: float, rng: np.random.Generator) -> Mesh:
    """Return a mesh whose vertices are moved by up to `depth` metres along each axis."""
    return Mesh(mesh.vertices + rng.uniform(-depth, depth, mesh.vertices.shape), mesh.faces, mesh.materials)


def leaves(
    centre: Vec3, radii: Vec3, rng: np.random.Generator, share: float = 0.75, material: Material = Material.LEAVES
) -> Mesh:
    """Return a clump of leaves: triangles that face anywhere, all through an ellipsoid, denser towards its surface.

    Args:
        centre: Centre of the ellipsoid.
        radii: Its half axes; no leaf reaches out of it.
        rng: Source of places and directions.
        share: How dense it is: with 0.75 about three of four pulses through its middle hit a leaf.
        material: Material of the leaves.
    """
    half_axes = np.array(radii)
    size = np.sqrt(_LEAF_COVER * share / LEAF_PATCHES) * half_axes.prod() ** (1 / 3)
    outward = rng.standard_normal((LEAF_PATCHES, 1, 3))
    outward /= np.linalg.norm(outward, axis=2, keepdims=True)
    middles = outward * rng.random((LEAF_PATCHES, 1, 1)) ** 0.25 * np.maximum(half_axes - size, 0.3 * half_axes)
    corners = rng.standard_normal((LEAF_PATCHES, 3, 3))
    corners *= size / np.linalg.norm(corners, axis=2, keepdims=True)
    vertices = np.clip(middles + corners, -half_axes, half_axes) + centre
    faces = np.arange(3 * LEAF_PATCHES, dtype=np.int32).reshape(-1, 3)
    return Mesh(vertices.reshape(-1, 3), faces, np.full(LEAF_PATCHES, material, np.uint8))
