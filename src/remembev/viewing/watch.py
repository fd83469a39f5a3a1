"""Views of a detector at work: a scene of a data set streamed frame by frame, or one real key frame kept as files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from remembev.data import Frame, NuScenesIndex
from remembev.errors import DataError
from remembev.memory import TracedRead, trace_reads
from remembev.models import Detections
from remembev.streaming import StreamingDetector, stream_scene
from remembev.viewing.frame import FrameView, MemoryView
from remembev.viewing.tracking import Tracker


class Watcher:
    """Keeps of each step of a detector what is to be seen of it.

    title      of the views: the scene's name
    min_score  lowest score of detections that are followed in tracks
    """

    def __init__(self, detector: StreamingDetector, title: str, *, min_score: float = 0.25) -> None:
        self.detector = detector
        self.title = title
        self.min_score = min_score
        self.tracker = Tracker(detector.cfg.CLASS_NAMES)
        self._start: float | None = None

    def view(self, frame: Frame, detections: Detections, reads: Sequence[TracedRead] = ()) -> FrameView:
        """What is to be seen of a frame right after the detector's step on it, and of what that read."""
        self._start = frame.timestamp if self._start is None else self._start
        self.tracker.step(detections[detections.scores >= self.min_score], frame.global_from_lidar, frame.timestamp)
        return FrameView(
            grid=self.detector.cfg.feature_grid,
            class_names=self.detector.cfg.CLASS_NAMES,
            title=self.title,
            seconds=frame.timestamp - self._start,
            points=frame.points,
            gt_boxes=frame.boxes,
            gt_labels=frame.labels,
            gt_num_points=frame.num_points,
            detections=detections,
            gate=self.detector.gate,
            occupancy=self.detector.occupancy,
            global_from_lidar=frame.global_from_lidar,
            tracks=[one for one in self.tracker.tracks if one.seconds == frame.timestamp],
            memory=self._memory(reads),
        )

    def _memory(self, reads: Sequence[TracedRead]) -> MemoryView | None:
        cfg = self.detector.cfg
        return MemoryView(cfg.memory_grid, reads[-1], cfg.MODEL.MEMORY.LONG_TERM.MAX_TOKENS) if reads else None


def watch_scene(
    detector: StreamingDetector,
    index: NuScenesIndex,
    scene: int,
    *,
    frames: int | None = None,
    min_score: float = 0.25,
    progress: bool = True,
) -> list[FrameView]:
    """Stream a scene, or its first ``frames``, from an empty memory and keep what is to be seen of each key frame."""
    watcher = Watcher(detector, index.scene_name(scene), min_score=min_score)
    total = min(frames or sys.maxsize, len(index.scene_frames(scene)))
    steps = islice(stream_scene(detector, index, scene), total)
    bar = track(range(total), "Streaming", console=Console(stderr=True), transient=True, disable=not progress)
    views: list[FrameView] = []
    for _ in bar:
        with trace_reads() as reads:
            frame, detections = next(steps)
        views.append(watcher.view(frame, detections, reads))
    return views


def watch_keyframe(detector: StreamingDetector, folder: Path) -> FrameView:
    """Stream one real key frame kept as ``LIDAR_TOP.pcd.bin`` and ``frame.json``, from an empty memory.

    frame.json holds global_from_ego, ego_from_lidar, timestamp_s, and boxes with a name, box (7), velocity (2 or null)
    and num_lidar_pts in the LiDAR frame. Raises DataError if the folder doesn't hold that.
    """
    cfg = detector.cfg
    try:
        record = json.loads((folder / "frame.json").read_text())
        cloud = np.fromfile(folder / "LIDAR_TOP.pcd.bin", dtype=np.float32).reshape(-1, 5)
        pose = _pose(record["global_from_ego"]) @ _pose(record["ego_from_lidar"])
        annotated = [box for box in record["boxes"] if box["name"] in cfg.CLASS_NAMES]
        boxes = torch.tensor([_nine(box) for box in annotated]).reshape(-1, 9)
        counts = torch.tensor([box["num_lidar_pts"] for box in annotated])
        timestamp, token = record["timestamp_s"], record["sample_token"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} holds no key frame that can be read: {error}") from error
    points = torch.from_numpy(cloud[:, :4].copy())
    detector.reset(token)
    return FrameView(
        grid=cfg.feature_grid,
        class_names=cfg.CLASS_NAMES,
        points=points,
        gt_boxes=boxes,
        gt_labels=torch.tensor([cfg.CLASS_NAMES.index(box["name"]) for box in annotated]),
        gt_num_points=counts,
        detections=detector.step(points, pose, timestamp, token),
        gate=detector.gate,
    )


def _pose(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _nine(record: dict[str, Any]) -> list[float]:
    """Box and velocity; the velocity that nuScenes can't tell (null) is 0, as in the data set's frames."""
    velocity = [value or 0.0 for value in record["velocity"] or (0.0, 0.0)]
    return [*record["box"], *velocity]
