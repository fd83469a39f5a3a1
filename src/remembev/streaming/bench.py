"""How long each stage of one streaming step takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from math import ceil
from statistics import median

from remembev.config.schema import MemoryConfig, measure
from remembev.data import NuScenesIndex
from remembev.ops import StageTimer
from remembev.streaming.detector import StreamingDetector
from remembev.streaming.endless import SCENE, endless_scene


@dataclass(frozen=True)
class StepTimes:
    """Median seconds of each stage in the order they run, and of the whole step with what lies between them."""

    stages: dict[str, float]
    step: float
    frames: int


def bench_scene(detector: StreamingDetector, index: NuScenesIndex, scene: int, *, frames: int) -> StepTimes:
    """Time ``frames`` steps over a scene's key frames, to and fro, once the memory is as full as it gets."""
    steps = endless_scene(detector, index, scene)
    first, second = next(steps), next(steps)
    warmup = frames_to_fill(detector.cfg.MODEL.MEMORY, interval=second[1] - first[1])
    detector.reset(SCENE)
    for frame, now in chain((first, second), islice(steps, warmup - 2)):
        detector.step(frame.points, frame.global_from_lidar, now, SCENE)
    timer, whole = StageTimer(detector.device), list[float]()
    for frame, now in islice(steps, frames):
        started = timer.now()
        with timer.recording():
            detector.step(frame.points, frame.global_from_lidar, now, SCENE)
        whole.append(timer.now() - started)
    detector.reset(SCENE)
    return StepTimes({name: median(seconds) for name, seconds in timer.seconds.items()}, median(whole), frames)


def frames_to_fill(cfg: MemoryConfig, interval: float) -> int:
    """Frames, ``interval`` seconds apart, until the working memory is full, and then the long-term memory."""
    every = cfg.MEM_EVERY if isinstance(cfg.MEM_EVERY, int) else ceil(measure(cfg.MEM_EVERY) / interval)
    consolidations = ceil(cfg.LONG_TERM.MAX_TOKENS / cfg.LONG_TERM.PROTOTYPES)
    return every * (cfg.max_frames + consolidations * (cfg.max_frames - cfg.min_frames))
