"""Views of frames, and the streams that they come from: a scene of a data set, or one key frame in a folder.

bev.py draws a `FrameView`, recording.py logs it to rerun, terminal.py prints it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from remembev.data import Frame, NuScenesIndex
from remembev.data.keyframe import read_keyframe
from remembev.geometry import BEVGrid, transform_points
from remembev.memory import TracedRead, trace_reads
from remembev.models import Detections
from remembev.progress import with_progress
from remembev.streaming import StreamDetections, StreamingDetector, stream_scene
from remembev.tracking import UNTRACKED


@dataclass(frozen=True)
class TrackView:
    """An object of a tracker, up to this frame."""

    track_id: int
    label: int
    path: Tensor  # [P, 3] float64, global centres, detected or coasted, the latest last


@dataclass(frozen=True)
class MemoryView:
    """Tokens that the cells of a frame read from the memory.

    Attributes:
        grid: Grid of the cells, in the order of the read's queries.
        read: The read of one scene (B = 1).
        long_term: Number of the read's tokens, the first ones, that are long-term memory; the rest are working memory.
    """

    grid: BEVGrid
    read: TracedRead
    long_term: int


@dataclass(frozen=True)
class FrameView:
    """Contents of a view of a frame, in its LiDAR frame; None is not shown.

    Attributes:
        grid: Area to show, and the area that `gate` and `occupancy` cover.
        class_names: Names of the labels.
        title: Title of the picture.
        seconds: Time since the start of the scene.
        points: [N, ≥3].
        gt_boxes: [M, 9].
        gt_labels: [M]; -1 pads.
        gt_num_points: [M].
        detections: Detections of all scores.
        gate: [H, W] in 0..1.
        occupancy: [H_m, W_m] in 0..1.
        global_from_lidar: [4, 4] float64.
        tracks: Tracks of this frame's detections, as far as they have a track.
        memory: What was read from the memory.
    """

    grid: BEVGrid
    class_names: Sequence[str]
    title: str = ""
    seconds: float | None = None
    points: Tensor | None = None
    gt_boxes: Tensor | None = None
    gt_labels: Tensor | None = None
    gt_num_points: Tensor | None = None
    detections: Detections | None = None
    gate: Tensor | None = None
    occupancy: Tensor | None = None
    global_from_lidar: Tensor | None = None
    tracks: Sequence[TrackView] = ()
    memory: MemoryView | None = None

    def shown_detections(self, min_score: float) -> Detections:
        """Return the detections that score at least `min_score`, on the CPU."""
        if self.detections is None:
            return Detections.empty()
        return self.detections[self.detections.scores >= min_score].to("cpu")


def track_labels(detections: Detections) -> list[str]:
    """Return the track id of each detection as text, in brackets if the track coasts; empty without a track."""
    if detections.track_ids is None or detections.coasted is None:
        return [""] * len(detections)
    columns = zip(detections.track_ids.tolist(), detections.coasted.tolist(), strict=True)
    texts = [f"({track_id})" if coasts else str(track_id) for track_id, coasts in columns]
    return ["" if text == str(UNTRACKED) else text for text in texts]


class ViewBuilder:
    """Turns each step of a detector into a view; keeps the paths of its tracks and the scene's start time.

    Args:
        detector: The detector that is stepped.
        title: Title of the views, such as the scene's name.
        min_score: Lowest score of detections whose paths are kept.
    """

    def __init__(self, detector: StreamingDetector, title: str, *, min_score: float = 0.25) -> None:
        self.detector = detector
        self.title = title
        self.min_score = min_score
        self._paths: dict[int, Tensor] = {}
        self._start: float | None = None

    def view(self, frame: Frame, detections: StreamDetections, reads: Sequence[TracedRead] = ()) -> FrameView:
        """Return the view of a frame, right after the detector's step on it and with what the step read."""
        self._start = frame.timestamp if self._start is None else self._start
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
            gate=detections.gate,
            occupancy=detections.occupancy,
            global_from_lidar=frame.global_from_lidar,
            tracks=self._tracks(detections[detections.scores >= self.min_score], frame.global_from_lidar),
            memory=self._memory(reads),
        )

    def _tracks(self, detections: Detections, global_from_lidar: Tensor) -> list[TrackView]:
        """Return the tracks of detections, each longer by its centre in this frame."""
        if detections.track_ids is None:
            return []
        centres = transform_points(global_from_lidar, detections.boxes[:, :3].double())
        tracks = []
        for row, track_id in enumerate(detections.track_ids.tolist()):
            if track_id != UNTRACKED:
                before = self._paths.get(track_id, centres[:0])
                self._paths[track_id] = torch.cat((before, centres[row : row + 1]))
                tracks.append(TrackView(track_id, int(detections.labels[row]), self._paths[track_id]))
        return tracks

    def _memory(self, reads: Sequence[TracedRead]) -> MemoryView | None:
        cfg = self.detector.cfg
        return MemoryView(cfg.memory_grid, reads[-1], cfg.MODEL.MEMORY.LONG_TERM.MAX_TOKENS) if reads else None


def view_scene(
    detector: StreamingDetector,
    index: NuScenesIndex,
    scene: int,
    *,
    frames: int | None = None,
    min_score: float = 0.25,
    progress: bool = True,
) -> list[FrameView]:
    """Stream a scene, or its first `frames` key frames, from an empty memory and return a view of each."""
    builder = ViewBuilder(detector, index.scene_name(scene), min_score=min_score)
    total = min(frames or sys.maxsize, len(index.scene_frames(scene)))
    steps = islice(stream_scene(detector, index, scene), total)
    bar = with_progress(range(total), "Streaming frames", total, disable=not progress)
    views: list[FrameView] = []
    for _ in bar:
        with trace_reads() as reads:
            frame, detections = next(steps)
        views.append(builder.view(frame, detections, reads))
    return views


def view_keyframe(detector: StreamingDetector, folder: Path) -> FrameView:
    """Stream one real key frame from an empty memory and return its view.

    Args:
        detector: The detector to stream with.
        folder: Folder of the key frame (see `read_keyframe`).

    Raises:
        DataError: The folder doesn't hold a key frame.
    """
    cfg = detector.cfg
    frame = read_keyframe(folder, cfg.CLASS_NAMES)
    detector.reset(frame.scene_token)
    detections = detector.step(frame.points, frame.global_from_lidar, frame.timestamp, frame.scene_token)
    return FrameView(
        grid=cfg.feature_grid,
        class_names=cfg.CLASS_NAMES,
        points=frame.points,
        gt_boxes=frame.boxes,
        gt_labels=frame.labels,
        gt_num_points=frame.num_points,
        detections=detections,
        gate=detections.gate,
    )
