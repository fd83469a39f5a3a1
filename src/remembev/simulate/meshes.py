"""Triangle meshes with a material per face, and the solids that shapes are made of.

The shapes of annotated objects are in objects/; how a material reflects a laser pulse is in lidar.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
import trimesh
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vec3 = tuple[float, float, float]
Interval = tuple[float, float]


class Material(IntEnum):
    """Surfaces that a laser pulse tells apart."""

    ASPHALT = 0
    CONCRETE = 1
    FACADE = 2
    FOLIAGE = 3
    WOOD = 4
    STEEL = 5
    LIGHT_PAINT = 6
    DARK_PAINT = 7
    GLASS = 8
    RUBBER = 9
    CLOTH = 10
    PLASTIC = 11
    REFLECTOR = 12
    SOIL = 13
    MID_PAINT = 14
    BLACK_PAINT = 15
    LAMP = 16
    SKIN = 17
    DARK_CLOTH = 18
    HI_VIS = 19
    BRICK = 20
    GRASS = 21
    BARK = 22
    LEAVES = 23
    CHAIN_LINK = 24
    SIGN = 25
    SHEET_METAL = 26


@dataclass(frozen=True)
class Mesh:
    """Triangles with outward normals: vertices [V, 3], faces [F, 3], materials [F]."""

    vertices: Array
    faces: NDArray[np.int32]
    materials: NDArray[np.uint8]

    def placed(self, x: float, y: float, z: float, yaw: float) -> Mesh:
        """Return the mesh rotated by yaw about its origin, then translated."""
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return Mesh(self.vertices @ rotation.T + (x, y, z), self.faces, self.materials)

    def fitted(self, length: float, width: float, height: float) -> Mesh:
        """Return the mesh scaled to length x width x height, centred over the origin, bottom at z = 0."""
        low, high = self.vertices.min(0), self.vertices.max(0)
        centre = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
        scale = np.array([length, width, height]) / (high - low)
        return Mesh((self.vertices - centre) * scale, self.faces, self.materials)

    def within(self, length: float, width: float, height: float) -> Mesh:
        """Return the mesh scaled to a height with its proportions kept, squeezed only where it would exceed the box."""
        extent = np.ptp(self.vertices, axis=0)
        natural = extent[:2] * (height / extent[2])
        return self.fitted(min(length, natural[0]), min(width, natural[1]), height)

    def mirrored(self) -> Mesh:
        """Return the mesh with left and right exchanged."""
        return Mesh(self.vertices * (1.0, -1.0, 1.0), self.faces[:, ::-1], self.materials)


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """Return several meshes as one, in order."""
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=True)]).astype(np.int32),
        np.concatenate([m.materials for m in meshes]),
    )


# corners of a block count x, then y, then z: (x0 y0 z0), (x0 y1 z0), (x1 y0 z0), (x1 y1 z0), and again at z1
_BLOCK_QUADS = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 2, 6, 4), (1, 5, 7, 3), (0, 4, 5, 1), (2, 3, 7, 6)], np.int32)
_BLOCK_FACES = np.concatenate([_BLOCK_QUADS[:, [0, 1, 2]], _BLOCK_QUADS[:, [0, 2, 3]]])


def block(
    x: Interval,
    y: Interval,
    z: Interval,
    material: Material,
    *,
    rake: Interval = (0.0, 0.0),
    tuck: float = 0.0,
) -> Mesh:
    """Return a box between coordinates; its top is shortened by `rake` (rear, front) and by `tuck` at each side."""
    bottom = [(a, b, z[0]) for a in x for b in y]
    top = [(a, b, z[1]) for a in (x[0] + rake[0], x[1] - rake[1]) for b in (y[0] + tuck, y[1] - tuck)]
    return Mesh(np.array(bottom + top), _BLOCK_FACES, np.full(12, material, np.uint8))


def rod(
    start: Vec3, end: Vec3, radius: float, material: Material, *, end_radius: float | None = None, sides: int = 8
) -> Mesh:
    """Return a cylinder from start to end, or a truncated cone where `end_radius` differs."""
    a, b = np.array(start), np.array(end)
    x, y, z = (b - a) / np.linalg.norm(b - a)
    across = np.array([y, -x, 0.0]) if abs(z) < 0.9 else np.array([0.0, z, -y])
    across /= np.linalg.norm(across)
    u, v, w = across
    cosines, faces = _rod_pattern(sides)
    ring = cosines @ np.array([across, [y * w - z * v, z * u - x * w, x * v - y * u]])
    last = radius if end_radius is None else end_radius
    vertices = np.concatenate([a + radius * ring, b + last * ring])
    return Mesh(vertices, faces, np.full(len(faces), material, np.uint8))


@cache
def _rod_pattern(sides: int) -> tuple[Array, NDArray[np.int32]]:
    """Return cosines and sines [sides, 2] about a rod's axis, and the faces of its two rings of vertices."""
    angles = np.arange(sides) * (2 * np.pi / sides)
    i = np.arange(sides)
    j, fan = (i + 1) % sides, np.arange(1, sides - 1)
    sheath = [np.stack([i, j, i + sides], 1), np.stack([j, j + sides, i + sides], 1)]
    caps = [np.stack([0 * fan, fan + 1, fan], 1), np.stack([0 * fan, fan, fan + 1], 1) + sides]
    return np.stack([np.cos(angles), np.sin(angles)], 1), np.concatenate([*sheath, *caps]).astype(np.int32)


