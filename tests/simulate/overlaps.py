"""Exact test of triangles against boxes, by separating axes."""

from __future__ import annotations

import numpy as np

from remembev.simulate.meshes import Array, Material, Mesh
from remembev.simulate.world import Actor, poses_at


def triangles_touch_box(triangles: Array, half: Array) -> np.ndarray:
    """Return a mask [N] of the triangles [N, 3, 3] that touch an upright box about the origin with half sizes [3]."""
    edges = np.roll(triangles, -1, axis=1) - triangles
    normals = np.cross(edges[:, 0], edges[:, 1])[:, None]
    unit = np.broadcast_to(np.eye(3), (len(triangles), 3, 3))
    crossed = np.cross(edges[:, :, None], np.eye(3)[None, None]).reshape(-1, 9, 3)
    axes = np.concatenate([unit, normals, crossed], axis=1)
    along = np.einsum("nai,nvi->nav", axes, triangles)
    reach = np.abs(axes) @ half
    return ((along.min(2) <= reach) & (along.max(2) >= -reach)).all(1)


class Obstacles:
    """The triangles of a scenery that no actor may touch: all but heaps of earth, where cones and workers stand."""

    def __init__(self, scenery: Mesh) -> None:
        self.triangles = scenery.vertices[scenery.faces[scenery.materials != Material.SOIL]]
        self.low, self.high = self.triangles.min(1), self.triangles.max(1)

    def in_box(self, actor: Actor, time: float, slack: float) -> Array:
        """Return the triangles [N, 3, 3], in the box's frame, inside an actor's box less `slack` metres.

        The ground and what lies on it, up to 0.35 m above the box's base, don't count.
        """
        x, y, z, yaw = poses_at(actor.poses, time)
        half = np.array(actor.size) / 2
        reach = np.hypot(*half[:2])
        near = (self.low < (x + reach, y + reach, z + 2 * half[2])).all(1)
        near &= (self.high > (x - reach, y - reach, z)).all(1)
        c, s = np.cos(yaw), np.sin(yaw)
        local = (self.triangles[near] - (x, y, z + half[2])) @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        inside = local[triangles_touch_box(local, half - slack)]
        return inside[inside[..., 2].max(1) > 0.35 - half[2]]
