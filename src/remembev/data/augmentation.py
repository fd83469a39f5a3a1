"""Augmentation of a clip by one random similarity, applied to the points, boxes, velocities and poses of all frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from remembev.config.schema import AugmentorConfig


def draw_similarity(augmentor: AugmentorConfig) -> Tensor:
    """Draw a similarity [4, 4] float64 from torch's default generator: flip, rotate about the vertical axis, scale."""
    linear = torch.eye(3, dtype=torch.float64)
    for axis in augmentor.FLIP:
        if torch.rand(()) < 0.5:
            linear = torch.diag(linear.new_tensor((1, -1, 1) if axis == "x" else (-1, 1, 1))) @ linear
    angle = uniform(*augmentor.ROTATION)
    cos, sin = math.cos(angle), math.sin(angle)
    linear = linear.new_tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ linear
    similarity = torch.eye(4, dtype=torch.float64)
    similarity[:3, :3] = uniform(*augmentor.SCALING) * linear
    return similarity


def conjugate_poses(similarity: Tensor, poses: Tensor) -> Tensor:
    """Return relative poses [..., 4, 4] between frames after both were transformed by S: S · pose · S⁻¹."""
    return similarity @ poses @ torch.linalg.inv(similarity)


def uniform(low: float, high: float) -> float:
    """Draw a number from torch's default generator."""
    return low + (high - low) * float(torch.rand((), dtype=torch.float64))
