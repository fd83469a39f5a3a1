"""Evaluation on recordings of a few frames: a real key frame, a pair of frames, a file of stacked sweeps.

``frame_scores.py`` has the scores; here the frames are streamed, and false boxes are counted by the age of the stream.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from remembev.evaluation.frame_scores import (
    PRECISION,
    FrameMatches,
    FrameScore,
    PrecisionRecall,
    match_in_range,
    precision_recall,
    score_frames,
)
from remembev.evaluation.run import METRICS_FILE
from remembev.evaluation.scoring import nan_to_none
from remembev.files import atomic_write
from remembev.models import Detections
from remembev.streaming import Detector, stream_frames
from remembev.streaming.sources.recordings import Recording, play_to_and_fro

THRESHOLDS = (0.1, 0.2, 0.3, 0.5)
"""Scores from which on boxes count."""
STREAM_AGES = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 40), (41, 80), (81, 160), (161, None))
"""Ranges of the number of a frame in its stream, from 1 on, first and last included."""


@dataclass(frozen=True)
class StreamAge:
    """Boxes a frame among the frames from ``from_frame`` to ``to_frame`` (None: the last one) of every stream.

    Attributes:
        from_frame: First frame, from 1 on.
        to_frame: Last frame.
        frames: Number of frames over the streams.
        boxes: Boxes a frame that count.
        remembered: Boxes a frame without a point of the current turn inside, whether they count or not.
        false_boxes: Boxes a frame that match no object; NaN without annotations.
        recall: Of the objects of these frames; NaN without annotations.
    """

    from_frame: int
    to_frame: int | None
    frames: int
    boxes: float
    remembered: float
    false_boxes: float
    recall: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None for NaN."""
        plain: dict[str, Any] = nan_to_none(vars(self))
        return plain


@dataclass(frozen=True)
class LoopEvaluation:
    """Boxes by the age of the stream with recordings played to and fro, with a memory and without.

    Attributes:
        steps: Frames of each stream.
        threshold: Score from which on boxes count.
        with_memory: By age.
        without_memory: By age.
    """

    steps: int
    threshold: float
    with_memory: Sequence[StreamAge]
    without_memory: Sequence[StreamAge]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "steps": self.steps,
            "threshold": self.threshold,
            "with_memory": [age.to_json() for age in self.with_memory],
            "without_memory": [age.to_json() for age in self.without_memory],
        }


