"""How long each stage of one streaming step takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from remembev.ops import StageTimer
from remembev.streaming.detector import StreamingDetector


@dataclass(frozen=True)
class StageTimes:
    """Median seconds of each stage in the order they run, and of the whole step."""

    stages: dict[str, float]
    step: float
    frames: int


def bench_step(
    detector: StreamingDetector, next_frame: Callable[[int], tuple[Tensor, Tensor]], *, frames: int, warmup: int
) -> StageTimes:
    """Time ``frames`` steps of one stream after ``warmup`` ones.

    next_frame   frame number to points [N, 5] and global_from_lidar [4, 4]
    """
    timer, whole = StageTimer(detector.device), []
    detector.reset()
    for number in range(warmup + frames):
        points, pose = next_frame(number)
        recorded = timer if number >= warmup else StageTimer(detector.device)
        start = timer.now()
        with recorded.recording():
            detector.step(points, pose, float(number), "bench")
        if number >= warmup:
            whole.append(timer.now() - start)
    return StageTimes({name: median(seconds) for name, seconds in timer.seconds.items()}, median(whole), frames)
