"""Time of a frame for detectors of different models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch

from remembev.data import NuScenesIndex
from remembev.ops import StageTimer
from remembev.streaming import StreamingDetector


def time_frames(
    detectors: Mapping[Path, StreamingDetector], index: NuScenesIndex, scene: int
) -> dict[Path, tuple[float, float]]:
    """Return the median seconds and points of a scene's key frames after the first, by detector.

    The detectors may be of different models, each with the sweeps of its configuration. They take each frame in turn,
    so that other work on the machine affects all alike. On a CPU the seconds are CPU time of the process.
    """
    seconds: dict[Path, list[float]] = {name: [] for name in detectors}
    points: dict[Path, list[int]] = {name: [] for name in detectors}
    token = index.scene_token(scene)
    for number in index.scene_frames(scene):
        for name, detector in detectors.items():
            cfg = detector.cfg
            frame = index.load_frame(number, cfg.CLASS_NAMES, cfg.DATA_CONFIG.NUM_SWEEPS)
            now = _clock(detector.device)
            start = now()
            detector.step(frame.points, frame.global_from_lidar, frame.timestamp, token)
            seconds[name].append(now() - start)
            points[name].append(len(frame.points))
    return {name: (median(seconds[name][1:]), median(points[name][1:])) for name in detectors}


def _clock(device: torch.device) -> Callable[[], float]:
    """Return a clock in seconds: process time on a CPU, wall time of finished work on a GPU."""
    return StageTimer(device).now if device.type == "cuda" else time.process_time
