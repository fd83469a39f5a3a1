"""``remembev compare``: peers trained in the same way on the same data, scored alike, over several seeds.

Every peer is trained as ``remembev train`` does: its own detector without a memory, on single frames (the start), and
from there the peer as it is. Peers whose starts are the same share one a seed. What a stopped comparison has done is
not done again; times are measured at the end, when nothing else of it runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console

from remembev.config import DEFAULT_VARIANTS, Config, apply_variant, load_config
from remembev.data import NuScenesIndex
from remembev.errors import DataError, UserError
from remembev.evaluation import TRACKS, evaluate_checkpoint
from remembev.experiments.jobs import Training, check_runs, run_jobs
from remembev.experiments.seeds import read_result, write_result
from remembev.experiments.standings import COMPARISON_FILE, Standings
from remembev.files import atomic_write
from remembev.models import load_checkpoint
from remembev.ops import StageTimer
from remembev.streaming import StreamingDetector
from remembev.training import describe_training, pretrain_config
from remembev.viewing.comparison import write_comparison

SAME = (
    "CLASS_NAMES",
    "DATA_CONFIG.VERSION",
    "DATA_CONFIG.DATA_SPLIT",
    "DATA_CONFIG.POINT_CLOUD_RANGE",
    "DATA_CONFIG.SEQ_LEN",
    "DATA_CONFIG.STRIDE",
    "DATA_CONFIG.BALANCED_RESAMPLING",
    "DATA_CONFIG.DATA_AUGMENTOR",
    "OPTIMIZATION.PRETRAIN",
    "OPTIMIZATION.BATCH_SIZE_PER_GPU",
    "OPTIMIZATION.NUM_EPOCHS",
    "OPTIMIZATION.BATCHES_PER_EPOCH",
)
"""What peers have to agree in, to see the same clips for as many steps."""


@dataclass(frozen=True)
class Variant:
    """What is compared: a configuration by its name."""

    name: str
    cfg: Config


def load_variants(
    sources: Sequence[str | Path], names: Sequence[str] = (), overrides: Sequence[str] = ()
) -> list[Variant]:
    """Return the named variants of one configuration, or several configurations as they are, each by its file's stem.

    Args:
        sources: Files and shipped names of configurations.
        names: Variants of the one configuration; the default ones if none is given.
        overrides: Changes to every configuration, which a variant is made from.

    Raises:
        UserError: If two have one name, or would not be trained on the same clips for as many steps.
    """
    if len(sources) == 1:
        cfg = load_config(sources[0], overrides)
        variants = [Variant(name, apply_variant(cfg, name)) for name in names or DEFAULT_VARIANTS]
    elif names:
        raise UserError(f"variants are made of one configuration, not of {len(sources)}")
    else:
        variants = [Variant(Path(source).stem, load_config(source, overrides)) for source in sources]
    if len({variant.name for variant in variants}) < len(variants):
        raise UserError(f"{', '.join(variant.name for variant in variants)}: variants need names of their own")
    first = variants[0]
    for variant in variants[1:]:
        for key in SAME:
            own, wanted = attrgetter(key)(variant.cfg), attrgetter(key)(first.cfg)
            if own != wanted:
                raise UserError(
                    f"{key} is {own} in {variant.name} and {wanted} in {first.name}: variants are trained alike"
                )
    return variants


def start_name(start: Config) -> str:
    """Name of the training of a start, made of what it is trained with where that is not the default."""
    values = start.model_dump(mode="json", exclude_defaults=True)
    return "start-" + sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Comparison:
    """What is compared, on what, and where it is kept.

    split   what is scored on
    tracks  what scoring goes by, of ``TRACKS``
    """

    peers: tuple[Variant, ...]
    data: Path
    out: Path
    seeds: int
    split: str
    tracks: tuple[str, ...]

    @cached_property
    def starts(self) -> dict[str, Config]:
        """What the start of each peer is trained with, by the peer's name; those that have none are left out."""
        starts = {peer.name: pretrain_config(peer.cfg) for peer in self.peers}
        return {name: start for name, start in starts.items() if start is not None}

    @property
    def asked(self) -> dict[str, str]:
        """How results are measured."""
        return {"split": self.split, "tracks": " ".join(self.tracks)}

    def trainings(self) -> list[Training]:
        """Starts and peers, seed by seed."""
        names = {peer: start_name(cfg) for peer, cfg in self.starts.items()}
        starts = {names[peer]: cfg for peer, cfg in self.starts.items()}
        jobs = []
        for seed in range(self.seeds):
            jobs += [Training(seed, name, cfg, self.data, self.out) for name, cfg in starts.items()]
            for peer in self.peers:
                start = names.get(peer.name)
                jobs.append(Training(seed, peer.name, peer.cfg, self.data, self.out, start, score_peer, self.asked))
        return jobs

    def timings(self) -> list[Timing]:
        """The times of each seed's peers."""
        names = tuple(peer.name for peer in self.peers)
        return [Timing(seed, names, self.data, self.out, self.asked) for seed in range(self.seeds)]

    def to_json(self) -> dict[str, Any]:
        """What reports are made by, beside the runs."""
        first, *others = self.peers
        return {
            "peers": [peer.name for peer in self.peers],
            "seeds": list(range(self.seeds)),
            "data": str(self.data.resolve()),
            "version": first.cfg.DATA_CONFIG.VERSION,
            "split": self.split,
            "tracks": " ".join(self.tracks),
            "starts": {peer: start_name(cfg) for peer, cfg in self.starts.items()},
            "differences": {peer.name: _differences(peer.cfg, first.cfg) for peer in others},
        }


