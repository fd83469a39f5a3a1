"""Surfaces that scenery is made of: open sheets, blocks without hidden faces, leaves that let pulses through."""

from __future__ import annotations

import numpy as np

from remembev.simulate.meshes import Array, Interval, Material, Mesh, Vec3, block, ellipsoid

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
    """Return an irregular ellipsoid of leaves with holes in it."""
    ball = ellipsoid((0.0, 0.0, 0.0), radii, material)
    swelling = rng.uniform(0.7, 1.2, (len(ball.vertices), 1))
    return thinned(Mesh(ball.vertices * swelling + centre, ball.faces, ball.materials), share, rng)
