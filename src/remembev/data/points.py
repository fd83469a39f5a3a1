"""Point files and sweeps: float32 rows in, the points of a key frame with their age out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from remembev.errors import DataError
from remembev.geometry import transform_points

_COLUMNS = 5
_EGO_HALF_WIDTH = 1.0


def read_points(path: Path) -> Tensor:
    """Points [N, 5] float32 (x, y, z, intensity, ring) of a nuScenes ``.pcd.bin`` file.

    Raises DataError naming the file if it is missing, empty, truncated, or holds values that are not finite.
    """
    try:
        values = np.fromfile(path, dtype="<f4")
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: the point file cannot be read ({error.strerror})") from error
    if size == 0:
        raise DataError(f"{path}: the point file is empty")
    if size % (4 * _COLUMNS):
        raise DataError(f"{path}: {size} bytes are no whole number of points of {4 * _COLUMNS} bytes: truncated?")
    points = torch.from_numpy(values.reshape(-1, _COLUMNS))
    broken = int((~points.isfinite().all(dim=1)).sum())
    if broken:
        raise DataError(f"{path}: {broken} of {len(points)} points are not finite numbers")
    return points


def aged(points: Tensor, age: float) -> Tensor:
    """Points [N, 5] with their age in seconds in the last column."""
    return torch.cat((points[:, :4], points.new_full((len(points), 1), age)), dim=1)


def moved_points(transform: Tensor, points: Tensor) -> Tensor:
    """Points [N, ≥3] float32 moved by ``transform`` [4, 4], which is relative: float32 is enough for it."""
    xyz = transform_points(transform.to(points.dtype), points[:, :3])
    return torch.cat((xyz, points[:, 3:]), dim=1)


def without_ego_returns(points: Tensor) -> Tensor:
    """Points [N, ≥3] less those on the recording car: within 1 m of the sensor in both x and y, in its own frame."""
    on_ego = (points[:, :2].abs() < _EGO_HALF_WIDTH).all(dim=1)
    return points[~on_ego]
