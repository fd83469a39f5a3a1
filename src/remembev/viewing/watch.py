"""Views of a detector at work: a scene of a data set streamed frame by frame, or one real key frame kept as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from remembev.data import Frame, NuScenesIndex
from remembev.errors import DataError
from remembev.models import Detections
from remembev.streaming import StreamingDetector, stream_scene
from remembev.viewing.bev import FrameView


def watch_scene(
    detector: StreamingDetector, index: NuScenesIndex, scene: int, *, progress: bool = True
) -> list[FrameView]:
    """Stream a scene from an empty memory and keep what is to be seen of each key frame."""
    steps = stream_scene(detector, index, scene)
    total = len(index.scene_frames(scene))
    bar = track(steps, "Streaming", total, console=Console(stderr=True), transient=True, disable=not progress)
    name = index.scene_name(scene)
    views: list[FrameView] = []
    start: float | None = None
    for frame, detections in bar:
        start = frame.timestamp if start is None else start
        views.append(frame_view(detector, frame, detections, name, frame.timestamp - start))
    return views


def frame_view(
    detector: StreamingDetector, frame: Frame, detections: Detections, title: str, seconds: float
) -> FrameView:
    """What is to be seen of a frame right after the detector's step on it; ``seconds`` since the scene began."""
    return FrameView(
        grid=detector.cfg.feature_grid,
        class_names=detector.cfg.CLASS_NAMES,
        title=title,
        seconds=seconds,
        points=frame.points,
        gt_boxes=frame.boxes,
        gt_labels=frame.labels,
        gt_num_points=frame.num_points,
        detections=detections,
        gate=detector.gate,
    )


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