def run_comparison(
    sources: Sequence[str | Path],
    data: Path,
    out: Path,
    *,
    variants: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: int = 3,
    split: str | None = None,
    tracks: Sequence[str] = TRACKS[:1],
    workers: int = 2,
    console: Console | None = None,
) -> list[Training | Timing]:
    """Train, score and time every peer for every seed, as far as ``out`` does not hold it, and report after each.

    split         to score on; the configurations' test split if not given
    tracks        to score by, of ``TRACKS``; the second takes a frame for each sweep
    workers       trainings at a time, in processes of one thread each
    returns       the jobs that failed or could not start; their logs say why

    Raises UserError for peers that can't be compared, for a data set that isn't there or lacks what they need, and if
    ``out`` holds runs of another configuration or on another data set.
    """
    peers = load_variants(sources, variants, overrides)
    split = split or peers[0].cfg.DATA_CONFIG.DATA_SPLIT.test
    comparison = Comparison(tuple(peers), data, out, seeds, split, tuple(tracks))
    index = _open_data(data, peers, split)
    check_runs(out, {peer.name: peer.cfg for peer in peers})
    _write_comparison(out, {**comparison.to_json(), "settings": _settings(comparison, index, overrides)})
    console = console or Console()

    def report(job: Training | Timing | None = None, seconds: float = 0.0) -> None:
        if job is not None:
            console.print(f"{job.title}: {'done' if job.done else f'failed, see {job.log}'} ({seconds:.0f} s)")
        _report(out, console)

    report()
    failed = run_jobs(comparison.trainings(), workers, report)
    return [*failed, *run_jobs(comparison.timings(), 1, report)]


def score_peer(trained: Training) -> dict[str, Any]:
    """Leave what ``remembev eval`` leaves in ``eval`` of a run; returns how many weights the model has."""
    weights = trained.run.weights
    device = "cuda" if torch.cuda.is_available() else "cpu"
    split, tracks = trained.asked["split"], trained.asked["tracks"].split()
    out = trained.run.out / "eval"
    evaluate_checkpoint(weights, trained.data, out, split=split, tracks=tracks, device=device, progress=False)
    return {"parameters": sum(weight.numel() for weight in load_checkpoint(weights).parameters())}


