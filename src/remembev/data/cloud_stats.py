"""What a LiDAR's clouds and annotations look like in numbers: holds a simulated sensor against a real one.

Counts of visible and hidden objects over a split are in ``evaluation.dataset_stats``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from remembev.data.index import NuScenesIndex
from remembev.data.keyframe import POINTS_FILE, is_keyframe, read_keyframe
from remembev.data.points import read_points
from remembev.data.tables import DETECTION_NAMES
from remembev.errors import DataError
from remembev.geometry import points_in_boxes

Array = NDArray[np.float64]

FRAMES = 240
"""Most key frames of a data set that are measured."""
AT_SENSOR = 1.0
"""Rows within this many metres of the sensor in x and y are no returns of the street."""
CAR, BARRIER, CONE = (DETECTION_NAMES.index(name) for name in ("car", "barrier", "traffic_cone"))


@dataclass(frozen=True)
class AnnotatedCloud:
    """One turn of a LiDAR with the objects in it.

    Attributes:
        points: [N, 5] float32, x, y, z (m), intensity, ring in the LiDAR's frame.
        boxes: [M, ≥7] float32 in that frame.
        labels: [M] int64, places in ``DETECTION_NAMES``.
    """

    points: Tensor
    boxes: Tensor
    labels: Tensor


class _Pool:
    """The returns and objects of all frames, pooled."""

    def __init__(self, clouds: Iterable[AnnotatedCloud]) -> None:
        rows, rings, silent, returns, inside, objects = [], [], [], [], [], []
        for cloud in clouds:
            points = cloud.points.double()
            at_sensor = (points[:, :2].abs() < AT_SENSOR).all(dim=1)
            rows.append(len(points))
            silent.append(int(at_sensor.sum()))
            rings.append(torch.bincount(points[:, 4].long()))
            seen = points[~at_sensor]
            returns.append(torch.stack((seen[:, :3].norm(dim=1), seen[:, 2], seen[:, 3]), dim=1))
            hit = points_in_boxes(seen[:, :3], cloud.boxes[:, :7].double())
            objects.append(
                torch.cat(
                    (
                        cloud.labels[:, None].double(),
                        cloud.boxes[:, :2].double().norm(dim=1, keepdim=True),
                        hit.sum(dim=1, keepdim=True).double(),
                        cloud.boxes[:, 3:6].double(),
                    ),
                    dim=1,
                )
            )
            box, point = hit.nonzero().unbind(dim=1)
            inside.append(torch.stack((cloud.labels[box].double(), seen[point, 3]), dim=1))
        if not rows:
            raise DataError("there is no key frame to measure")
        self.rows, self.silent = np.array(rows), np.array(silent)
        self.fullest_ring = float(np.mean([int(ring.max()) for ring in rings]))
        self.emptiest_ring = float(np.mean([int(ring[ring > 0].min()) for ring in rings]))
        self.range, self.height, self.intensity = torch.cat(returns).numpy().T
        self.label, self.distance, self.count, *size = torch.cat(objects).numpy().T
        self.size = np.stack(size, axis=1)
        self.inside_label, self.inside_intensity = torch.cat(inside).numpy().T

    def range_share(self, low: float, high: float) -> float:
        """Share in % of the returns at these ranges."""
        return 100 * float(((self.range >= low) & (self.range < high)).mean())

    def points_per_car(self, low: float, high: float) -> float:
        """Median number of points of a car that has any, at these distances."""
        near = (self.label == CAR) & (self.distance >= low) & (self.distance < high) & (self.count > 0)
        return _percentiles(self.count[near], 50)[0]

    def no_point_share(self, within: float) -> float:
        """Share in % of the objects within a distance that have no point."""
        near = self.distance < within
        return 100 * float((self.count[near] == 0).mean()) if near.any() else np.nan


@dataclass(frozen=True)
class Statistic:
    """A line of the comparison: its name and what it is of a pool of frames, one or more numbers."""

    name: str
    of: Callable[[_Pool], Sequence[float]]
    digits: int = 1


STATISTICS = (
    Statistic("rows per turn", lambda p: [p.rows.mean()], 0),
    Statistic("rows of the emptiest and the fullest ring", lambda p: [p.emptiest_ring, p.fullest_ring], 0),
    Statistic("rows at the sensor itself", lambda p: [p.silent.mean()], 0),
    Statistic("returns at 3–5 m, %", lambda p: [p.range_share(3, 5)]),
    Statistic("returns at 50–70 m, %", lambda p: [p.range_share(50, 70)]),
    Statistic("returns beyond 70 m, %", lambda p: [p.range_share(70, np.inf)]),
    Statistic("returns higher than 1 m above the sensor, %", lambda p: [100 * (p.height > 1).mean()]),
    Statistic("intensity, 50 / 75 / 90 / 95 %", lambda p: _percentiles(p.intensity, 50, 75, 90, 95), 0),
    Statistic(
        "median intensity at 0–10 / 10–20 / 20–40 m",
        lambda p: [
            _percentiles(p.intensity[(p.range >= low) & (p.range < high)], 50)[0]
            for low, high in ((0, 10), (10, 20), (20, 40))
        ],
        0,
    ),
    Statistic("intensity in cars, 10 / 50 / 90 %", lambda p: _inside(p, CAR), 0),
    Statistic("intensity in barriers, 10 / 50 / 90 %", lambda p: _inside(p, BARRIER), 0),
    Statistic(
        "points per car at 10–20 / 20–30 / 30–40 / 40–60 m",
        lambda p: [p.points_per_car(low, high) for low, high in ((10, 20), (20, 30), (30, 40), (40, 60))],
        0,
    ),
    Statistic("barrier, length / width / height", lambda p: _mean_size(p, BARRIER), 2),
    Statistic("traffic cone, height", lambda p: _mean_size(p, CONE)[2:], 2),
    Statistic("objects without a point within 40 m, %", lambda p: [p.no_point_share(40.0)]),
)
"""What is compared, in order; a value is NaN where there is nothing to measure."""


def cloud_stats(clouds: Iterable[AnnotatedCloud]) -> dict[str, list[float]]:
    """Measure clouds: the values of each of ``STATISTICS`` by its name, over all frames together.

    Raises:
        DataError: If there is no frame.
    """
    pool = _Pool(clouds)
    return {statistic.name: [float(value) for value in statistic.of(pool)] for statistic in STATISTICS}


def annotated_clouds(root: Path) -> Iterator[AnnotatedCloud]:
    """Load the clouds of a folder: a key frame with its ``frame.json``, or a data set in the nuScenes format.

    Of a data set at most ``FRAMES`` key frames are loaded, spread evenly. If it has several versions, give the folder
    of one's tables.

    Raises:
        DataError: If the folder holds neither.
    """
    if is_keyframe(root):
        frame = read_keyframe(root, DETECTION_NAMES)
        yield AnnotatedCloud(read_points(root / POINTS_FILE), frame.boxes, frame.labels)
        return
    version = _version_folder(root)
    index = NuScenesIndex.open(version.parent, version.name)
    numbers = [number for scene in range(index.num_scenes) for number in index.scene_frames(scene)]
    for number in np.unique(np.linspace(0, len(numbers) - 1, FRAMES).round().astype(int)).tolist():
        frame = index.load_annotations(numbers[number])
        yield AnnotatedCloud(index.load_raw_cloud(numbers[number]), frame.boxes, frame.labels)


def _version_folder(root: Path) -> Path:
    if (root / "sample.json").is_file():
        return root
    found = sorted(path.parent for path in root.glob("*/sample.json"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"{root} holds neither frame.json nor a folder with nuScenes tables")
    raise DataError(f"{root} holds several versions: give one of {', '.join(str(path) for path in found)}")


def _percentiles(values: Array, *shares: float) -> list[float]:
    return [float(value) for value in np.percentile(values, shares)] if len(values) else [np.nan] * len(shares)


def _inside(pool: _Pool, label: int) -> list[float]:
    return _percentiles(pool.inside_intensity[pool.inside_label == label], 10, 50, 90)


def _mean_size(pool: _Pool, label: int) -> list[float]:
    sizes = pool.size[pool.label == label]
    return [float(value) for value in sizes.mean(axis=0)] if len(sizes) else [np.nan] * 3
