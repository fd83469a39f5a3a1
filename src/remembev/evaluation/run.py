"""Running a detector over a split as a stream, and scoring what it says.

Detecting is streaming: the same steps, in the same order, that a user of the stream takes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation.scoring import DetectionScore, score_submission
from remembev.evaluation.submission import Results, submission_boxes, write_submission
from remembev.export import open_detector
from remembev.files import replacing
from remembev.streaming import Detector, stream_scene

SUBMISSION_FILE = "submission.json"
METRICS_FILE = "metrics.json"


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
    steps = chain.from_iterable(stream_scene(detector, index, scene, use_memory=use_memory) for scene in scenes)
    total = sum(len(index.scene_frames(scene)) for scene in scenes)
    bar = track(steps, "Detecting", total, console=Console(stderr=True), transient=True, disable=not progress)
    return {
        frame.sample_token: submission_boxes(detections, class_names, frame.global_from_lidar, frame.sample_token)
        for frame, detections in bar
    }


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
    """``evaluate`` for a checkpoint or an exported file; version and split are those of its configuration unless given.

    Raises CheckpointError or DataError for what can't be used.
    """
    detector = open_detector(checkpoint, device)
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
