"""Free space: how many LiDAR rays end beyond a place where an object should be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from remembev.geometry import bev_corners, wrap_angle

MIN_RANGE = 2.0
"""Metres around the sensor within which returns, from the ego vehicle or from nothing, say nothing."""
CORE = 0.7
"""Share of a box's length and width that is searched: its corners are often empty."""
ABOVE_GROUND, BELOW_TOP = 0.25, 0.1
"""Metres at a box's bottom and top that are not searched: rays pass there over and under many an object."""
_STEPS = 2**16
"""Azimuths are sorted as integers of 16 bits: by radix, ten times as fast; a step is 1 mm in 10 m."""


@dataclass(frozen=True)
class Rays:
    """Rays towards the core of each of K boxes."""

    through: Tensor  # [K] int64, rays that end beyond the box
    blocked: Tensor  # [K] int64, rays that end before it

    def mostly_through(self, least: int = 3) -> Tensor:
        """Return True [K] where more rays end beyond a box than before it, of ``least`` or more."""
        return (self.through > self.blocked) & (self.through + self.blocked >= least)


def count_rays(points: Tensor, boxes: Tensor) -> Rays:
    """Count the LiDAR rays that point at boxes and end beyond or before them; those that end at a box do neither.

    Args:
        points: [N, 5] of the current sweep and of earlier ones, whose rays came from elsewhere and are ignored, in the
            LiDAR frame.
        boxes: [K, ≥7] in the LiDAR frame; none nearer than ``MIN_RANGE`` has rays.
    """
    azimuth, distance, height = _sorted_rays(points)
    box_range = boxes[:, :2].double().norm(dim=1)
    first, count = _windows(azimuth, boxes, box_range >= MIN_RANGE)
    box = np.repeat(np.arange(len(boxes)), count)
    ray = (np.repeat(first - count.cumsum() + count, count) + np.arange(count.sum())) % max(len(azimuth), 1)

    reach = (torch.hypot(boxes[:, 3], boxes[:, 4]) / 2).numpy()[box]
    bottom, top = (boxes[:, 2] - boxes[:, 5] / 2 + ABOVE_GROUND, boxes[:, 2] + boxes[:, 5] / 2 - BELOW_TOP)
    centre, ends = box_range.float().numpy()[box], distance[ray]
    height_at_box = height[ray] * centre / ends
    hits = (height_at_box > bottom.numpy()[box]) & (height_at_box < top.numpy()[box])
    through, blocked = (
        torch.from_numpy(np.bincount(box[hits & side], minlength=len(boxes)))
        for side in (ends > centre + reach, ends < centre - reach)
    )
    return Rays(through, blocked)


def _sorted_rays(points: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return azimuth in steps, range and height [n] of the current sweep's rays, in order of azimuth."""
    x, y, z, _, age = points.T.contiguous().numpy()
    distance = np.sqrt(x * x + y * y)
    ray = np.flatnonzero((age == 0) & (distance >= MIN_RANGE))
    azimuth = _steps(np.arctan2(y[ray], x[ray])).astype(np.uint16)
    order = azimuth.argsort(kind="stable")
    return azimuth[order].astype(np.int64), distance[ray[order]], z[ray[order]]


def _windows(azimuth: NDArray[np.int64], boxes: Tensor, counted: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first ray [K] within each box's core as seen from the sensor, and their number [K]; 0 if not counted.

    Rays are numbered beyond the last one where a window goes across ±π.
    """
    core = boxes[:, :7].double().clone()
    core[:, 3:5] *= CORE
    corners = bev_corners(core)
    centre = torch.atan2(core[:, 1], core[:, 0])
    off = wrap_angle(torch.atan2(corners[..., 1], corners[..., 0]) - centre[:, None])
    low = wrap_angle(centre + off.amin(dim=1))
    start = _steps(low.numpy())
    stop = start + np.where(counted.numpy(), _steps((off.amax(dim=1) - off.amin(dim=1)).numpy() - math.pi), 0)
    twice = np.concatenate((azimuth, azimuth + _STEPS))
    first = np.searchsorted(twice, start)
    return first, np.searchsorted(twice, stop) - first


def _steps(angle: NDArray[Any]) -> NDArray[np.int32]:
    """Return angles from -π to π in whole steps; π is the same as -π."""
    steps: NDArray[np.int32] = ((angle + math.pi) * (_STEPS / (2 * math.pi))).astype(np.int32) & (_STEPS - 1)
    return steps
