"""Detecting on scenes as streams, in one track or both; results are plain values that can cross processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from remembev.data import Frame, NuScenesIndex
from remembev.export import open_detector
from remembev.models import Detections
from remembev.streaming import Detector, frame_record, stream_recent, stream_scene

TRACKS = ("unbounded", "half_second")
"""A memory over the whole scene, and one over the last half second, which the detection challenge allows."""
HALF_SECOND = 0.5

Records = Sequence[Mapping[str, Any]]
"""``frame_record`` of every key frame of a scene in order, with the ``scene``'s name."""


@dataclass(frozen=True)
class SceneDetections:
    """Detections on a scene.

    Attributes:
        records: By track.
        occupancy: Of the first track, [F, H_m, W_m] in [0, 1] for F key frames; None if the detector gives none.
    """

    records: Mapping[str, Records]
    occupancy: NDArray[np.float32] | None


DetectScene = Callable[[int], SceneDetections]
"""Detects on one scene, by its number."""


@dataclass(frozen=True)
class SceneDetector:
    """Streams scenes through a detector, once for each of ``tracks``."""

    detector: Detector[Detections]
    index: NuScenesIndex
    tracks: Sequence[str]
    use_memory: bool

    @property
    def remembers(self) -> bool:
        """True if the tracks differ: single frames are the same in all of them."""
        return self.use_memory and self.detector.cfg.MODEL.MEMORY.FUSION != "none"

    def __call__(self, scene: int) -> SceneDetections:
        """Return the detections on a scene."""
        if not self.remembers:
            single = stream_scene(self.detector, self.index, scene, use_memory=self.use_memory)
            records, occupancy = self._collect(scene, single)
            return SceneDetections(dict.fromkeys(self.tracks, records), occupancy)
        streams = {
            "unbounded": lambda: stream_scene(self.detector, self.index, scene),
            "half_second": lambda: stream_recent(self.detector, self.index, scene, HALF_SECOND),
        }
        collected = {track: self._collect(scene, streams[track]()) for track in self.tracks}
        return SceneDetections(
            {track: records for track, (records, _) in collected.items()}, collected[self.tracks[0]][1]
        )

    def _collect(
        self, scene: int, steps: Iterable[tuple[Frame, Detections]]
    ) -> tuple[Records, NDArray[np.float32] | None]:
        """Return records and occupancy of a stream."""
        names, scene_name = self.detector.cfg.CLASS_NAMES, self.index.scene_name(scene)
        records, maps = [], []
        for frame, detections in steps:
            records.append({"scene": scene_name, **frame_record(frame, detections, names)})
            occupancy = getattr(detections, "occupancy", None)
            if occupancy is not None:
                maps.append(occupancy.numpy(force=True))
        return records, np.stack(maps) if maps else None


def open_scene_detector(
    checkpoint: Path,
    index: NuScenesIndex,
    tracks: Sequence[str],
    use_memory: bool,
    dtype: torch.dtype,
    tracker: bool,
    device: str,
) -> SceneDetector:
    """Open a checkpoint or an exported file on a device to detect on scenes, and to track if there is a tracker."""
    return SceneDetector(open_detector(checkpoint, device, dtype, tracker=tracker), index, tracks, use_memory)
