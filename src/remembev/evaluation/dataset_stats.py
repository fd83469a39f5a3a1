"""Statistics of a split: its visible, faint and hidden objects, by the definition that permanence uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from remembev.config.classes import DETECTION_NAMES
from remembev.data import NuScenesIndex
from remembev.evaluation.observability import FrameObservability, Observability, track_observability, within
from remembev.evaluation.permanence import WINDOWS_S

VISIBILITY_LEVELS = (1, 2, 3, 4)


@dataclass(frozen=True)
class DatasetStats:
    """Counts over the key frames of a split, by class, of annotated objects near the sensor."""

    class_names: tuple[str, ...]
    frames: int
    objects: Tensor  # [K] int64
    well_seen: Tensor  # [K], objects with at least ``observability.WELL_SEEN`` points
    faint: Tensor  # [K], with fewer points
    no_points: Tensor  # [K], without a point
    hidden: Tensor  # [K, W], of these, well seen within the last ``WINDOWS_S`` seconds: what permanence scores
    visibility: Tensor  # [K, 4], objects by nuScenes level 1..4

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers by field, lists in the order of the classes."""
        return {key: value.tolist() if isinstance(value, Tensor) else value for key, value in vars(self).items()}


def dataset_stats(
    index: NuScenesIndex, split: str, class_names: Sequence[str] = DETECTION_NAMES, within_metres: float = 40.0
) -> DatasetStats:
    """Count the objects of a split.

    Args:
        index: The data set.
        split: Name of the split.
        class_names: Classes that are counted.
        within_metres: Objects farther from the sensor than this in x or y are ignored.

    Raises:
        DataError: If there is no such split.
    """
    area = (-within_metres, -within_metres, -inf, within_metres, within_metres, inf)
    frames: list[FrameObservability] = []
    for scene in index.split_scenes(split):
        annotated = (index.load_annotations(number, class_names) for number in index.scene_frames(scene))
        frames += track_observability(annotated, area)
    level = _cat([frame.level for frame in frames], torch.int64)
    label = _cat([frame.frame.labels for frame in frames], torch.int64)
    visibility = _cat([frame.frame.visibility for frame in frames], torch.int64)
    since_seen = _cat([frame.since_seen for frame in frames], torch.float64)

    def count(chosen: Tensor) -> Tensor:
        return torch.bincount(label[chosen & (level != Observability.OUTSIDE)], minlength=len(class_names))

    no_points = level < Observability.FAINT
    return DatasetStats(
        class_names=tuple(class_names),
        frames=len(frames),
        objects=count(level >= 0),
        well_seen=count(level == Observability.SEEN),
        faint=count(level == Observability.FAINT),
        no_points=count(no_points),
        hidden=torch.stack([count(no_points & within(since_seen, window)) for window in WINDOWS_S], dim=1),
        visibility=torch.stack([count(visibility == number) for number in VISIBILITY_LEVELS], dim=1),
    )


def _cat(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=dtype), *parts])
