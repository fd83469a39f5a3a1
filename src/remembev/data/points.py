"""Point files and sweeps.

Reading points dominates the loader's time: each cloud is transformed once, directly to its final coordinates, and
cropped while it is still in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from remembev.errors import DataError
from remembev.geometry import points_in_boxes, transform_points

_COLUMNS = 5
_EGO_HALF_WIDTH = 1.0
_CELL = 0.5


def shuffle_points(points: Tensor, *, fixed: bool) -> Tensor:
    """Shuffle points [N, ...], by torch's default generator or, if ``fixed``, always in the same way."""
    generator = torch.Generator().manual_seed(0) if fixed else None
    return points[torch.randperm(len(points), generator=generator)]


def read_points(path: Path) -> Tensor:
    """Read points [N, 5] float32 (x, y, z, intensity, ring) from a nuScenes ``.pcd.bin`` file.

    Raises:
        DataError: If the file is missing, empty or truncated, or has values that aren't finite.
    """
    try:
        values = np.fromfile(path, dtype="<f4")
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: the point file cannot be read ({error.strerror})") from error
    if size == 0:
        raise DataError(f"{path}: the point file is empty")
    if size % (4 * _COLUMNS):
        raise DataError(f"{path}: {size} bytes is not a multiple of {4 * _COLUMNS} bytes per point; truncated?")
    points = torch.from_numpy(values.reshape(-1, _COLUMNS))
    if not points.sum().isfinite():
        broken = int((~points.isfinite().all(dim=1)).sum())
        raise DataError(f"{path}: {broken} of {len(points)} points are not finite")
    return points


def move_points(transform: Tensor, points: Tensor) -> Tensor:
    """Transform points [N, ≥3] float32 by a relative pose [4, 4], for which float32 is enough."""
    xyz = transform_points(transform.to(points.dtype), points[:, :3])
    return torch.cat((xyz, points[:, 3:]), dim=1)


def move_cloud(
    points: Tensor,
    transform: Tensor,
    age: float,
    *,
    without_ego: bool,
    within: Sequence[float] | None = None,
    clear: Tensor | None = None,
) -> Tensor:
    """Transform and crop a cloud.

    Args:
        points: Cloud [N, 5] in the sensor's frame; its memory is overwritten.
        transform: Pose [4, 4] float64 from the sensor's frame to the target's.
        age: Age of the cloud in seconds.
        without_ego: Drop returns from the ego vehicle: within 1 m of the sensor in both x and y.
        within: Range (x_min, y_min, z_min, x_max, y_max, z_max) in the target's frame; upper ends are outside.
        clear: Boxes [M, ≥7] in the target's frame; points inside are dropped.

    Returns:
        Points [n, 5] (x, y, z, intensity, age).
    """
    source = points[:, :3].t().contiguous()
    columns = _moved_columns(transform, source)
    moved = columns.numpy()
    keep = np.ones(len(points), dtype=np.bool_)
    if without_ego:
        keep &= (np.abs(source[:2].numpy()) >= _EGO_HALF_WIDTH).any(axis=0)
    if within is not None:
        for column, low, high in zip(moved, within[:3], within[3:], strict=True):
            keep &= (column >= np.float32(low)) & (column < np.float32(high))
    if clear is not None and len(clear):
        near = np.flatnonzero(keep & near_rectangles(columns[0], columns[1], *outlines(clear)))
        keep[near] = ~points_in_boxes(columns[:, near].t(), clear).any(dim=0).numpy()
    rows = points.numpy()
    rows[:, :3] = moved.T
    rows[:, 4] = age
    return torch.from_numpy(select_rows(rows, keep))


def outlines(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return lower and upper corners [M, 2] of the axis-aligned rectangles around boxes [M, ≥7] in BEV."""
    cos, sin = boxes[:, 6].cos().abs(), boxes[:, 6].sin().abs()
    length, width = boxes[:, 3] / 2, boxes[:, 4] / 2
    half = torch.stack((length * cos + width * sin, length * sin + width * cos), dim=1)
    return boxes[:, :2] - half, boxes[:, :2] + half


def near_rectangles(x: Tensor, y: Tensor, low: Tensor, high: Tensor) -> NDArray[np.bool_]:
    """Return True [N] for points in one of the rectangles [M, 2], M ≥ 1; points up to a cell away may be included.

    A lookup table of cells makes the time independent of the number of rectangles.
    """
    origin = low.amin(dim=0) - 1.5 * _CELL  # points beyond the table are clamped to its rim, which is empty
    rows, columns = (((high.amax(dim=0) - origin) / _CELL).long() + 2).tolist()
    table = np.zeros((rows, columns), dtype=np.bool_)
    corners = ((torch.cat((low, high), dim=1) - origin.repeat(2)) / _CELL).long()
    for first_row, first_column, last_row, last_column in corners.tolist():
        table[first_row : last_row + 1, first_column : last_column + 1] = True
    row, column = (
        ((values - float(start)) / _CELL).clamp_(0, count - 1).int()
        for values, start, count in ((x, origin[0], rows), (y, origin[1], columns))
    )
    return table.reshape(-1)[row.mul_(columns).add_(column).numpy()]


def select_rows(rows: NDArray[np.float32], keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return ``rows[keep]`` of a contiguous [N, C] array, copying whole rows: ten times as fast as by element."""
    records = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    return records[keep].view(rows.dtype).reshape(-1, rows.shape[1])


def _moved_columns(transform: Tensor, columns: Tensor) -> Tensor:
    """Transform coordinates [3, N] without a matrix product: faster for three rows, and exact in float32."""
    moved = torch.empty_like(columns)
    for out, (x, y, z, offset) in zip(moved, transform[:3].tolist(), strict=True):
        torch.mul(columns[0], x, out=out).add_(columns[1], alpha=y).add_(columns[2], alpha=z).add_(offset)
    return moved
