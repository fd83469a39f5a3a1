"""``remembev demo``: simulate, train, evaluate, stream and report, skipping stages that an earlier run has finished."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from remembev.bench import time_steps
from remembev.config import Config, config_to_yaml, load_config
from remembev.data import NuScenesIndex
from remembev.evaluation import DetectionScore, evaluate_checkpoint, score_table
from remembev.evaluation.run import METRICS_FILE
from remembev.files import atomic_write
from remembev.simulate import SimulationSettings, simulate_dataset
from remembev.streaming import StreamingDetector
from remembev.training import TrainingRun, train
from remembev.viewing import Report, read_curves, save_frames, view_keyframe, view_scene, write_movie, write_report

_STRIP_FRAMES = (9, 19, 29)
_BENCH_FRAMES = 30
_MIN_SCORE = 0.15
"""Lowest score of drawn detections: after minutes of training, scores are low."""
_KEYFRAME_LICENCE = "nuScenes v1.0-mini scene-0061, CC BY-NC-SA 4.0, © Motional"


class Stages:
    """Durations of a run's stages, kept in a file so that a resumed run reports them too."""

    def __init__(self, path: Path, console: Console) -> None:
        self.path = path
        self.console = console
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}

    @contextmanager
    def run(self, name: str) -> Iterator[None]:
        """Time a stage; the time of an interrupted stage counts too."""
        self.console.rule(f"[bold]{name}", align="left")
        start, before = time.perf_counter(), self.seconds.get(name, 0.0)
        try:
            yield
        finally:
            self.seconds[name] = before + time.perf_counter() - start
            with atomic_write(self.path) as temporary:
                temporary.write_text(json.dumps(self.seconds, indent=2))


def run_demo(out: Path, *, keyframe: Path | None = None, scenes: int = 24, console: Console | None = None) -> Path:
    """Simulate, train, score, stream and report; stages that an earlier run has finished are skipped.

    Args:
        out: Folder of all outputs: ``data/`` is the data set, ``report.html`` the report.
        keyframe: Folder of a real key frame to stream, if there is one.
        scenes: Number of simulated scenes.
        console: Where progress is printed.

    Returns:
        The report's path.
    """
    stages = Stages(out / "seconds.json", console or Console())
    data, run = out / "data", TrainingRun(out / "train")
    cfg, settings = load_config("tiny"), SimulationSettings(scenes=scenes)
    if not (data / settings.version).is_dir():
        with stages.run("simulate"):
            simulate_dataset(data, settings)
    if not run.finished:
        with stages.run("train"):
            train(cfg, data, run.out, resume=True)
    untrained = _score(stages, "score the untrained model", run.pretrain.initial_weights, data, out / "eval-untrained")
    with_memory = _score(stages, "score with memory", run.weights, data, out / "eval-memory")
    without_memory = _score(stages, "score without memory", run.weights, data, out / "eval-no-memory", use_memory=False)
    for name, score in (("untrained", untrained), ("memory", with_memory), ("no memory", without_memory)):
        stages.console.print(score_table(score, title=name))

    index = NuScenesIndex.open(data, settings.version)
    detector = StreamingDetector.from_checkpoint(run.weights)
    scene = index.split_scenes(cfg.DATA_CONFIG.DATA_SPLIT.test)[0]
    movie, strip, real = out / "scene.gif", out / "strip.png", out / "keyframe.png"
    if not strip.is_file():
        with stages.run("stream and draw a scene"):
            views = view_scene(StreamingDetector.from_checkpoint(run.weights, tracker=True), index, scene)
            write_movie(movie, views, min_score=_MIN_SCORE)
            save_frames(strip, [views[min(i, len(views) - 1)] for i in _STRIP_FRAMES], min_score=_MIN_SCORE)
    if keyframe is not None:
        save_frames(real, [view_keyframe(detector, keyframe)], min_score=_MIN_SCORE)
    times = time_steps({"": detector}, index, scene, frames=_BENCH_FRAMES)[""]

    report = Report(
        title="RememBEV demo",
        untrained=untrained,
        with_memory=with_memory,
        without_memory=without_memory,
        curves=[read_curves(stage.curves) for stage in (run.pretrain, run)],
        movie=movie,
        strip=strip,
        config=config_to_yaml(cfg),
        data=_data_facts(index, cfg),
        seconds=stages.seconds,
        bench={name: 1e3 * seconds for name, seconds in {**times.stages, "step": times.step}.items()},
        commands=demo_commands(out, scenes),
        keyframe=None if keyframe is None else real,
        keyframe_licence=_KEYFRAME_LICENCE,
    )
    write_report(out / "report.html", report)
    stages.console.print(f"report: [bold]{out / 'report.html'}[/]")
    return out / "report.html"


def _score(
    stages: Stages, name: str, weights: Path, data: Path, out: Path, *, use_memory: bool = True
) -> DetectionScore:
    """Return the official score of weights on the validation scenes, from ``out`` if it is there."""
    metrics = out / METRICS_FILE
    if not metrics.is_file():
        with stages.run(name):
            evaluate_checkpoint(weights, data, out, use_memory=use_memory)
    return DetectionScore.from_json(json.loads(metrics.read_text(encoding="utf-8")))


def _data_facts(index: NuScenesIndex, cfg: Config) -> dict[str, str]:
    split = cfg.DATA_CONFIG.DATA_SPLIT
    return {
        "source": "simulated streets, 32-beam LiDAR at 20 Hz, key frames at 2 Hz",
        "training": index.describe_split(split.train),
        "validation": index.describe_split(split.test),
    }


def demo_commands(out: Path, scenes: int) -> list[str]:
    """Return command lines that make the same run."""
    data, weights = out / "data", out / "train" / "model.safetensors"
    return [
        f"remembev simulate {data} --scenes {scenes} --seed 0",
        f"remembev train tiny --data {data} --out {out / 'train'}",
        f"remembev eval {weights} --data {data}",
        f"remembev eval {weights} --data {data} --no-memory",
        f"remembev stream {weights} --data {data} --movie {out / 'scene.gif'}",
        f"remembev bench step tiny --data {data}",
    ]
