"""``TrackDatabase``: the objects of a split with their points, cropped once and memory-mapped from a file.

A row is an object in a key frame. The points of a data set are several GB: they are written scene by scene, and only
those in use are read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from remembev.data.index import NuScenesIndex
from remembev.data.points import near_rectangles, outlines
from remembev.data.tables import FORMAT as INDEX_FORMAT
from remembev.errors import DataError
from remembev.files import atomic_write, read_tensors
from remembev.progress import with_progress

FORMAT = "1"
"""Version of the columns; a database of another format is rebuilt."""

_DTYPES = {
    "point_start": torch.int64, "frame": torch.int64, "box": torch.float32, "box_track": torch.int32,
    "box_points": torch.int32, "box_class": torch.uint8, "box_visibility": torch.uint8,
}  # fmt: skip
_CODES = {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.float32: "F32"}
_POINT_BYTES = 20
_HEADER_BYTES = 4096
_SCENES_PER_WORKER = 8


@dataclass(frozen=True)
class TrackTables:
    """Columns of R rows, sorted by scene, track and time, and their P points. A row is an object in a key frame."""

    points: Tensor  # [P, 5] float32: x, y, z in the box's frame, x along the heading; intensity, age in s
    point_start: Tensor  # [R + 1] int64: a row's points
    box: Tensor  # [R, 9] float32 in the LiDAR frame of its key frame
    box_class: Tensor  # [R] uint8, number of the detection class
    box_track: Tensor  # [R] int32, the object's track id
    box_points: Tensor  # [R] int32, LiDAR points of the key frame inside
    box_visibility: Tensor  # [R] uint8, 1..4
    frame: Tensor  # [R] int64, number of the key frame in the index


class TrackDatabase:
    """The objects of one split, with ``num_sweeps`` sweeps, in a file beside the index."""

    def __init__(self, file: Path, tables: TrackTables) -> None:
        self.file = file
        self.tables = tables

    @classmethod
    def open(cls, index: NuScenesIndex, split: str, num_sweeps: int) -> TrackDatabase:
        """Open the database of a split; it is built if it is missing or stale, by one process while others wait.

        Raises:
            DataError: Naming the broken point file, or the file that can't be written.
        """
        file = index.file.with_name(f"remembev_tracks_{split}_{num_sweeps}.safetensors")
        known = json.dumps([FORMAT, INDEX_FORMAT, index.fingerprint, index.split_scenes(split), num_sweeps])
        fingerprint = hashlib.sha256(known.encode()).hexdigest()
        if not _is_current(file, fingerprint):
            try:
                with FileLock(file.with_name(f".{file.name}.lock")):
                    if not _is_current(file, fingerprint):
                        _build(index, split, num_sweeps, file, fingerprint)
            except OSError as error:
                raise DataError(
                    f"{file}: cannot write the track database ({error}); choose another index file with `cache`"
                ) from error
        return _reopen(file)

    def __reduce__(self) -> tuple[Callable[[Path], TrackDatabase], tuple[Path]]:
        """Let loader processes map the file instead of receiving its contents."""
        return _reopen, (self.file,)


def _reopen(file: Path) -> TrackDatabase:
    columns, _ = read_tensors(file, "track database", DataError)
    return TrackDatabase(file, TrackTables(**columns))


def _is_current(file: Path, fingerprint: str) -> bool:
    try:
        _, header = read_tensors(file, "track database", DataError)
    except DataError:
        return False
    return header.get("fingerprint") == fingerprint


# ------------------------------------------------------------------------------------------------------------- cropping


class _Scenes(Dataset[dict[str, Tensor]]):
    """Columns of each scene's rows, with their ``points`` and the number of points per row (``count``)."""

    def __init__(self, index: NuScenesIndex, scenes: list[int], num_sweeps: int) -> None:
        self.index, self.scenes, self.num_sweeps = index, scenes, num_sweeps

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        numbers = self.index.scene_frames(self.scenes[item])
        frames = [_crop_objects(self.index, number, self.num_sweeps) for number in numbers]
        columns = {name: torch.cat([frame[name] for frame in frames]) for name in frames[0]}
        points = torch.split(columns.pop("points"), columns["count"].tolist())
        order = (columns["box_track"] * len(numbers) + columns["frame"] - numbers.start).argsort()
        return {
            **{name: column[order] for name, column in columns.items()},
            "points": torch.cat([torch.zeros(0, 5), *(points[row] for row in order.tolist())]),
        }


def _crop_objects(index: NuScenesIndex, number: int, num_sweeps: int) -> dict[str, Tensor]:
    """Return the columns of one key frame's objects."""
    frame = index.load_frame(number, num_sweeps=num_sweeps)
    points, count = object_points(frame.points, frame.boxes)
    return {
        "points": points,
        "count": count,
        "frame": torch.full((len(count),), number),
        "box": frame.boxes,
        "box_track": frame.track_ids,
        "box_points": frame.num_points,
        "box_class": frame.labels,
        "box_visibility": frame.visibility,
    }


