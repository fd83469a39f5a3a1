"""Streaming a detector over a split, and measuring its detections.

Detecting is streaming: the same steps, in the same order, as in a stream on a robot.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from remembev.config import Config
from remembev.data import NuScenesIndex
from remembev.distributed import (
    device_per_process,
    gather_results,
    longest_first,
    partition_scenes,
    process_group,
    run_in_pool,
    torchrun_env,
)
from remembev.errors import DataError, UserError
from remembev.evaluation.detecting import (
    TRACKS,
    DetectScene,
    Records,
    SceneDetections,
    SceneDetector,
    open_scene_detector,
)
from remembev.evaluation.official import OfficialTruth
from remembev.evaluation.official_tracking import TrackingScore, check_installed, score_tracking
from remembev.evaluation.result import Evaluation, measure
from remembev.evaluation.submission import as_submission, as_tracking_submission, write_submission
from remembev.export import open_detector
from remembev.files import atomic_write
from remembev.models import Detections
from remembev.progress import with_progress
from remembev.streaming import Detector

SUBMISSION_FILE = "submission.json"
TRACKING_FILE = "tracking_submission.json"
DETECTIONS_FILE = "detections.jsonl"
METRICS_FILE = "metrics.json"


def evaluate(
    detector: Detector[Detections],
    index: NuScenesIndex,
    version: str,
    split: str,
    out: Path,
    *,
    use_memory: bool = True,
    tracks: Sequence[str] = TRACKS[:1],
    remembered: bool = False,
    tracked: bool = False,
    limit_scenes: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """Evaluate a detector on a split.

    Writes ``submission.json``, ``detections.jsonl`` and ``metrics.json``, and ``tracking_submission.json`` if tracked.

    Args:
        detector: The detector.
        index: The data set.
        version: Its version.
        split: The split.
        out: Folder to write to.
        use_memory: If False, the memory is emptied before every frame.
        tracks: Of ``TRACKS``; all measures are of the first one, the others get an official score.
        remembered: Submit boxes without a point of the current sweep inside too.
        tracked: Score the detections' tracks too; needs the extra ``tracking``.
        limit_scenes: Evaluate the first scenes only.
        progress: Show a progress bar.

    Raises:
        DataError: If the data set has no such split, or it is empty.
        UserError: If tracks would be scored with a memory of half a second.
    """
    work = _Work(index, version, split, out, use_memory, tracks, remembered, limit_scenes, tracked)
    detect = SceneDetector(detector, index, tracks, use_memory)
    return work.finish(_detect(lambda _: detect, [""], work.num_frames, progress=progress), detector.cfg)


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
    tracker: bool | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    devices: int = 1,
    limit_scenes: int | None = None,
    progress: bool = True,
) -> Evaluation | None:
    """Evaluate a checkpoint or an exported file; see ``evaluate``.

    Args:
        checkpoint: The checkpoint, shipped weights or exported file.
        data_root: Root of the data set.
        out: Folder to write to.
        version: Version of the data set; default: the configuration's.
        split: The split; default: the configuration's test split.
        use_memory: If False, the memory is emptied before every frame.
        tracks: Of ``TRACKS``.
        remembered: Submit remembered boxes too.
        tracker: Track the objects, add the boxes of lost tracks, and score the tracks too; needs the extra
            ``tracking``. Default: as the configuration says.
        device: Device to run on.
        dtype: Of backbone and head, float32 or bfloat16.
        devices: Processes that share the scenes, each with its own GPU if ``device`` is ``cuda``; under torchrun the
            processes are torchrun's.
        limit_scenes: Evaluate the first scenes only.
        progress: Show a progress bar.

    Returns:
        The evaluation; None in all processes of torchrun but the first.

    Raises:
        CheckpointError: If the checkpoint can't be used.
        DataError: If the data set can't be used.
        UserError: If tracks would be scored with a memory of half a second.
    """
    cfg = open_detector(checkpoint).cfg
    tracker = cfg.TRACKING.ENABLED if tracker is None else tracker
    version, split = version or cfg.DATA_CONFIG.VERSION, split or cfg.DATA_CONFIG.DATA_SPLIT.test
    index = NuScenesIndex.open(data_root, version)
    work = _Work(index, version, split, out, use_memory, tracks, remembered, limit_scenes, tracker)
    make = partial(open_scene_detector, checkpoint, index, tracks, use_memory, dtype, tracker)
    env = torchrun_env(devices)
    if env is None:
        results = _detect(make, device_per_process(device, devices), work.num_frames, progress=progress)
        return work.finish(results, cfg)
    own_scenes = partition_scenes(work.num_frames, env.world_size)[env.rank]
    own = {scene: work.num_frames[scene] for scene in own_scenes}
    own_device = f"cuda:{env.local_rank}" if device == "cuda" else device
    with process_group():
        results = gather_results(_detect(make, [own_device], own, progress=progress and env.rank == 0))
    return work.finish(results, cfg) if env.rank == 0 else None


@dataclass
class _Work:
    """An evaluation: its scenes, and the measuring after detection."""

    index: NuScenesIndex
    version: str
    split: str
    out: Path
    use_memory: bool
    tracks: Sequence[str]
    remembered: bool
    limit_scenes: int | None
    tracked: bool
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.tracked:
            check_installed()
            if set(self.tracks) != {TRACKS[0]}:
                raise UserError("a tracker remembers the whole scene: it can't be scored with half a second of memory")
        self.scenes = self.index.split_scenes(self.split)[: self.limit_scenes]
        if not self.scenes:
            raise DataError(f"{self.index.root} ({self.version}): the split {self.split!r} has no scene")
        self.num_frames = {scene: len(self.index.scene_frames(scene)) for scene in self.scenes}

    def finish(self, results: Mapping[int, SceneDetections], cfg: Config) -> Evaluation:
        """Write the detections, measure them, and write the measures."""
        seconds = time.perf_counter() - self.started
        by_track = {track: [results[scene].records[track] for scene in self.scenes] for track in self.tracks}
        first, *others = self.tracks
        submission = as_submission(by_track[first], remembered=self.remembered)
        write_submission(self.out / SUBMISSION_FILE, submission)
        with atomic_write(self.out / DETECTIONS_FILE) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for scene in by_track[first] for record in scene)

        names = [self.index.scene_name(scene) for scene in self.scenes]
        truth = OfficialTruth(self.index.root, self.version, names)
        matches = truth.match(submission, self.out / SUBMISSION_FILE)
        scores = {first: matches.score()}
        for track in others:
            of_track = as_submission(by_track[track], remembered=self.remembered)
            same = of_track == submission  # a detector without a memory
            scores[track] = scores[first] if same else truth.match(of_track, f"track {track}").score()
        annotated = [
            [self.index.load_annotations(number) for number in self.index.scene_frames(scene)] for scene in self.scenes
        ]
        tracking = self._score_tracks(truth, by_track[first]) if self.tracked else None
        evaluation = Evaluation(
            with_memory=self.use_memory,
            split=self.split,
            frames=len(submission),
            seconds=seconds,
            remembered=self.remembered,
            tracks=scores,
            measures=measure(
                by_track[first],
                [results[scene].occupancy for scene in self.scenes],
                annotated,
                matches,
                cfg,
                self._sets(),
            ),
            tracking=tracking,
        )
        with atomic_write(self.out / METRICS_FILE) as temporary:
            temporary.write_text(json.dumps(evaluation.to_json(), indent=2) + "\n", encoding="utf-8")
        return evaluation

    def _score_tracks(self, truth: OfficialTruth, scenes: Sequence[Records]) -> TrackingScore:
        """Write the tracking submission and score it."""
        submission = as_tracking_submission(scenes, remembered=self.remembered)
        write_submission(self.out / TRACKING_FILE, submission)
        return score_tracking(truth, submission, self.out / TRACKING_FILE)

    def _sets(self) -> dict[str, list[int]]:
        """Return the positions of the scenes of each set, such as ``val_doors`` of the split ``val``, by its name."""
        names = [name for name in self.index.splits if name.startswith(f"{self.split}_")]
        sets = {name: set(self.index.split_scenes(name)) for name in names}
        positions = {
            name: [position for position, scene in enumerate(self.scenes) if scene in scenes]
            for name, scenes in sets.items()
        }
        return {name: of_set for name, of_set in positions.items() if of_set}


def _detect(
    make: Callable[[str], DetectScene],
    devices: Sequence[str],
    num_frames: Mapping[int, int],
    *,
    progress: bool,
) -> dict[int, SceneDetections]:
    """Detect on each scene: in this process, or with several devices in one process per device."""
    if len(devices) > 1:
        done = run_in_pool(make, devices, longest_first(num_frames))
    else:
        detect = make(devices[0])
        done = ((scene, detect(scene)) for scene in num_frames)
    total = sum(num_frames.values())
    return dict(
        with_progress(done, "Detecting, frames", total, size=lambda found: num_frames[found[0]], disable=not progress)
    )
