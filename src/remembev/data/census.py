"""What a split offers to a memory: its objects that have no point now, by when they were last well seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from remembev.data.frame import seconds_unseen
from remembev.data.index import NuScenesIndex
from remembev.data.tables import DETECTION_NAMES

WINDOWS = (0.5, 1.0, 2.0, 4.0)  # seconds
SLACK = 0.1  # seconds: key frames come at 2 Hz, more or less
WELL_SEEN = 5
"""Points from which on an object counts as well seen."""


@dataclass(frozen=True)
class Census:
    """Counts over the key frames of a split, by class, of annotated objects near enough to the sensor.

    objects, in_sight, faint, hidden [K]: all, those with WELL_SEEN points or more, with fewer, with none;
    remembered [K, W]: of the hidden, those that had WELL_SEEN points in a key frame of the last WINDOWS seconds;
    visibility [K, 4]: objects by nuScenes level 1..4.
    """

    class_names: tuple[str, ...]
    frames: int
    objects: NDArray[np.int64]
    in_sight: NDArray[np.int64]
    faint: NDArray[np.int64]
    hidden: NDArray[np.int64]
    remembered: NDArray[np.int64]
    visibility: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers by field, lists in the order of the classes."""
        return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in vars(self).items()}


def take_census(
    index: NuScenesIndex, split: str, class_names: Sequence[str] = DETECTION_NAMES, within: float = 40.0
) -> Census:
    """Count the objects of a split whose centre is `within` metres of the sensor in x and in y.

    Raises DataError if there is no such split.
    """
    rows = [np.zeros((0, 4))]  # of every object: label, points, visibility level, seconds since it was well seen
    frames = 0
    for scene in index.split_scenes(split):
        of_scene = [index.load_annotations(number, class_names) for number in index.scene_frames(scene)]
        frames += len(of_scene)
        for frame, age in zip(of_scene, seconds_unseen(of_scene, WELL_SEEN), strict=True):
            near = (frame.boxes[:, :2].abs() <= within).all(1).numpy()
            rows.append(np.column_stack([frame.labels, frame.num_points, frame.visibility, age])[near])
    label, count, level, age = np.concatenate(rows).T

    def by_class(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(label[chosen].astype(int), minlength=len(class_names))

    hidden = count == 0
    return Census(
        tuple(class_names),
        frames,
        by_class(count >= 0),
        by_class(count >= WELL_SEEN),
        by_class((count > 0) & (count < WELL_SEEN)),
        by_class(hidden),
        np.stack([by_class(hidden & (age < window + SLACK)) for window in WINDOWS], axis=1),
        np.stack([by_class(level == i) for i in range(1, 5)], axis=1),
    )
