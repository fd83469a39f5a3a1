"""Detecting on scenes as streams, in one track or both; what is found is plain values, easy to hand over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from remembev.data import Frame, NuScenesIndex
from remembev.export import open_detector
from remembev.models import Detections
from remembev.streaming import Detector, frame_record, stream_recent, stream_scene

TRACKS = ("unbounded", "half_second")
"""A memory that lasts through a scene, and one of the last half second, as the detection challenge allows it."""
HALF_SECOND = 0.5

Records = Sequence[Mapping[str, Any]]
"""``frame_record`` of every key frame of a scene in order, with the ``scene``'s name."""
Found = dict[str, Records]
"""What was found on a scene, by track."""
DetectScene = Callable[[int], Found]
"""Detects on one scene, by its number."""


@dataclass(frozen=True)
class SceneDetector:
    """Streams one scene after the other through a detector, once for each of ``tracks``."""

    detector: Detector
    index: NuScenesIndex
    tracks: Sequence[str]
    use_memory: bool

    @property
    def remembers(self) -> bool:
        """Whether the tracks differ: single frames are the same in all of them."""
        return self.use_memory and self.detector.cfg.MODEL.MEMORY.FUSION != "none"

    def __call__(self, scene: int) -> Found:
        """What is found on a scene."""
        if not self.remembers:
            single = stream_scene(self.detector, self.index, scene, use_memory=self.use_memory)
            return dict.fromkeys(self.tracks, self._records(scene, single))
        streams = {
            "unbounded": lambda: stream_scene(self.detector, self.index, scene),
            "half_second": lambda: stream_recent(self.detector, self.index, scene, HALF_SECOND),
        }
        return {track: self._records(scene, streams[track]()) for track in self.tracks}

    def _records(self, scene: int, steps: Iterable[tuple[Frame, Detections]]) -> Records:
        names, scene_name = self.detector.cfg.CLASS_NAMES, self.index.scene_name(scene)
        return [{"scene": scene_name, **frame_record(frame, found, names)} for frame, found in steps]


def open_scene_detector(
    checkpoint: Path, index: NuScenesIndex, tracks: Sequence[str], use_memory: bool, dtype: torch.dtype, device: str
) -> SceneDetector:
    """A checkpoint or an exported file on a device, to detect on scenes with."""
    return SceneDetector(open_detector(checkpoint, device, dtype), index, tracks, use_memory)
