"""Columns of ``NuScenesIndex`` and their file.

Columns have a fixed width and no Python objects. The safetensors file is memory-mapped, so that only the rows in use
are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from remembev.errors import DataError

FORMAT = "1"
"""Version of the columns; an index of another format is rebuilt."""

Strings = NDArray[np.bytes_]


@dataclass(frozen=True)
class IndexTables:
    """Columns of S scenes, F key frames, L LiDAR clouds (key frames and sweeps), A annotations and P splits.

    Key frames are ordered by scene, then by time; ``*_start`` columns hold the first row of each owner.
    """

    scene_token: Strings  # [S]
    scene_name: Strings  # [S]
    frame_start: Tensor  # [S + 1] int64: a scene's key frames
    split_name: Strings  # [P]
    split_start: Tensor  # [P + 1] int64: a split's rows of split_scene
    split_scene: Tensor  # int64
    frame_token: Strings  # [F]
    frame_time: Tensor  # [F] int64, µs
    frame_scene: Tensor  # [F] int64
    frame_cloud: Tensor  # [F] int64
    cloud_path: Strings  # [L], relative to the data set's root
    cloud_time: Tensor  # [L] int64, µs
    cloud_previous: Tensor  # [L] int64: the cloud before, -1 at the start of a scene
    global_from_cloud: Tensor  # [L, 4, 4] float64
    box_start: Tensor  # [F + 1] int64: a key frame's annotations
    box: Tensor  # [A, 9] float32 in the key frame's LiDAR frame; velocity NaN where the devkit cannot tell it
    box_class: Tensor  # [A] uint8
    box_track: Tensor  # [A] int32: row of the instance table
    box_points: Tensor  # [A] int32: num_lidar_pts
    box_visibility: Tensor  # [A] uint8, 1..4


_STRING_COLUMNS = ("scene_token", "scene_name", "split_name", "frame_token", "cloud_path")


def encode_strings(strings: Sequence[str]) -> Strings:
    """Encode strings as UTF-8 bytes of one width."""
    return np.array([text.encode() for text in strings], dtype=np.bytes_)


def save_tables(tables: IndexTables, path: Path, *, fingerprint: str) -> None:
    """Write tables and the fingerprint of their source."""
    columns = {field.name: _to_tensor(getattr(tables, field.name)) for field in fields(tables)}
    save_file(columns, path, metadata={"format": FORMAT, "fingerprint": fingerprint})


def load_tables(path: Path) -> tuple[IndexTables, str]:
    """Map tables and their fingerprint from a file.

    Raises:
        DataError: If the file is damaged or has another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise DataError(f"{path}: index format {metadata.get('format')}; this version reads format {FORMAT}")
            names = [field.name for field in fields(IndexTables)]
            columns: dict[str, Any] = {name: _from_file(name, file.get_tensor(name)) for name in names}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable index ({error})") from error
    return IndexTables(**columns), metadata["fingerprint"]


def _to_tensor(column: Strings | Tensor) -> Tensor:
    if isinstance(column, Tensor):
        return column.contiguous()
    return torch.from_numpy(column.view(np.uint8).reshape(len(column), column.itemsize))


def _from_file(name: str, column: Tensor) -> Strings | Tensor:
    if name not in _STRING_COLUMNS:
        return column
    return column.numpy().view(f"S{column.shape[1]}")[:, 0]