def object_points(points: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Crop the points of each box.

    A moving object was elsewhere in earlier sweeps: points are compared with the box at their age, moved back by its
    velocity, and keep their position relative to the present box, behind it.

    Args:
        points: Points [N, 5].
        boxes: Boxes [M, 9].

    Returns:
        Points [P, 5] in the boxes' frames, box after box, and the number of points of each box [M].
    """
    if not len(points) or not len(boxes):
        return points[:0], torch.zeros(len(boxes), dtype=torch.int64)
    low, high = outlines(boxes)
    trail = boxes[:, 7:9] * points[:, 4].max()
    low, high = torch.minimum(low, low - trail), torch.maximum(high, high - trail)
    points = points[torch.from_numpy(near_rectangles(points[:, 0], points[:, 1], low, high))]
    points = points[points[:, 0].argsort(stable=True)]
    x = points[:, 0].contiguous()
    first, last = (
        torch.searchsorted(x, low[:, 0].contiguous()),
        torch.searchsorted(x, high[:, 0].contiguous(), right=True),
    )
    crops = []
    for number, (start, stop) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        slab = points[start:stop]
        beside = (slab[:, 1] >= low[number, 1]) & (slab[:, 1] <= high[number, 1])
        crops.append(_crop_box(slab[beside], boxes[number]))
    return torch.cat(crops), torch.tensor([len(crop) for crop in crops])


def _crop_box(points: Tensor, box: Tensor) -> Tensor:
    """Return those of points [N, 5] that are in a box [9], in its frame."""
    local = in_box_frame(points[:, :3] - box[:3], box[6])
    then = local[:, :2] + in_box_frame(box[7:9] * points[:, 4:], box[6])
    half = box[3:6] / 2
    inside = (then.abs() <= half[:2]).all(dim=1) & (local[:, 2].abs() <= half[2])
    return torch.cat((local, points[:, 3:]), dim=1)[inside]


def in_box_frame(vectors: Tensor, yaw: Tensor) -> Tensor:
    """Rotate vectors [..., 2 or 3] by −yaw [...] about the vertical axis."""
    cos, sin = yaw.cos(), yaw.sin()
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.cat((torch.stack((x * cos + y * sin, y * cos - x * sin), dim=-1), vectors[..., 2:]), dim=-1)


# -------------------------------------------------------------------------------------------------------------- writing


def _build(index: NuScenesIndex, split: str, num_sweeps: int, file: Path, fingerprint: str) -> None:
    for abandoned in file.parent.glob(f".*.{file.name}"):
        abandoned.unlink()  # left by a killed process; this one holds the lock
    scenes = index.split_scenes(split)
    loader: DataLoader[dict[str, Tensor]] = DataLoader(
        _Scenes(index, scenes, num_sweeps),
        batch_size=None,
        num_workers=min(len(scenes) // _SCENES_PER_WORKER, os.cpu_count() or 1),
        generator=torch.Generator(),  # leave the default generator's state alone
    )
    bar = with_progress(loader, f"Cropping the objects of {split}, scenes", len(scenes))
    with atomic_write(file) as temporary:
        _write(temporary, bar, fingerprint)


def _write(path: Path, scenes: Iterable[dict[str, Tensor]], fingerprint: str) -> None:
    """Write a safetensors file scene by scene: points first, then the other columns, the header last."""
    with path.open("wb") as file:
        file.seek(_HEADER_BYTES)
        rows: list[dict[str, Tensor]] = []
        for scene in scenes:
            file.write(_bytes(scene.pop("points")))
            rows.append(scene)
        columns = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        start = torch.cat((torch.zeros(1, dtype=torch.int64), columns.pop("count").cumsum(dim=0)))
        file.write(bytes(_POINT_BYTES * (int(start[-1]) % 2)))  # an unused last point aligns the next column
        end = file.tell() - _HEADER_BYTES
        entries = {"points": _entry(torch.float32, [end // _POINT_BYTES, 5], 0, end)}
        for name, column in {"point_start": start, **columns}.items():
            begin, column = file.tell() - _HEADER_BYTES, column.to(_DTYPES[name])
            file.write(_bytes(column))
            entries[name] = _entry(column.dtype, list(column.shape), begin, file.tell() - _HEADER_BYTES)
        text = json.dumps({"__metadata__": {"fingerprint": fingerprint}, **entries}).encode()
        file.seek(0)
        file.write((_HEADER_BYTES - 8).to_bytes(8, "little") + text.ljust(_HEADER_BYTES - 8))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def _entry(dtype: torch.dtype, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": _CODES[dtype], "shape": shape, "data_offsets": [begin, end]}
