"""The simulated world of one scene: who and what stands and moves where, for how long.

Knows nothing of how it was drawn (builder.py, parts/, sets/), of sensors or of files. Coordinates are the scene's own
(streets.py), in metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from remembev.simulate.shapes import KINDS, Mesh, Triple
from remembev.simulate.streets import Array, Layout
from remembev.simulate.traffic import STEP


@dataclass(frozen=True)
class Actor:
    """An annotated object: its kind, box size (l, w, h), mesh about the middle of its foot, and poses over time.

    poses [n, 4] are x, y, z of the foot and yaw (unwrapped), every STEP seconds; a single row for what never moves.
    """

    kind: str
    size: Triple
    mesh: Mesh
    poses: Array

    @property
    def category(self) -> str:
        """The full nuScenes category."""
        return KINDS[self.kind].category

    @property
    def moves(self) -> bool:
        """Whether the object ever could move (a parked one doesn't)."""
        return len(self.poses) > 1


@dataclass(frozen=True)
class World:
    """One scene: what is scenery, who acts, and how the ego car drives.

    ego [n, 5] are its x, y, z, yaw and pitch every STEP seconds.
    """

    layout: Layout
    scenery: Mesh
    actors: list[Actor]
    ego: Array


def poses_at(poses: Array, time: Array | float) -> Array:
    """Poses [..., C] at times (s), linear between the rows of `poses` [n, ..., C]; a single row holds for ever."""
    if len(poses) == 1:
        return np.broadcast_to(poses[0], (*np.shape(time), *poses.shape[1:]))
    index = np.asarray(time) / STEP
    low = np.clip(np.floor(index).astype(int), 0, len(poses) - 2)
    share = (index - low)[(...,) + (None,) * (poses.ndim - 1)]
    result: Array = poses[low] * (1 - share) + poses[low + 1] * share
    return result
