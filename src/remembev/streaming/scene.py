"""A scene of a data set as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from remembev.config import Config
from remembev.data import Frame, NuScenesIndex
from remembev.models import Detections
from remembev.streaming.detector import StreamingDetector


class Detector(Protocol):
    """What frames are streamed to: ``StreamingDetector``, or anything that steps like it."""

    @property
    def cfg(self) -> Config:
        """Its configuration: the classes and sweeps it was made for."""

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Detections:
        """Detections of the next frame of a scene, in its LiDAR frame."""

    def reset(self, scene_token: str | None = None) -> None:
        """Forget one scene, or all of them."""


def stream_scene(
    detector: Detector, index: NuScenesIndex, scene: int, *, use_memory: bool = True
) -> Iterator[tuple[Frame, Detections]]:
    """The key frames of a scene in order, each with what is detected on it, from an empty memory on.

    Without ``use_memory`` the memory is emptied before every frame.
    """
    token = index.scene_token(scene)
    detector.reset(token)
    for frame in _frames(detector.cfg, index, scene):
        if not use_memory:
            detector.reset(token)
        yield frame, detector.step(frame.points, frame.global_from_lidar, frame.timestamp, token)


def stream_recent(
    detector: Detector, index: NuScenesIndex, scene: int, seconds: float
) -> Iterator[tuple[Frame, Detections]]:
    """The key frames of a scene, without points, each with what a memory of the last ``seconds`` finds on it.

    At every key frame the memory starts empty and goes through the clouds of these seconds, one after the other.
    """
    cfg, token = detector.cfg, index.scene_token(scene)
    for number in index.scene_frames(scene):
        detector.reset(token)
        for sweep in index.load_recent(number, seconds, cfg.DATA_CONFIG.NUM_SWEEPS):
            detections = detector.step(sweep.points, sweep.global_from_lidar, sweep.timestamp, token)
        yield index.load_annotations(number, cfg.CLASS_NAMES), detections


def continue_scene(detector: StreamingDetector, index: NuScenesIndex, scene: int) -> Iterator[tuple[Frame, Detections]]:
    """The same from the detector's latest frame of the scene on, with what it remembers (``load_state``).

    Raises StreamError for a scene that the detector does not remember.
    """
    token = index.scene_token(scene)
    latest = float(detector.state(token).latest.timestamp)
    for frame in _frames(detector.cfg, index, scene):
        if frame.timestamp > latest:
            yield frame, detector.step(frame.points, frame.global_from_lidar, frame.timestamp, token)


def frame_record(frame: Frame, detections: Detections, class_names: Sequence[str]) -> dict[str, Any]:
    """A frame and its boxes (LiDAR frame, metres, radians, m/s) as plain values for JSON."""
    columns = (detections.boxes, detections.scores, detections.labels, ~detections.remembered)
    rows = zip(*(_plain(column) for column in columns), strict=True)
    return {
        "sample_token": frame.sample_token,
        "timestamp": frame.timestamp,
        "global_from_lidar": frame.global_from_lidar.tolist(),
        "boxes": [
            {"label": class_names[label], "score": score, "box": box[:7], "velocity": box[7:], "observed": observed}
            for box, score, label, observed in rows
        ],
    }


def read_record(record: Mapping[str, Any], class_names: Sequence[str]) -> Detections:
    """The boxes of a ``frame_record``, bit for bit."""
    boxes = record["boxes"]
    return Detections(
        torch.tensor([[*box["box"], *box["velocity"]] for box in boxes]).reshape(-1, 9),
        torch.tensor([float(box["score"]) for box in boxes]),
        torch.tensor([class_names.index(box["label"]) for box in boxes], dtype=torch.int64),
        torch.tensor([box["observed"] for box in boxes], dtype=torch.bool),
    )


def _plain(values: Tensor) -> list[Any]:
    """Values as JSON has them, float32 in as many digits as bring it back bit for bit: half of what float64 needs."""
    array = values.numpy()
    plain: list[Any] = (array.astype(str).astype(float) if values.dtype == torch.float32 else array).tolist()
    return plain


def _frames(cfg: Config, index: NuScenesIndex, scene: int) -> Iterator[Frame]:
    for number in index.scene_frames(scene):
        yield index.load_frame(number, cfg.CLASS_NAMES, cfg.DATA_CONFIG.NUM_SWEEPS)