@cache
def _unit_sphere() -> tuple[Array, NDArray[np.int32]]:
    mesh = trimesh.creation.icosphere(subdivisions=1)
    return np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32)


def ellipsoid(centre: Vec3, radii: Vec3, material: Material) -> Mesh:
    """Return an ellipsoid of 80 faces."""
    vertices, faces = _unit_sphere()
    return Mesh(vertices * radii + centre, faces, np.full(len(faces), material, np.uint8))


class Section(NamedTuple):
    """A trapezoid across the x axis, symmetric about it: its bottom and top, and its half width at both."""

    x: float
    z: Interval
    half: Interval


def loft(
    sections: Sequence[Section], side: Material, *, tops: Sequence[Material] = (), front: Material | None = None
) -> Mesh:
    """Return the solid through sections from the rear to the front.

    Args:
        sections: At least two, in order of x, none of them of zero height.
        side: Material of all faces but the following.
        tops: Material of the upper face between each two sections.
        front: Material of the face in front.
    """
    corners = [[(-h[0], z[0]), (h[0], z[0]), (h[1], z[1]), (-h[1], z[1])] for _, z, h in sections]
    x = np.repeat([s.x for s in sections], 4)
    vertices = np.column_stack([x, np.array(corners).reshape(-1, 2)])
    i = (np.arange(len(sections) - 1) * 4)[:, None, None]
    quads = np.concatenate(list(i + _SECTION_QUADS))
    last = 4 * len(sections) - 4
    faces = np.concatenate([quads, [(0, 2, 1), (0, 3, 2), (last, last + 1, last + 2), (last, last + 2, last + 3)]])
    materials = np.full(len(faces), side, np.uint8)
    for k, top in enumerate(tops):
        materials[8 * k + 4 : 8 * k + 6] = top
    materials[-2:] = side if front is None else front
    return Mesh(vertices, faces.astype(np.int32), materials)


# the four sides between two sections: bottom, left (y > 0), top, right
_SECTION_QUADS = np.array(
    [tri for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)) for tri in ((a, b, a + 4), (b, b + 4, a + 4))], np.int32
)


class Ring(NamedTuple):
    """A horizontal ellipse: its centre's x and height, and its radii along and across."""

    x: float
    z: float
    along: float
    across: float


def turned(rings: Sequence[Ring], material: Material, *, sides: int = 6, y: float = 0.0) -> Mesh:
    """Return the solid through horizontal ellipses from the lowest to the highest, as turned on a lathe."""
    angles = (np.arange(sides) + 0.5) * (2 * np.pi / sides)
    unit = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(sides)])
    vertices = np.concatenate([unit * (r.along, r.across, 0.0) + (r.x, y, r.z) for r in rings])
    i = np.arange(sides)
    j, fan = (i + 1) % sides, np.arange(1, sides - 1)
    sheath = np.concatenate([np.stack([i, j, i + sides], 1), np.stack([j, j + sides, i + sides], 1)])
    walls = [sheath + k * sides for k in range(len(rings) - 1)]
    last = (len(rings) - 1) * sides
    caps = [np.stack([0 * fan, fan + 1, fan], 1), np.stack([0 * fan, fan, fan + 1], 1) + last]
    faces = np.concatenate([*walls, *caps]).astype(np.int32)
    return Mesh(vertices, faces, np.full(len(faces), material, np.uint8))


def hoop(centre: Vec3, radius: float, thickness: float, width: float, material: Material, *, sides: int = 10) -> Mesh:
    """Return a hollow wheel about the y axis: a rim of some thickness and width, with air inside."""
    angles = np.arange(sides) * (2 * np.pi / sides)
    unit = np.column_stack([np.cos(angles), np.sin(angles)])
    rings = [
        (radius, -width / 2),
        (radius, width / 2),
        (radius - thickness, width / 2),
        (radius - thickness, -width / 2),
    ]
    vertices = np.concatenate([np.column_stack([r * unit[:, 0], np.full(sides, y), r * unit[:, 1]]) for r, y in rings])
    i = np.arange(sides)
    j, n = (i + 1) % sides, sides
    faces = [
        triangles
        for a, b in ((0, n), (n, 2 * n), (2 * n, 3 * n), (3 * n, 0))
        for triangles in (np.stack([i + a, i + b, j + a], 1), np.stack([j + a, i + b, j + b], 1))
    ]
    mesh_faces = np.concatenate(faces).astype(np.int32)
    return Mesh(vertices + centre, mesh_faces, np.full(len(mesh_faces), material, np.uint8))
