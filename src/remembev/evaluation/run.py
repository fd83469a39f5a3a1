"""Running a detector over a split as a stream, and scoring what it says.

Detecting is streaming: the same steps, in the same order, that a user of the stream takes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, track

from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation.scoring import DetectionScore, score_submission
from remembev.evaluation.sharing import (
    DetectScene,
    deal,
    detect_in_pool,
    gather,
    joined,
    longest_first,
    share_devices,
)
from remembev.evaluation.submission import Results, submission_boxes, write_submission
from remembev.export import open_detector
from remembev.files import replacing
from remembev.processes import launched
from remembev.streaming import Detector, stream_scene

SUBMISSION_FILE = "submission.json"
METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Evaluation:
    """A score and how it came about; ``seconds`` is the time that detecting took, reading included, scoring not."""

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
    scenes = _scenes(index, version, split, limit_scenes)
    started = time.perf_counter()
    results = detect_scenes(detector, index, scenes, use_memory=use_memory, progress=progress)
    return _score(results, index, version, split, scenes, out, use_memory, time.perf_counter() - started)


def evaluate_checkpoint(
    checkpoint: Path,
    data_root: Path,
    out: Path,
    *,
    version: str | None = None,
    split: str | None = None,
    use_memory: bool = True,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    devices: int = 1,
    limit_scenes: int | None = None,
    progress: bool = True,
) -> Evaluation | None:
    """``evaluate`` for a checkpoint or an exported file; version and split are those of its configuration unless given.

    dtype    of backbone and head, float32 or bfloat16
    devices  processes that share the scenes, each with a GPU of its own where ``device`` is ``cuda``; under torchrun
             the processes are torchrun's, and all but the first return None

    Raises CheckpointError or DataError for what can't be used.
    """
    cfg = open_detector(checkpoint).cfg.DATA_CONFIG
    version, split = version or cfg.VERSION, split or cfg.DATA_SPLIT.test
    index = NuScenesIndex.open(data_root, version)
    scenes = _scenes(index, version, split, limit_scenes)
    make = partial(_CheckpointOnScenes, checkpoint, index, use_memory, dtype)
    started = time.perf_counter()
    among = launched(devices)
    if among is None:
        found = _detect(make, share_devices(device, devices), index, scenes, progress=progress)
    else:
        own = deal(scenes, index, among.everywhere)[among.rank]
        own_device = f"cuda:{among.local_rank}" if device == "cuda" else device
        with joined():
            found = gather(_detect(make, [own_device], index, own, progress=progress and among.rank == 0))
        if among.rank > 0:
            return None
    results = {token: boxes for scene in scenes for token, boxes in found[scene].items()}
    return _score(results, index, version, split, scenes, out, use_memory, time.perf_counter() - started)


@dataclass
class _CheckpointOnScenes:
    """A checkpoint or an exported file on a device, which detects on one scene after the other."""

    checkpoint: Path
    index: NuScenesIndex
    use_memory: bool
    dtype: torch.dtype
    device: str

    def __post_init__(self) -> None:
        self.detector = open_detector(self.checkpoint, self.device, self.dtype)

    def __call__(self, scene: int) -> Results:
        return detect_scenes(self.detector, self.index, [scene], use_memory=self.use_memory, progress=False)


def _detect(
    make: Callable[[str], DetectScene],
    devices: Sequence[str],
    index: NuScenesIndex,
    scenes: Sequence[int],
    *,
    progress: bool,
) -> dict[int, Results]:
    """The results of each scene, detected here or, with several devices, in a process for each."""
    if len(devices) > 1:
        done = detect_in_pool(make, devices, longest_first(scenes, index))
    else:
        detect = make(devices[0])
        done = ((scene, detect(scene)) for scene in scenes)
    found = {}
    with Progress(
        *Progress.get_default_columns(), console=Console(stderr=True), transient=True, disable=not progress
    ) as bar:
        task = bar.add_task("Detecting", total=sum(len(index.scene_frames(scene)) for scene in scenes))
        for scene, results in done:
            found[scene] = results
            bar.advance(task, len(index.scene_frames(scene)))
    return found


def _scenes(index: NuScenesIndex, version: str, split: str, limit: int | None) -> list[int]:
    scenes = index.split_scenes(split)[:limit]
    if not scenes:
        raise DataError(f"{index.root} ({version}): the split {split!r} has no scene")
    return scenes


def _score(
    results: Results,
    index: NuScenesIndex,
    version: str,
    split: str,
    scenes: Sequence[int],
    out: Path,
    use_memory: bool,
    seconds: float,
) -> Evaluation:
    """Write the submission, score it, and write the score."""
    submission = out / SUBMISSION_FILE
    write_submission(submission, results)
    score = score_submission(submission, index.root, version, [index.scene_name(scene) for scene in scenes])
    evaluation = Evaluation(score, use_memory, split, len(results), seconds)
    with replacing(out / METRICS_FILE) as temporary:
        temporary.write_text(json.dumps(evaluation.to_json(), indent=2) + "\n")
    return evaluation
