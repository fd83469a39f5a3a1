"""How long each stage of one streaming step takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

from remembev.data import NuScenesIndex
from remembev.ops import StageTimer
from remembev.streaming.detector import StreamingDetector


@dataclass(frozen=True)
class StepTimes:
    """Median seconds of each stage in the order they run, and of the whole step with what lies between them."""

    stages: dict[str, float]
    step: float
    frames: int


def bench_scene(
    detector: StreamingDetector, index: NuScenesIndex, scene: int, *, frames: int, warmup: int = 5
) -> StepTimes:
    """Time ``frames`` steps over a scene's key frames, over and over, after ``warmup`` untimed ones.

    All belong to one endless stream: the memory is as full as it gets once the warm-up has filled it.
    """
    cfg = detector.cfg
    clouds = [
        index.load_frame(number, cfg.CLASS_NAMES, cfg.DATA_CONFIG.NUM_SWEEPS) for number in index.scene_frames(scene)
    ]
    timer, whole = StageTimer(detector.device), list[float]()
    detector.reset()
    for number, frame in enumerate(islice(cycle(clouds), warmup + frames)):
        if number == warmup:
            timer, whole = StageTimer(detector.device), []
        start = timer.now()
        with timer.recording():
            detector.step(frame.points, frame.global_from_lidar, float(number), "bench")
        whole.append(timer.now() - start)
    detector.reset()
    return StepTimes({name: median(seconds) for name, seconds in timer.seconds.items()}, median(whole), frames)
