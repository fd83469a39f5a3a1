"""Running a detector over a split as a stream, and measuring what it says.

Detecting is streaming: the same steps, in the same order, that a user of the stream takes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from remembev.config import Config
from remembev.data import NuScenesIndex
from remembev.distributed import torchrun_env
from remembev.errors import DataError
from remembev.evaluation.detecting import TRACKS, DetectScene, SceneDetections, SceneDetector, open_scene_detector
from remembev.evaluation.official import OfficialTruth
from remembev.evaluation.result import Evaluation, measure
from remembev.evaluation.sharing import detect_in_pool, gather, joined, longest_first, partition_scenes, share_devices
from remembev.evaluation.submission import as_submission, write_submission
from remembev.export import open_detector
from remembev.files import atomic_write
from remembev.streaming import Detector

SUBMISSION_FILE = "submission.json"
DETECTIONS_FILE = "detections.jsonl"
METRICS_FILE = "metrics.json"


def evaluate(
    detector: Detector,
    index: NuScenesIndex,
    version: str,
    split: str,
    out: Path,
    *,
    use_memory: bool = True,
    tracks: Sequence[str] = TRACKS[:1],
    remembered: bool = False,
    limit_scenes: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """Detect on a split (or its first scenes), measure, and write ``submission.json``, ``detections.jsonl`` and
    ``metrics.json`` to ``out``.

    use_memory  or else the memory is emptied before every frame
    tracks      of ``TRACKS``; all measures are of the first, the others have an official score
    remembered  hand in remembered boxes too: boxes without a point of the current sweep inside

    Raises DataError for a split that the data set doesn't have or that is empty.
    """
    work = _Work(index, version, split, out, use_memory, tracks, remembered, limit_scenes)
    detect = SceneDetector(detector, index, tracks, use_memory)
    found = _detect(lambda _: detect, [""], index, work.scenes, progress=progress)
    return work.finish(found, detector.cfg)


def evaluate_checkpoint(
    checkpoint: Path,
    data_root: Path,
    out: Path,
    *,
    version: str | None = None,
    split: str | None = None,
    use_memory: bool = True,
    tracks: Sequence[str] = TRACKS[:1],
    remembered: bool = False,
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
    cfg = open_detector(checkpoint).cfg
    version, split = version or cfg.DATA_CONFIG.VERSION, split or cfg.DATA_CONFIG.DATA_SPLIT.test
    index = NuScenesIndex.open(data_root, version)
    work = _Work(index, version, split, out, use_memory, tracks, remembered, limit_scenes)
    make = partial(open_scene_detector, checkpoint, index, tracks, use_memory, dtype)
    among = torchrun_env(devices)
    if among is None:
        found = _detect(make, share_devices(device, devices), index, work.scenes, progress=progress)
    else:
        own = partition_scenes(work.scenes, index, among.everywhere)[among.rank]
        own_device = f"cuda:{among.local_rank}" if device == "cuda" else device
        with joined():
            found = gather(_detect(make, [own_device], index, own, progress=progress and among.rank == 0))
        if among.rank > 0:
            return None
    return work.finish(found, cfg)


@dataclass
class _Work:
    """What is to be evaluated, and what remains to be done when detecting is."""

    index: NuScenesIndex
    version: str
    split: str
    out: Path
    use_memory: bool
    tracks: Sequence[str]
    remembered: bool
    limit_scenes: int | None
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.scenes = self.index.split_scenes(self.split)[: self.limit_scenes]
        if not self.scenes:
            raise DataError(f"{self.index.root} ({self.version}): the split {self.split!r} has no scene")

    def finish(self, found: Mapping[int, SceneDetections], cfg: Config) -> Evaluation:
        """Write what was found, measure it, and write the measures."""
        seconds = time.perf_counter() - self.started
        by_track = {track: [found[scene].records[track] for scene in self.scenes] for track in self.tracks}
        first, *others = self.tracks
        results = as_submission(by_track[first], remembered=self.remembered)
        write_submission(self.out / SUBMISSION_FILE, results)
        with atomic_write(self.out / DETECTIONS_FILE) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for scene in by_track[first] for record in scene)

        names = [self.index.scene_name(scene) for scene in self.scenes]
        truth = OfficialTruth(self.index.root, self.version, names)
        matches = truth.match(results, self.out / SUBMISSION_FILE)
        scores = {first: matches.score()}
        for track in others:
            of_track = as_submission(by_track[track], remembered=self.remembered)
            same = of_track == results  # a detector without a memory
            scores[track] = scores[first] if same else truth.match(of_track, f"track {track}").score()
        annotated = [
            [self.index.load_annotations(number) for number in self.index.scene_frames(scene)] for scene in self.scenes
        ]
        evaluation = Evaluation(
            with_memory=self.use_memory,
            split=self.split,
            frames=len(results),
            seconds=seconds,
            remembered=self.remembered,
            tracks=scores,
            measures=measure(
                by_track[first],
                [found[scene].occupancy for scene in self.scenes],
                annotated,
                matches,
                cfg,
                self._sets(),
            ),
        )
        with atomic_write(self.out / METRICS_FILE) as temporary:
            temporary.write_text(json.dumps(evaluation.to_json(), indent=2) + "\n", encoding="utf-8")
        return evaluation

    def _sets(self) -> dict[str, list[int]]:
        """Places of the scenes that are a split of their own too, by its name: ``val_doors`` where it is ``val``."""
        names = [name for name in self.index.splits if name.startswith(f"{self.split}_")]
        sets = {name: set(self.index.split_scenes(name)) for name in names}
        found = {
            name: [place for place, scene in enumerate(self.scenes) if scene in scenes] for name, scenes in sets.items()
        }
        return {name: places for name, places in found.items() if places}


def _detect(
    make: Callable[[str], DetectScene],
    devices: Sequence[str],
    index: NuScenesIndex,
    scenes: Sequence[int],
    *,
    progress: bool,
) -> dict[int, SceneDetections]:
    """What is found on each scene, here or, with several devices, in a process for each."""
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
        for scene, of_scene in done:
            found[scene] = of_scene
            bar.advance(task, len(index.scene_frames(scene)))
    return found