@dataclass(frozen=True)
class Timing:
    """The times of a frame of all peers of a seed, measured in turn in one process; added to their results."""

    seed: int
    peers: tuple[str, ...]
    data: Path
    out: Path
    asked: Mapping[str, str]

    @property
    def title(self) -> str:
        """What it is, in a line."""
        return f"seed {self.seed} times"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.out / f"seed-{self.seed}" / "times.log"

    @property
    def done(self) -> bool:
        """Whether every peer that has a result has its time."""
        return all("step_ms" in result for result in self._results().values())

    @property
    def ready(self) -> bool:
        """It waits for nothing."""
        return True

    def work(self) -> None:
        """Time all peers that have a result: figures measured at different times are not compared."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        results = self._results()
        detectors = {
            run: StreamingDetector.from_checkpoint(run / "model.safetensors", device=device) for run in results
        }
        version = next(iter(detectors.values())).cfg.DATA_CONFIG.VERSION
        index = NuScenesIndex.open(self.data, version)
        times = time_frames(detectors, index, index.split_scenes(self.asked["split"])[0])
        for run, (seconds, points) in times.items():
            write_result(run, {**results[run], "step_ms": 1e3 * seconds, "points": points, "device": device})

    def _results(self) -> dict[Path, dict[str, Any]]:
        runs = [self.out / f"seed-{self.seed}" / name for name in self.peers]
        results = {run: read_result(run, asked=self.asked) for run in runs}
        return {run: result for run, result in results.items() if result is not None}


def time_frames(
    detectors: Mapping[Path, StreamingDetector], index: NuScenesIndex, scene: int
) -> dict[Path, tuple[float, float]]:
    """Medians of the seconds that a frame takes, and of its points, over a scene's key frames from the second on.

    The detectors take each frame in turn, so that what else the machine does meets all alike; on a CPU it is the time
    of the process, of one thread. Each sees as many sweeps as its configuration says.
    """
    seconds: dict[Path, list[float]] = {name: [] for name in detectors}
    points: dict[Path, list[int]] = {name: [] for name in detectors}
    token = index.scene_token(scene)
    for number in index.scene_frames(scene):
        for name, detector in detectors.items():
            cfg = detector.cfg
            frame = index.load_frame(number, cfg.CLASS_NAMES, cfg.DATA_CONFIG.NUM_SWEEPS)
            now = _clock(detector.device)
            began = now()
            detector.step(frame.points, frame.global_from_lidar, frame.timestamp, token)
            seconds[name].append(now() - began)
            points[name].append(len(frame.points))
    return {name: (median(seconds[name][1:]), median(points[name][1:])) for name in detectors}


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds: of the process on a CPU, of the wall once the device has done all on a GPU."""
    return StageTimer(device).now if device.type == "cuda" else time.process_time


def _open_data(data: Path, peers: Sequence[Variant], split: str) -> NuScenesIndex:
    """The index of the data set. Raises DataError if it isn't there or lacks the split, or sweeps that a peer wants."""
    deepest = max(peers, key=lambda peer: peer.cfg.DATA_CONFIG.NUM_SWEEPS)
    make = f"remembev simulate {data} --scenes 24 --sets all" + " --sweeps" * (deepest.cfg.DATA_CONFIG.NUM_SWEEPS > 0)
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; a simulated data set is made by: {make}")
    index = NuScenesIndex.open(data, deepest.cfg.DATA_CONFIG.VERSION)
    if deepest.cfg.DATA_CONFIG.NUM_SWEEPS > 0 and not index.has_sweeps:
        raise DataError(
            f"{data} has no sweeps between its key frames, and {deepest.name} stacks "
            f"{deepest.cfg.DATA_CONFIG.NUM_SWEEPS}; a simulated data set with sweeps is made by: {make}"
        )
    if not index.split_scenes(split):
        raise DataError(f"{data}: the split {split!r} has no scene")
    return index


def _write_comparison(out: Path, comparison: Mapping[str, Any]) -> None:
    """Write what is compared. Raises UserError where the folder holds a comparison on another data set."""
    file = out / COMPARISON_FILE
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        for key in ("data", "version"):
            if before[key] != comparison[key]:
                raise UserError(f"{out} holds runs on {before[key]}, not {comparison[key]}: give another folder")
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(comparison, indent=2) + "\n", encoding="utf-8")


def _report(out: Path, console: Console) -> None:
    """Show how things stand, and write it to ``compare.md`` and ``report.html``."""
    standings = Standings.read(out)
    with atomic_write(out / "compare.md") as temporary:
        temporary.write_text(standings.to_markdown(), encoding="utf-8")
    write_comparison(out)
    if not standings.empty:
        for table in standings.to_tables():
            console.print(table)


def _settings(comparison: Comparison, index: NuScenesIndex, overrides: Sequence[str]) -> dict[str, str]:
    """How the peers are trained and scored, a line each, for the report."""
    first = comparison.peers[0]
    parts = first.cfg.DATA_CONFIG

    def size(name: str) -> str:
        scenes = index.split_scenes(name)
        return f"{name}: {len(scenes)} scenes, {sum(len(index.scene_frames(scene)) for scene in scenes)} key frames"

    return {
        "training": describe_training(first.cfg),
        "data": f"{index.root} ({parts.VERSION}); {size(parts.DATA_SPLIT.train)}; scored on {size(comparison.split)}",
        "changed": ", ".join(overrides) or "nothing",
        "machine": f"{os.cpu_count()} cores, torch {torch.__version__}, one thread a training",
    }


def _differences(cfg: Config, first: Config) -> list[str]:
    """The keys that differ, as ``KEY=value``."""
    own, other = _flat(cfg.model_dump(mode="json")), _flat(first.model_dump(mode="json"))
    return [f"{key}={own.get(key)}" for key in {**own, **other} if own.get(key) != other.get(key)]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
