"""Running a detector over a split as a stream, and scoring what it says.

Each scene is gone through in order of time, by the same ``step`` that a user of the stream calls.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import track
from torch import Tensor

from remembev.config import Config
from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation.scoring import DetectionScore, score_submission
from remembev.evaluation.submission import Results, submission_boxes, write_submission
from remembev.files import replacing
from remembev.models.detections import Detections
from remembev.streaming import StreamingDetector

SUBMISSION_FILE = "submission.json"
METRICS_FILE = "metrics.json"


class Detector(Protocol):
    """What is evaluated: ``StreamingDetector``, or anything that steps like it."""

    @property
    def cfg(self) -> Config:
        """Its configuration: the classes and sweeps it was made for."""

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Detections:
        """Detections of the next frame of a scene, in its LiDAR frame."""

    def reset(self, scene_token: str | None = None) -> None:
        """Forget one scene, or all of them."""


@dataclass(frozen=True)
class Evaluation:
    """A score and how it came about; ``seconds`` is the time that reading and detecting took, without the scoring."""

    score: DetectionScore
    with_memory: bool
    split: str
    frames: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Everything on one level, for ``metrics.json``."""
        return {
            "with_memory": self.with_memory,
            "split": self.split,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            **self.score.to_json(),
        }


def detect_scenes(
    detector: Detector, index: NuScenesIndex, scenes: Sequence[int], *, use_memory: bool = True, progress: bool = True
) -> Results:
    """Boxes of every key frame of ``scenes``, by sample token.

    The memory is empty at the start of each scene; without ``use_memory`` it is at the start of each frame.
    """
    class_names = detector.cfg.CLASS_NAMES
    num_sweeps = detector.cfg.DATA_CONFIG.NUM_SWEEPS
    starts = {index.scene_frames(scene).start for scene in scenes}
    numbers = [number for scene in scenes for number in index.scene_frames(scene)]
    console = Console(stderr=True)
    results: Results = {}
    for number in track(numbers, "Detecting", console=console, transient=True, disable=not progress):
        if number in starts or not use_memory:
            detector.reset()
        frame = index.load_frame(number, class_names, num_sweeps)
        detections = detector.step(frame.points, frame.global_from_lidar, frame.timestamp, frame.scene_token)
        results[frame.sample_token] = submission_boxes(
            detections, class_names, frame.global_from_lidar, frame.sample_token
        )
    return results


def evaluate(
    detector: Detector,
    index: NuScenesIndex,
    version: str,
    split: str,
    out: Path,
    *,
    use_memory: bool = True,
    limit_scenes: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """Detect on a split (or its first scenes), write ``submission.json`` and ``metrics.json`` to ``out``, and score.

    Raises DataError for a split that the data set doesn't have or that is empty.
    """
    scenes = index.split_scenes(split)[:limit_scenes]
    if not scenes:
        raise DataError(f"{index.root} ({version}): the split {split!r} has no scene")
    started = time.perf_counter()
    results = detect_scenes(detector, index, scenes, use_memory=use_memory, progress=progress)
    seconds = time.perf_counter() - started
    submission = out / SUBMISSION_FILE
    write_submission(submission, results)
    score = score_submission(submission, index.root, version, [index.scene_name(scene) for scene in scenes])
    evaluation = Evaluation(score, use_memory, split, len(results), seconds)
    with replacing(out / METRICS_FILE) as temporary:
        temporary.write_text(json.dumps(evaluation.to_json(), indent=2) + "\n")
    return evaluation


def evaluate_checkpoint(
    checkpoint: Path,
    data_root: Path,
    out: Path,
    *,
    version: str | None = None,
    split: str | None = None,
    use_memory: bool = True,
    device: str = "cpu",
    limit_scenes: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """``evaluate`` for a checkpoint; version and split are those of its configuration unless given.

    Raises CheckpointError or DataError for what can't be used.
    """
    detector = StreamingDetector.from_checkpoint(checkpoint, device)
    data = detector.cfg.DATA_CONFIG
    version = version or data.VERSION
    return evaluate(
        detector,
        NuScenesIndex.open(data_root, version),
        version,
        split or data.DATA_SPLIT.test,
        out,
        use_memory=use_memory,
        limit_scenes=limit_scenes,
        progress=progress,
    )
