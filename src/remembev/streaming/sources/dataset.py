"""Scenes of a data set in the nuScenes format as streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from remembev.config import Config
from remembev.data import Frame, NuScenesIndex
from remembev.models import Detections
from remembev.streaming.detector import StreamDetections, StreamingDetector

Output = TypeVar("Output", bound=Detections, covariant=True)


class Detector(Protocol[Output]):
    """``StreamingDetector``, or anything that steps like it."""

    @property
    def cfg(self) -> Config:
        """Configuration, for classes and sweeps."""

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Output:
        """Detect on the next frame of a scene; boxes are in its LiDAR frame."""

    def reset(self, scene_token: str | None = None) -> None:
        """Forget one scene, or all of them."""

    def clear_memory(self, scene_token: str) -> None:
        """Forget what the memory holds of a scene; a tracker's tracks stay."""


def stream_frames(
    detector: Detector[Output], frames: Iterable[Frame], *, use_memory: bool = True
) -> Iterator[tuple[Frame, Output]]:
    """Stream the frames of one scene from an empty memory on; yield each with its detections.

    Without ``use_memory`` the memory is emptied before every frame; a tracker keeps its tracks.
    """
    for number, frame in enumerate(frames):
        if number == 0:
            detector.reset(frame.scene_token)
        elif not use_memory:
            detector.clear_memory(frame.scene_token)
        yield frame, detector.step(frame.points, frame.global_from_lidar, frame.timestamp, frame.scene_token)


def stream_scene(
    detector: Detector[Output], index: NuScenesIndex, scene: int, *, use_memory: bool = True
) -> Iterator[tuple[Frame, Output]]:
    """Stream the key frames of a scene; see ``stream_frames``."""
    return stream_frames(detector, _frames(detector.cfg, index, scene), use_memory=use_memory)


def stream_recent(
    detector: Detector[Output], index: NuScenesIndex, scene: int, seconds: float
) -> Iterator[tuple[Frame, Output]]:
    """Stream a scene with a memory of the last ``seconds`` only; yield each key frame, without points, and detections.

    At every key frame the memory starts empty and steps through the clouds of these seconds.
    """
    cfg, token = detector.cfg, index.scene_token(scene)
    for number in index.scene_frames(scene):
        detector.reset(token)
        for sweep in index.load_recent(number, seconds, cfg.DATA_CONFIG.NUM_SWEEPS):
            detections = detector.step(sweep.points, sweep.global_from_lidar, sweep.timestamp, token)
        yield index.load_annotations(number, cfg.CLASS_NAMES), detections


def continue_scene(
    detector: StreamingDetector, index: NuScenesIndex, scene: int
) -> Iterator[tuple[Frame, StreamDetections]]:
    """Stream a scene from the frame after the detector's latest one on (see ``load_state``).

    Raises:
        StreamError: If the scene is not in the detector's memory.
    """
    token = index.scene_token(scene)
    latest = float(detector.state(token).latest.timestamp)
    for frame in _frames(detector.cfg, index, scene):
        if frame.timestamp > latest:
            yield frame, detector.step(frame.points, frame.global_from_lidar, frame.timestamp, token)


def load_scene(index: NuScenesIndex, scene: int, class_names: Sequence[str], num_sweeps: int) -> Iterator[Frame]:
    """Load the key frames of a scene in order of time, each with up to ``num_sweeps`` earlier sweeps."""
    for number in index.scene_frames(scene):
        yield index.load_frame(number, class_names, num_sweeps)


def _frames(cfg: Config, index: NuScenesIndex, scene: int) -> Iterator[Frame]:
    return load_scene(index, scene, cfg.CLASS_NAMES, cfg.DATA_CONFIG.NUM_SWEEPS)
