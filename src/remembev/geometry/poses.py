"""Poses: 4 × 4 matrices named ``to_from_source`` (``global_from_lidar``), composed and inverted in float64.

A global pose is only ever made relative to another one before it becomes float32: at 1 km from the map's origin a
float32 coordinate is 0.06 mm coarse, and the products of rotations and such translations lose centimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


def make_pose(translation: Sequence[float] | Tensor, quaternion: Sequence[float] | Tensor) -> Tensor:
    """Return poses [..., 4, 4] float64 from translations [..., 3] in metres and quaternions [..., 4] (w, x, y, z).

    Quaternions may have any length but zero.
    """
    translation = torch.as_tensor(translation, dtype=torch.float64)
    quaternion = torch.as_tensor(quaternion, dtype=torch.float64)
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(dim=-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    pose = torch.zeros(*translation.shape[:-1], 4, 4, dtype=torch.float64)
    pose[..., :3, :3] = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    pose[..., :3, 3] = translation
    pose[..., 3, 3] = 1.0
    return pose


def invert_pose(pose: Tensor) -> Tensor:
    """Invert rigid poses [..., 4, 4] by transposing the rotation."""
    rotation = pose[..., :3, :3].transpose(-1, -2)
    inverse = torch.zeros_like(pose)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -_turn(rotation, pose[..., None, :3, 3])[..., 0, :]
    inverse[..., 3, :] = pose[..., 3, :]
    return inverse


def relative_pose(global_from_target: Tensor, global_from_source: Tensor) -> Tensor:
    """Return ``target_from_source`` [..., 4, 4] float64 of two global poses [..., 4, 4]."""
    return invert_pose(global_from_target.double()) @ global_from_source.double()


def transform_points(pose: Tensor, points: Tensor) -> Tensor:
    """Move points [..., N, 3] by poses (or any affine maps) [..., 4, 4]."""
    return _turn(pose[..., :3, :3], points) + pose[..., None, :3, 3]


def turn_vectors(pose: Tensor, vectors: Tensor) -> Tensor:
    """Turn vectors [..., N, 3], such as velocities, by poses [..., 4, 4]."""
    return _turn(pose[..., :3, :3], vectors)


def _turn(linear: Tensor, vectors: Tensor) -> Tensor:
    """Apply linear maps [..., 3, 3] to vectors [..., N, 3] in their own precision, which autocast would round."""
    columns = linear[..., None, :, :].unbind(dim=-1)
    return reduce(torch.add, [column * vectors[..., i, None] for i, column in enumerate(columns)])
