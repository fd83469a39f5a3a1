"""Rigid transforms from yaw, pitch, roll and positions."""

from __future__ import annotations

import numpy as np

from remembev.simulate.meshes import Array


def rotation(yaw: Array | float, pitch: Array | float = 0.0, roll: Array | float = 0.0) -> Array:
    """Return rotation matrices [..., 3, 3]: yaw about z after pitch about y after roll about x."""
    yaw, pitch, roll = np.broadcast_arrays(yaw, pitch, roll)
    (a, b, c), (sa, sb, sc) = (tuple(f(v) for v in (yaw, pitch, roll)) for f in (np.cos, np.sin))
    rows = [
        [a * b, a * sb * sc - sa * c, a * sb * c + sa * sc],
        [sa * b, sa * sb * sc + a * c, sa * sb * c - a * sc],
        [-sb, b * sc, b * c],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def transform(rotations: Array, position: Array) -> Array:
    """Return rigid transforms [..., 4, 4] from rotations [..., 3, 3] and positions [..., 3]."""
    matrix = np.zeros((*position.shape[:-1], 4, 4))
    matrix[..., :3, :3], matrix[..., :3, 3], matrix[..., 3, 3] = rotations, position, 1.0
    return matrix
