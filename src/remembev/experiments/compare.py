"""``remembev compare``: variants trained alike on the same data over several seeds, scored alike, and reported.

Every variant is trained as ``remembev train`` does: first pretrained, its detector without a memory on single frames,
then as it is. Variants with the same pretraining share one a seed, variants that differ in the tracker alone share the
whole training. An interrupted comparison is resumed; times are
measured at the end, when nothing else of it runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from remembev.config import DEFAULT_VARIANTS, Config, apply_variant, changed_keys, load_config
from remembev.config.variants import describe_variant, trained_variant
from remembev.data import NuScenesIndex
from remembev.errors import DataError, UserError
from remembev.evaluation import TRACKS
from remembev.evaluation.official_tracking import check_installed
from remembev.experiments.jobs import Job, run_jobs
from remembev.experiments.report import write_report
from remembev.experiments.results import COMPARISON_FILE, Results, read_json, write_json
from remembev.experiments.summary import to_markdown
from remembev.experiments.tables import difference_table, score_table
from remembev.experiments.training_job import TimingJob, TrackingJob, TrainingJob, check_runs
from remembev.files import atomic_write
from remembev.training import describe_training, pretrain_config

SAME = (
    "CLASS_NAMES",
    "DATA_CONFIG.VERSION",
    "DATA_CONFIG.DATA_SPLIT",
    "DATA_CONFIG.POINT_CLOUD_RANGE",
    "DATA_CONFIG.SEQ_LEN",
    "DATA_CONFIG.STRIDE",
    "DATA_CONFIG.BALANCED_RESAMPLING",
    "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING",
    "DATA_CONFIG.DATA_AUGMENTOR.FLIP",
    "DATA_CONFIG.DATA_AUGMENTOR.ROTATION",
    "DATA_CONFIG.DATA_AUGMENTOR.SCALING",
    "OPTIMIZATION.PRETRAIN",
    "OPTIMIZATION.BATCH_SIZE_PER_GPU",
    "OPTIMIZATION.NUM_EPOCHS",
    "OPTIMIZATION.BATCHES_PER_EPOCH",
)
"""Keys in which variants must agree, to see the same clips for as many steps, if not as the same sensor."""


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
) -> list[Job]:
    """Train, score and time every variant for every seed, as far as ``out`` does not hold it, and report after each.

    Args:
        sources: One configuration, whose variants are compared, or several, by file or shipped name.
        data: Root of the data set.
        out: Folder of the runs and the report.
        variants: Names of the variants of the one; ``DEFAULT_VARIANTS`` if none is given.
        overrides: ``KEY.PATH=value`` changes to every configuration, before it is made a variant.
        seeds: Trainings of each variant.
        split: The split to score on; the configurations' test split by default.
        tracks: Tracks to score, of ``TRACKS``; the second takes a frame for each sweep.
        workers: Trainings at a time, in processes of one thread each.
        console: Where progress and tables are printed.

    Returns:
        The jobs that failed or could not start; their logs say why.

    Raises:
        UserError: If the variants can't be compared, the data set is missing or lacks what they need, or ``out`` holds
            runs of another configuration or on another data set.
    """
    loaded = load_variants(sources, variants, overrides)
    split = split or loaded[0].cfg.DATA_CONFIG.DATA_SPLIT.test
    comparison = Comparison(tuple(loaded), data, out, seeds, split, tuple(tracks))
    index = _open_data(data, loaded, split)
    _check_tracking(comparison)
    check_runs(out, comparison.trained)
    _write_comparison(out, {**comparison.to_json(), "settings": _settings(comparison, index, overrides)})
    console = console or Console()

    def on_end(job: Job, seconds: float) -> None:
        console.print(f"{job.title}: {'done' if job.done else f'failed, see {job.log}'} ({seconds:.0f} s)")
        report(out, console)

    report(out, console)
    failed = run_jobs(comparison.trainings(), workers, on_end)
    return [*failed, *run_jobs(comparison.timings(), 1, on_end)]


def report(out: Path, console: Console) -> None:
    """Write ``compare.md`` and ``report.html`` as far as a comparison has come, and print its tables."""
    results = Results.read(out)
    with atomic_write(out / "compare.md") as temporary:
        temporary.write_text(to_markdown(results), encoding="utf-8")
    write_report(out)
    if not results.empty:
        console.print(score_table(results).to_rich("mean ± standard deviation"))
        if len(results.variants) > 1:
            console.print(difference_table(results).to_rich(f"differences to {results.reference}, paired by seed"))


# ------------------------------------------------------------------------------------------------------------ variants


@dataclass(frozen=True)
class Variant:
    """A configuration that is compared, with its name and a description."""

    name: str
    cfg: Config
    what: str
    trained_as: str
    """Name of the run that trains it: its own, or that of the variant without the tracker."""

    @property
    def trained_cfg(self) -> Config:
        """Configuration of that run."""
        return self.cfg if self.trained_as == self.name else self.cfg.with_changes({"TRACKING.ENABLED": False})


def load_variants(
    sources: Sequence[str | Path], names: Sequence[str] = (), overrides: Sequence[str] = ()
) -> list[Variant]:
    """Return the named variants of one configuration, or several configurations as they are, each by its file's stem.

    Raises:
        UserError: If two have one name, or would not be trained on the same clips for as many steps.
    """
    if len(sources) == 1:
        cfg = load_config(sources[0], overrides)
        variants = [
            Variant(name, apply_variant(cfg, name), describe_variant(name), trained_variant(name))
            for name in names or DEFAULT_VARIANTS
        ]
    elif names:
        raise UserError(f"variants are made of one configuration, not of {len(sources)}")
    else:
        stems = [Path(source).stem for source in sources]
        variants = [
            Variant(stem, load_config(source, overrides), str(source), stem)
            for stem, source in zip(stems, sources, strict=True)
        ]
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


def pretraining_name(pretraining: Config) -> str:
    """Return the name of a pretraining, a hash of its configuration where that is not the default."""
    values = pretraining.model_dump(mode="json", exclude_defaults=True)
    return "start-" + sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Comparison:
    """A comparison: its variants, data set and folder.

    Attributes:
        split: The split that is scored.
        tracks: The tracks that are scored, of ``TRACKS``.
    """

    variants: tuple[Variant, ...]
    data: Path
    out: Path
    seeds: int
    split: str
    tracks: tuple[str, ...]

    @cached_property
    def pretrainings(self) -> dict[str, Config]:
        """Configurations of the pretrainings by variant, as far as variants have one."""
        pretrainings = {variant.name: pretrain_config(variant.trained_cfg) for variant in self.variants}
        return {name: cfg for name, cfg in pretrainings.items() if cfg is not None}

    @cached_property
    def trained(self) -> dict[str, Config]:
        """Configurations of the runs that train variants, by name."""
        return {variant.trained_as: variant.trained_cfg for variant in self.variants}

    @property
    def eval_settings(self) -> dict[str, str]:
        """Settings by which the runs are scored."""
        return {"split": self.split, "tracks": " ".join(self.tracks)}

    def trainings(self) -> list[TrainingJob | TrackingJob]:
        """Return pretrainings, trainings, and scores with a tracker, seed by seed."""
        starts = {variant.trained_as: self.pretrainings.get(variant.name) for variant in self.variants}
        names = {name: pretraining_name(cfg) for name, cfg in starts.items() if cfg is not None}
        pretrainings = {pretraining_name(cfg): cfg for cfg in starts.values() if cfg is not None}
        scored = {variant.name for variant in self.variants}
        jobs: list[TrainingJob | TrackingJob] = []
        for seed in range(self.seeds):
            jobs += [TrainingJob(seed, name, cfg, self.data, self.out) for name, cfg in pretrainings.items()]
            trainings = {
                name: TrainingJob(
                    seed,
                    name,
                    cfg,
                    self.data,
                    self.out,
                    names.get(name),
                    self.eval_settings if name in scored else None,
                )
                for name, cfg in self.trained.items()
            }
            jobs += trainings.values()
            jobs += [
                TrackingJob(variant.name, variant.cfg, trainings[variant.trained_as], self.eval_settings)
                for variant in self.variants
                if variant.name != variant.trained_as
            ]
        return jobs

    def timings(self) -> list[TimingJob]:
        """Return the timing of each seed."""
        trained_as = {variant.name: variant.trained_as for variant in self.variants}
        return [TimingJob(seed, trained_as, self.data, self.out, self.eval_settings) for seed in range(self.seeds)]

    def to_json(self) -> dict[str, Any]:
        """Return what reports need to know beside the runs."""
        first, *others = self.variants
        return {
            "variants": [variant.name for variant in self.variants],
            "what": {variant.name: variant.what for variant in self.variants},
            "seeds": list(range(self.seeds)),
            "data": str(self.data.resolve()),
            "version": first.cfg.DATA_CONFIG.VERSION,
            **self.eval_settings,
            "starts": {variant: pretraining_name(cfg) for variant, cfg in self.pretrainings.items()},
            "differences": {
                variant.name: [f"{key}={value}" for key, value in changed_keys(variant.cfg, first.cfg).items()]
                for variant in others
            },
        }


# ---------------------------------------------------------------------------------------------------- data and settings


def _open_data(data: Path, variants: Sequence[Variant], split: str) -> NuScenesIndex:
    """Open the data set. Raises DataError if it is missing, or lacks the split or sweeps that a variant stacks."""
    deepest = max(variants, key=lambda variant: variant.cfg.DATA_CONFIG.NUM_SWEEPS)
    sweeps = deepest.cfg.DATA_CONFIG.NUM_SWEEPS
    make = f"remembev simulate {data} --scenes 24 --sets all" + " --sweeps" * (sweeps > 0)
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; to simulate a data set: {make}")
    index = NuScenesIndex.open(data, deepest.cfg.DATA_CONFIG.VERSION)
    if sweeps > 0 and not index.has_sweeps:
        raise DataError(
            f"{data} has no sweeps between its key frames, and {deepest.name} stacks {sweeps}; to simulate a data set "
            f"with sweeps: {make}"
        )
    if not index.split_scenes(split):
        raise DataError(f"{data}: the split {split!r} has no scene")
    return index


def _check_tracking(comparison: Comparison) -> None:
    """Raise UserError or ModuleNotFoundError if variants with a tracker can't be scored."""
    tracked = [variant.name for variant in comparison.variants if variant.cfg.TRACKING.ENABLED]
    if tracked and TRACKS[0] not in comparison.tracks:
        raise UserError(f"{', '.join(tracked)}: a tracker remembers the whole scene: omit --reach half-second")
    if tracked:
        check_installed()


def _write_comparison(out: Path, comparison: Mapping[str, Any]) -> None:
    """Write ``compare.json``. Raises UserError if the folder holds a comparison on another data set."""
    before = read_json(out / COMPARISON_FILE) or comparison
    for key in ("data", "version"):
        if before[key] != comparison[key]:
            raise UserError(f"{out} holds runs on {before[key]}, not {comparison[key]}: give another folder")
    write_json(out / COMPARISON_FILE, comparison)


def _settings(comparison: Comparison, index: NuScenesIndex, overrides: Sequence[str]) -> dict[str, str]:
    """Return how the variants are trained and scored, for the report."""
    cfg = comparison.variants[0].cfg
    train, test = cfg.DATA_CONFIG.DATA_SPLIT.train, comparison.split
    return {
        "training": describe_training(cfg),
        "data": f"{index.root} ({cfg.DATA_CONFIG.VERSION})",
        "trained on": f"{train}: {index.describe_split(train)}",
        "scored on": f"{test}: {index.describe_split(test)}",
        "changed": ", ".join(overrides) or "nothing",
        "machine": f"{os.cpu_count()} cores, torch {torch.__version__}, one thread a training",
    }
