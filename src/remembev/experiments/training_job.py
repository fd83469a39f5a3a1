"""The jobs of a comparison: a training and its score, its score with a tracker, and the timing of a seed's variants."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from remembev.bench.frames import time_frames
from remembev.config import Config, config_to_yaml, load_config
from remembev.data import ClipSampler, NuScenesIndex, build_seq_loader
from remembev.errors import UserError
from remembev.evaluation import TRACKS, evaluate_checkpoint
from remembev.experiments.results import EVAL_FOLDER, RESULT_FILE, read_json, read_result, run_folder, write_json
from remembev.files import atomic_write
from remembev.models import load_checkpoint
from remembev.streaming import StreamingDetector
from remembev.training import TrainingRun, train
from remembev.training.resuming import Progress

_TRAINED_FILE = "trained.json"


@dataclass(frozen=True)
class TrainingJob:
    """One training of one seed, and its score.

    Attributes:
        pretraining: Name of the run of the same seed that provides the initial weights.
        eval_settings: How it is scored, written into its result; None for a pretraining, which is not. A result with
            other settings is scored again.
    """

    seed: int
    name: str
    cfg: Config
    data: Path
    out: Path
    pretraining: str | None = None
    eval_settings: Mapping[str, str] | None = None

    @property
    def run(self) -> TrainingRun:
        """Run folder."""
        return TrainingRun(run_folder(self.out, self.seed, self.name))

    @property
    def pretraining_run(self) -> TrainingRun | None:
        """Run folder of the pretraining."""
        return TrainingRun(run_folder(self.out, self.seed, self.pretraining)) if self.pretraining else None

    @property
    def title(self) -> str:
        """Title in progress messages."""
        return f"seed {self.seed} {self.name}"

    @property
    def log(self) -> Path:
        """Log file."""
        return self.run.out.with_name(f"{self.name}.log")

    @property
    def result(self) -> dict[str, Any] | None:
        """Result of the run; None before it is finished and scored."""
        return read_result(self.run.out, self.eval_settings or {})

    @property
    def done(self) -> bool:
        """True if its result is there."""
        return self.result is not None

    @property
    def ready(self) -> bool:
        """True if its pretraining is finished."""
        return self.pretraining_run is None or self.pretraining_run.finished

    def work(self) -> None:
        """Train, or resume training; score; write the result."""
        trained = read_json(self.run.out / _TRAINED_FILE) or self._train()
        (self.run.out / RESULT_FILE).unlink(missing_ok=True)
        torch.manual_seed(self.seed)
        scored = {}
        if self.eval_settings is not None:
            tracked = self.cfg.TRACKING.ENABLED
            scored = score_weights(self.run.weights, self.data, self.run.out, self.eval_settings, tracked=tracked)
        write_json(self.run.out / RESULT_FILE, {**trained, **scored})

    def _train(self) -> dict[str, Any]:
        """Return steps of the optimiser, frames seen, and wall seconds if it ran without interruption."""
        is_new = not self.run.out.exists()
        started = time.monotonic()
        if not self.run.finished:
            init = self.pretraining_run.weights if self.pretraining_run else None
            train(self.cfg, self.data, self.run.out, resume=True, seed=self.seed, init=init)
        trained = {
            "steps": Progress.read(self.run.resume_from).step,
            "frames": frames_trained(self.cfg, self.data, self.seed),
            "train_seconds": round(time.monotonic() - started, 1) if is_new else None,
        }
        write_json(self.run.out / _TRAINED_FILE, trained)
        return trained


@dataclass(frozen=True)
class TrackingJob:
    """The score of a training's weights with a tracker.

    Attributes:
        cfg: Configuration of the variant, that of the training with a tracker.
    """

    name: str
    cfg: Config
    training: TrainingJob
    eval_settings: Mapping[str, str]

    @property
    def out(self) -> Path:
        """Folder of the configuration, the score and the result."""
        return run_folder(self.training.out, self.training.seed, self.name)

    @property
    def title(self) -> str:
        """Title in progress messages."""
        return f"seed {self.training.seed} {self.name}"

    @property
    def log(self) -> Path:
        """Log file."""
        return self.out.with_name(f"{self.name}.log")

    @property
    def done(self) -> bool:
        """True if its result is there."""
        return read_result(self.out, self.eval_settings) is not None

    @property
    def ready(self) -> bool:
        """True if the training is finished."""
        return self.training.done

    def work(self) -> None:
        """Score; write the result, with what the training took."""
        run = self.training.run
        trained = read_json(run.out / _TRAINED_FILE)
        assert trained is not None, f"{run.out} has a result"
        with atomic_write(self.out / "config.yaml") as temporary:
            temporary.write_text(config_to_yaml(self.cfg), encoding="utf-8")
        scored = score_weights(run.weights, self.training.data, self.out, self.eval_settings, tracked=True)
        write_json(self.out / RESULT_FILE, {**trained, **scored})


def score_weights(
    weights: Path, data: Path, out: Path, eval_settings: Mapping[str, str], *, tracked: bool
) -> dict[str, Any]:
    """Write to ``eval`` what ``remembev eval`` writes; return the settings and the number of parameters.

    A tracker is scored with the memory of the whole scene alone.
    """
    evaluate_checkpoint(
        weights,
        data,
        out / EVAL_FOLDER,
        split=eval_settings["split"],
        tracks=TRACKS[:1] if tracked else eval_settings["tracks"].split(),
        tracker=tracked,
        device=_device(),
        progress=False,
    )
    model = load_checkpoint(weights)
    return {
        **eval_settings,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "memory_parameters": sum(weight.numel() for weight in model.memory.parameters()),
    }


def frames_trained(cfg: Config, data: Path, seed: int) -> int:
    """Return the frames that a whole training in one process sees, each as often as it is seen."""
    _, loader = build_seq_loader(cfg, workers=0, root_path=data, seed=seed)
    assert isinstance(loader.sampler, ClipSampler)
    plan, clips = cfg.OPTIMIZATION, len(loader.sampler)
    if plan.BATCHES_PER_EPOCH is not None:
        clips = min(clips, plan.BATCHES_PER_EPOCH * plan.BATCH_SIZE_PER_GPU)
    return plan.NUM_EPOCHS * clips * cfg.DATA_CONFIG.SEQ_LEN


def check_runs(out: Path, configs: Mapping[str, Config]) -> None:
    """Raise UserError if a folder holds a run of another configuration under one of these names."""
    for file in sorted(out.glob("seed-*/*/config.yaml")):
        cfg = configs.get(file.parent.name)
        if cfg is not None and load_config(file) != cfg:
            raise UserError(f"{file} is of another configuration: give the same one to resume, or another folder")


# -------------------------------------------------------------------------------------------------------------- timing


@dataclass(frozen=True)
class TimingJob:
    """Times of a frame of all variants of a seed, measured in one process and added to their results.

    Times that were measured separately are not comparable: what else the machine does differs.

    Attributes:
        variants: Name of the run that trained each variant; a variant with another name has a tracker.
    """

    seed: int
    variants: Mapping[str, str]
    data: Path
    out: Path
    eval_settings: Mapping[str, str]

    @property
    def title(self) -> str:
        """Title in progress messages."""
        return f"seed {self.seed} times"

    @property
    def log(self) -> Path:
        """Log file."""
        return run_folder(self.out, self.seed, "times.log")

    @property
    def done(self) -> bool:
        """True if every variant with a result has its time."""
        return all("step_ms" in result for result in self._results().values())

    @property
    def ready(self) -> bool:
        """True: it has no dependencies."""
        return True

    def work(self) -> None:
        """Time all variants that have a result."""
        results = self._results()
        detectors = {run: self._open(run) for run in results}
        version = next(iter(detectors.values())).cfg.DATA_CONFIG.VERSION
        index = NuScenesIndex.open(self.data, version)
        times = time_frames(detectors, index, index.split_scenes(self.eval_settings["split"])[0])
        for run, (seconds, points) in times.items():
            times_of_run = {"step_ms": 1e3 * seconds, "points": points, "device": _device()}
            write_json(run / RESULT_FILE, {**results[run], **times_of_run})

    def _open(self, run: Path) -> StreamingDetector:
        """Open the detector of a variant, by its folder."""
        trained = self.variants[run.name]
        weights = TrainingRun(run.with_name(trained)).weights
        tracker = True if trained != run.name else None
        return StreamingDetector.from_checkpoint(weights, device=_device(), tracker=tracker)

    def _results(self) -> dict[Path, dict[str, Any]]:
        """Return the results of the variants that have one, by folder."""
        runs = [run_folder(self.out, self.seed, name) for name in self.variants]
        results = {run: read_result(run, self.eval_settings) for run in runs}
        return {run: result for run, result in results.items() if result is not None}


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
