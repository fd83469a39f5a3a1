"""``remembev ablate``: what each part of the memory brings, over several seeds, as a run that can be stopped at will.

For every seed the start of the configuration is trained once, and every variant goes on from its weights, with the same
clips in the same order, so that variants of one seed are compared in pairs. The report is made of the results, and made
again after each.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from torch import Tensor

from remembev.config import Config, config_to_yaml
from remembev.data import NuScenesIndex
from remembev.errors import UserError
from remembev.evaluation import evaluate
from remembev.evaluation.observability import HIDDEN_SECONDS, track_observability
from remembev.evaluation.occupancy import score_occupancy
from remembev.evaluation.permanence import ALLOWED
from remembev.experiments.jobs import Training, check_runs, run_jobs
from remembev.models import Detections, load_checkpoint
from remembev.streaming import StreamingDetector
from remembev.training import TrainingRun, describe_training, pretrain_config
from remembev.viewing.ablation import Ablation, write_ablation

START = "start"
"""Name of the training that all variants of a seed go on from."""
REFERENCE = "gate"
"""Name of the variant that the others are compared with."""


@dataclass(frozen=True)
class Variant:
    """One row of the table: what is changed under MODEL.MEMORY of a configuration, whose memory gates."""

    name: str
    what: str
    changes: Callable[[Config], dict[str, object]]

    def overrides(self, cfg: Config) -> list[str]:
        """The changes as ``KEY=value``."""
        return [f"{key}={value}" for key, value in self._changed_keys(cfg).items()]

    def _changed_keys(self, cfg: Config) -> dict[str, object]:
        changes = {"FUSION": "gate", **self.changes(cfg)}
        return {f"MODEL.MEMORY.{key}": value for key, value in changes.items()}

    def of(self, cfg: Config) -> Config:
        """The configuration with the changes. Raises ConfigError if it can't be had."""
        return cfg.with_changes(self._changed_keys(cfg))


def _first_in_first_out(cfg: Config) -> dict[str, object]:
    """The room of the long-term store as more frames of the working memory."""
    memory = cfg.MODEL.MEMORY
    more = math.ceil(memory.LONG_TERM.MAX_TOKENS / memory.tokens_per_frame(cfg.memory_grid))
    return {"LONG_TERM.MAX_TOKENS": 0, "WORKING.MAX_FRAMES": memory.max_frames + more}


def _conv_gru(cfg: Config) -> dict[str, object]:
    """About as many parameters as the memory has."""
    memory = cfg.MODEL.MEMORY
    return {
        "NAME": "ConvGRUBEVModule",
        "FEATURE_DIM": memory.FEATURE_DIM * 4 // 3,
        "HIDDEN_DIM": memory.HIDDEN_DIM * 5 // 2,
    }