@dataclass(frozen=True)
class FramesEvaluation:
    """Scores on recordings of a few frames.

    Attributes:
        class_names: The classes.
        with_memory: True if the memory was kept from frame to frame.
        remembered: True if boxes without a point of the current turn count too.
        threshold: Score from which on boxes count where one threshold is shown.
        matches: Of every frame.
        loop: Boxes by the age of the stream, if that was asked for.
    """

    class_names: Sequence[str]
    with_memory: bool
    remembered: bool
    threshold: float
    matches: Sequence[FrameMatches]
    loop: LoopEvaluation | None = None

    @property
    def annotated(self) -> list[FrameMatches]:
        """The annotated frames."""
        return [frame for frame in self.matches if frame.annotated]

    @property
    def thresholds(self) -> list[float]:
        """``THRESHOLDS`` and the shown one, in order."""
        return sorted({*THRESHOLDS, self.threshold})

    def score(self, threshold: float, label: int | None = None) -> FrameScore:
        """Return the score over the annotated frames, of one class or of all."""
        return score_frames(self.annotated, threshold, label)

    def curve(self, label: int) -> PrecisionRecall:
        """Return precision and recall of a class over the annotated frames."""
        return precision_recall(self.annotated, label)

    def mean_ap(self) -> float:
        """Return the mean average precision over the classes that have an object; NaN without any."""
        by_class = [self.curve(label).average_precision() for label in range(len(self.class_names))]
        defined = [value for value in by_class if not math.isnan(value)]
        return fmean(defined) if defined else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None for NaN."""
        return {
            "with_memory": self.with_memory,
            "remembered": self.remembered,
            "threshold": self.threshold,
            "annotated_frames": len(self.annotated),
            "mean_ap": nan_to_none(self.mean_ap()),
            "thresholds": {f"{threshold:g}": self._threshold_json(threshold) for threshold in self.thresholds},
            "classes": {name: self._curve_json(label) for label, name in enumerate(self.class_names)},
            "frames": [self._frame_json(frame) for frame in self.matches],
            "loop": None if self.loop is None else self.loop.to_json(),
        }

    def _threshold_json(self, threshold: float) -> dict[str, Any]:
        by_class = {name: self.score(threshold, label).to_json() for label, name in enumerate(self.class_names)}
        return {"all": self.score(threshold).to_json(), "classes": by_class}

    def _curve_json(self, label: int) -> dict[str, Any]:
        curve = self.curve(label)
        at_precision = curve.recall_at_precision()
        plain: dict[str, Any] = nan_to_none(
            {
                "average_precision": curve.average_precision(),
                "precision": PRECISION,
                "recall_at_precision": at_precision.recall,
                "threshold_at_precision": at_precision.threshold,
            }
        )
        return plain

    def _frame_json(self, frame: FrameMatches) -> dict[str, Any]:
        """Return the boxes of a frame, and its scores if it is annotated, by threshold and class."""
        plain: dict[str, Any] = {
            "scene": frame.scene,
            "sample_token": frame.sample_token,
            "annotated": frame.annotated,
            "boxes": {f"{threshold:g}": count_boxes(frame, threshold) for threshold in self.thresholds},
        }
        if frame.annotated:
            labels = {"all": None, **{name: label for label, name in enumerate(self.class_names)}}
            plain["thresholds"] = {
                f"{threshold:g}": {
                    name: score_frames([frame], threshold, label).to_json() for name, label in labels.items()
                }
                for threshold in self.thresholds
            }
        return plain


def evaluate_frames(
    detector: Detector[Detections],
    recordings: Sequence[Recording],
    *,
    use_memory: bool = True,
    remembered: bool = False,
    threshold: float = 0.3,
    loop: int | None = None,
) -> FramesEvaluation:
    """Stream recordings and score their annotated frames.

    Args:
        detector: The detector.
        recordings: The recordings, each streamed from an empty memory.
        use_memory: If False, the memory is emptied before every frame.
        remembered: Count boxes without a point of the current turn inside too.
        threshold: Score from which on boxes count where one threshold is shown.
        loop: Also play each recording to and fro for so many frames, with a memory and without.
    """
    scenes = [match_recording(detector, one, use_memory=use_memory, remembered=remembered) for one in recordings]
    return FramesEvaluation(
        class_names=detector.cfg.CLASS_NAMES,
        with_memory=use_memory,
        remembered=remembered,
        threshold=threshold,
        matches=[frame for scene in scenes for frame in scene],
        loop=None if loop is None else evaluate_loop(detector, recordings, loop, threshold, remembered=remembered),
    )


def evaluate_loop(
    detector: Detector[Detections],
    recordings: Sequence[Recording],
    steps: int,
    threshold: float,
    *,
    remembered: bool = False,
) -> LoopEvaluation:
    """Play recordings to and fro for ``steps`` frames, and count boxes by the age of the stream."""
    played = [play_to_and_fro(recording, steps) for recording in recordings]
    with_memory, without_memory = (
        [match_recording(detector, one, use_memory=use_memory, remembered=remembered) for one in played]
        for use_memory in (True, False)
    )
    return LoopEvaluation(
        steps, threshold, by_stream_age(with_memory, threshold), by_stream_age(without_memory, threshold)
    )


def match_recording(
    detector: Detector[Detections], recording: Recording, *, use_memory: bool = True, remembered: bool = False
) -> list[FrameMatches]:
    """Stream a recording and match the boxes of each frame; arguments as of ``evaluate_frames``."""
    data, names = detector.cfg.DATA_CONFIG, detector.cfg.CLASS_NAMES
    return [
        match_in_range(
            frame,
            detections,
            names,
            data.POINT_CLOUD_RANGE,
            scene=recording.name,
            annotated=recording.annotated,
            remembered=remembered,
        )
        for frame, detections in stream_frames(detector, recording.load(data.NUM_SWEEPS), use_memory=use_memory)
    ]


def by_stream_age(streams: Sequence[Sequence[FrameMatches]], threshold: float) -> list[StreamAge]:
    """Return boxes a frame by the age of the stream, as far as the streams go."""
    rows = []
    for first, last in STREAM_AGES:
        frames = [frame for stream in streams for frame in stream[first - 1 : last]]
        if frames:
            rows.append(_stream_age(first, last, frames, threshold))
    return rows


def count_boxes(frame: FrameMatches, threshold: float) -> int:
    """Return the number of boxes that score at least ``threshold``."""
    return int((frame.scores >= threshold).sum())


def write_metrics(evaluation: FramesEvaluation, out: Path) -> None:
    """Write ``metrics.json`` to a folder."""
    with atomic_write(out / METRICS_FILE) as temporary:
        temporary.write_text(json.dumps(evaluation.to_json(), indent=2) + "\n", encoding="utf-8")


def _stream_age(first: int, last: int | None, frames: Sequence[FrameMatches], threshold: float) -> StreamAge:
    annotated = [frame for frame in frames if frame.annotated]
    score = score_frames(annotated, threshold)
    remembered = sum(int((frame.remembered_scores >= threshold).sum()) for frame in frames)
    return StreamAge(
        from_frame=first,
        to_frame=last,
        frames=len(frames),
        boxes=sum(count_boxes(frame, threshold) for frame in frames) / len(frames),
        remembered=remembered / len(frames),
        false_boxes=score.false_per_frame if annotated else math.nan,
        recall=score.recall,
    )
