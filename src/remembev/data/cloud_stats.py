"""Statistics of a LiDAR's clouds and annotations, to compare a simulated sensor with a real one.

Counts of visible and hidden objects over a split are in ``evaluation.dataset_stats``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from remembev.config.classes import DETECTION_NAMES
from remembev.data.index import open_without_writing
from remembev.data.keyframe import POINTS_FILE, is_keyframe, read_keyframe
from remembev.data.points import read_points
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

    def intensity_percentile(self, percent: float) -> float:
        """Percentile of the intensity of all returns."""
        return _percentile(self.intensity, percent)

    def range_share(self, low: float, high: float) -> float:
        """Share in % of the returns at these ranges."""
        return 100 * float(((self.range >= low) & (self.range < high)).mean())

    def median_intensity(self, low: float, high: float) -> float:
        """Median intensity of the returns at these ranges."""
        return _percentile(self.intensity[(self.range >= low) & (self.range < high)], 50)

    def intensity_inside(self, label: int, percent: float) -> float:
        """Percentile of the intensity in boxes of a class."""
        return _percentile(self.inside_intensity[self.inside_label == label], percent)

    def points_per_car(self, low: float, high: float) -> float:
        """Median number of points of a car that has any, at these distances."""
        near = (self.label == CAR) & (self.distance >= low) & (self.distance < high) & (self.count > 0)
        return _percentile(self.count[near], 50)

    def mean_size(self, label: int, axis: int) -> float:
        """Mean length (0), width (1) or height (2) of a class, in metres."""
        sizes = self.size[self.label == label, axis]
        return float(sizes.mean()) if len(sizes) else np.nan

    def no_point_share(self, within: float) -> float:
        """Share in % of the objects within a distance that have no point."""
        near = self.distance < within
        return 100 * float((self.count[near] == 0).mean()) if near.any() else np.nan


@dataclass(frozen=True)
class Statistic:
    """A line of the comparison: its name, what it is of the pooled frames, and how many digits it has."""

    name: str
    of: Callable[[_Pool], float]
    digits: int = 0


STATISTICS = (
    Statistic("rows per turn", lambda pool: float(pool.rows.mean())),
    Statistic("rows of the emptiest ring", lambda pool: pool.emptiest_ring),
    Statistic("rows of the fullest ring", lambda pool: pool.fullest_ring),
    Statistic("rows at the sensor itself", lambda pool: float(pool.silent.mean())),
    Statistic("returns at 3–5 m, %", partial(_Pool.range_share, low=3, high=5), 1),
    Statistic("returns at 50–70 m, %", partial(_Pool.range_share, low=50, high=70), 1),
    Statistic("returns beyond 70 m, %", partial(_Pool.range_share, low=70, high=np.inf), 1),
    Statistic("returns > 1 m above the sensor, %", lambda pool: 100 * float((pool.height > 1).mean()), 1),
    *(
        Statistic(f"intensity, {percent} % are below", partial(_Pool.intensity_percentile, percent=percent))
        for percent in (50, 75, 90, 95)
    ),
    *(
        Statistic(f"intensity at {low}–{high} m, median", partial(_Pool.median_intensity, low=low, high=high))
        for low, high in ((0, 10), (10, 20), (20, 40))
    ),
    *(
        Statistic(
            f"intensity in {name}, {percent} % are below",
            partial(_Pool.intensity_inside, label=label, percent=percent),
        )
        for name, label in (("cars", CAR), ("barriers", BARRIER))
        for percent in (10, 50, 90)
    ),
    *(
        Statistic(f"points per car at {low}–{high} m, median", partial(_Pool.points_per_car, low=low, high=high))
        for low, high in ((10, 20), (20, 30), (30, 40), (40, 60))
    ),
    *(
        Statistic(f"barrier, {name}, m", partial(_Pool.mean_size, label=BARRIER, axis=axis), 2)
        for axis, name in enumerate(("length", "width", "height"))
    ),
    Statistic("traffic cone, height, m", partial(_Pool.mean_size, label=CONE, axis=2), 2),
    Statistic("objects within 40 m without a point, %", partial(_Pool.no_point_share, within=40.0), 1),
)
"""The lines of the comparison, in order; a value is NaN where there is nothing to measure."""


def cloud_stats(clouds: Iterable[AnnotatedCloud]) -> dict[str, float]:
    """Measure clouds: the value of each of ``STATISTICS`` by its name, over all frames together.

    Raises:
        DataError: If there is no frame.
    """
    pool = _Pool(clouds)
    return {statistic.name: statistic.of(pool) for statistic in STATISTICS}


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
    with TemporaryDirectory() as folder:
        index = open_without_writing(version.parent, version.name, Path(folder))
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


def _percentile(values: Array, percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else np.nan