def _foreground(cfg: Config) -> dict[str, object]:
    return {"FOREGROUND.TOKENS": cfg.memory_grid.height * cfg.memory_grid.width // 4}


VARIANTS = (
    Variant("none", "single frames, trained on for as long", lambda _: {"FUSION": "none"}),
    Variant("conv_gru", "a plain recurrent unit of about the same size instead", _conv_gru),
    Variant(REFERENCE, "the memory gates the features, and does nothing else", lambda _: {}),
    Variant("gate_and_read", "what is read is added to the features too", lambda _: {"FUSION": "gate_and_read"}),
    Variant("no_long_term", "the oldest frame is forgotten", lambda _: {"LONG_TERM.MAX_TOKENS": 0}),
    Variant("fifo", "the same with room for as many tokens: first in, first out", _first_in_first_out),
    Variant("random_prototypes", "prototypes drawn by lot", lambda _: {"LONG_TERM.CHOOSE": "random"}),
    Variant("positions", "the read knows distances", lambda _: {"READ.DISTANCE": "10 m"}),
    Variant("ages", "the read knows ages", lambda _: {"READ.AGE": "5 s"}),
    Variant("foreground", "only the best quarter of the cells is written", _foreground),
)


def trainings_of(seed: int, cfg: Config, variants: Mapping[str, Config], data: Path, out: Path) -> list[Training]:
    """The trainings of a seed: the start of the configuration, if it has one, and variants that go on from it."""
    start = _start(cfg)
    go_on_from = next(iter(start), None)
    return [
        *(Training(seed, name, one, data, out) for name, one in start.items()),
        *(Training(seed, name, one, data, out, go_on_from, _measure) for name, one in variants.items()),
    ]


def _start(cfg: Config) -> dict[str, Config]:
    """The start of a configuration by its name, if it has one."""
    start = pretrain_config(cfg)
    return {} if start is None else {START: start}


def _measure(trained: Training) -> dict[str, float | None]:
    return measure_run(trained.run, trained.data)


class Watched:
    """A streaming detector, and the occupancy that it gave every frame and how long it took."""

    def __init__(self, detector: StreamingDetector) -> None:
        self.detector = detector
        self.occupancy: list[Tensor] = []
        self.seconds: list[float] = []

    @property
    def cfg(self) -> Config:
        """The detector's configuration."""
        return self.detector.cfg

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Detections:
        """A step of the detector, its CPU time taken."""
        start = time.process_time()
        detections = self.detector.step(points, pose, timestamp, scene_token)
        self.seconds.append(time.process_time() - start)
        if self.detector.occupancy is not None:
            self.occupancy.append(self.detector.occupancy)
        return detections

    def reset(self, scene_token: str | None = None) -> None:
        """Forget one scene, or all of them."""
        self.detector.reset(scene_token)


def measure_run(run: TrainingRun, data: Path) -> dict[str, float | None]:
    """Everything that is measured of a trained variant on the test split, in one pass; None for what it has not."""
    model = load_checkpoint(run.weights)
    watched = Watched(StreamingDetector(model))
    cfg, parts = watched.cfg, watched.cfg.DATA_CONFIG
    index = NuScenesIndex.open(data, parts.VERSION)
    evaluation = evaluate(watched, index, parts.VERSION, parts.DATA_SPLIT.test, run.out, progress=False)
    scenes = [
        (index.load_annotations(number, cfg.CLASS_NAMES) for number in index.scene_frames(scene))
        for scene in index.split_scenes(parts.DATA_SPLIT.test)
    ]
    frames = [frame for scene in scenes for frame in track_observability(scene, parts.POINT_CLOUD_RANGE)]
    values = {
        "mean_ap": evaluation.score.mean_ap,
        "nds": evaluation.score.nds,
        **asdict(score_occupancy(frames, watched.occupancy, cfg.memory_grid)),
        "permanence": evaluation.measures.permanence.at(HIDDEN_SECONDS, ALLOWED),
        "memory_parameters": sum(weight.numel() for weight in model.memory.parameters()),
        "step_ms": 1e3 * median(watched.seconds),
    }
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def run_ablation(
    cfg: Config,
    data: Path,
    out: Path,
    *,
    name: str,
    overrides: Sequence[str] = (),
    seeds: int,
    only: Sequence[str] = (),
    workers: int = 2,
    console: Console | None = None,
) -> list[Training]:
    """Train and measure every variant for every seed, as far as ``out`` does not hold it, and report after each.

    name, overrides  how the configuration was given, for the report
    only             names of variants; all if none is given
    workers          processes, of one thread each
    returns          the jobs that failed or could not start; their logs say why

    Raises UserError for a variant that there isn't, and if ``out`` holds runs of another configuration.
    """
    unknown = set(only) - {variant.name for variant in VARIANTS}
    if unknown:
        known = ", ".join(variant.name for variant in VARIANTS)
        raise UserError(f"no variant {', '.join(sorted(unknown))}; there are {known}")
    index = NuScenesIndex.open(data, cfg.DATA_CONFIG.VERSION)
    configs = {variant.name: variant.of(cfg) for variant in VARIANTS}
    check_runs(out, {**_start(cfg), **configs})
    chosen = {name: one for name, one in configs.items() if not only or name in only}
    jobs = [job for seed in range(seeds) for job in trainings_of(seed, cfg, chosen, data, out)]
    settings = {"configuration": " ".join([name, *overrides]), **_settings(cfg, data, index)}
    console = console or Console()

    def report(job: Training | None = None, seconds: float = 0.0) -> None:
        if job is not None:
            console.print(f"seed {job.seed} {job.name}: {_outcome(job)} ({seconds:.0f} s)")
        write_ablation(out, _ablation(cfg, out, f"Ablation of {name}", settings))

    report()
    return run_jobs(jobs, workers, report)


def _outcome(job: Training) -> str:
    if job.result is None:
        return f"failed, see {job.log}"
    return f"mAP {job.result['mean_ap']:.4f}, NDS {job.result['nds']:.4f}" if job.measure else "trained"


def _ablation(cfg: Config, out: Path, title: str, settings: dict[str, str]) -> Ablation:
    """All results that a folder holds, whatever was asked for this time."""
    runs: dict[str, dict[int, dict[str, float | None]]] = {}
    for variant in VARIANTS:
        files = out.glob(f"seed-*/{variant.name}/result.json")
        runs[variant.name] = {
            int(file.parts[-3].removeprefix("seed-")): json.loads(file.read_text(encoding="utf-8")) for file in files
        }
    return Ablation(
        title=title,
        config=config_to_yaml(cfg),
        settings=settings,
        reference=REFERENCE,
        variants={variant.name: variant.what for variant in VARIANTS},
        changes={variant.name: variant.overrides(cfg) for variant in VARIANTS},
        runs=runs,
    )


def _settings(cfg: Config, data: Path, index: NuScenesIndex) -> dict[str, str]:
    parts, split = cfg.DATA_CONFIG, cfg.DATA_CONFIG.DATA_SPLIT
    frames = {
        name: f"{len(scenes)} scenes, {sum(len(index.scene_frames(scene)) for scene in scenes)} key frames"
        for name, scenes in ((name, index.split_scenes(name)) for name in (split.train, split.test))
    }
    return {
        "training": describe_training(cfg),
        "data": f"{data} ({parts.VERSION}); {split.train}: {frames[split.train]}; {split.test}: {frames[split.test]}",
        "machine": f"{os.cpu_count()} cores, torch {torch.__version__}, one thread a run",
    }
