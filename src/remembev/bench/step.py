"""Times of a streaming step by stage, against the stage's floor on this machine and against OpenPCDet's way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from math import ceil
from statistics import median, quantiles
from typing import Any

import torch

from remembev.batch import FrameBatch
from remembev.bench.machine import MachineRates
from remembev.bench.plain import PlainEngine
from remembev.bench.stream import SCENE, endless_scene
from remembev.bench.work import Work, count_work
from remembev.config.schema import MemoryConfig
from remembev.data import Frame, NuScenesIndex
from remembev.models import TemporalPointPillar
from remembev.ops import StageTimer
from remembev.precision import has_fast_bf16
from remembev.streaming import ModelEngine, StreamingDetector

PLAIN = "plain"
"""OpenPCDet's way, in eager PyTorch."""
DENSE = ("voxelise", "vfe", "backbone_3d", "scatter", "pillars", "backbone", "head")
"""Stages from points to the head's outputs, without the memory."""
_ROUNDED = ("backbone", "head")
"""Stages that run in bfloat16 if requested."""
_RATE_MEASUREMENTS = 5
_CANDIDATES = 300


@dataclass(frozen=True)
class StepTimes:
    """Median seconds over ``frames`` steps, of each stage in order and of the whole step.

    In a step that runs as one program only what comes before and after it has a name.
    """

    stages: dict[str, float]
    step: float
    slowest: float  # 99th percentile of the whole step
    frames: int


@dataclass(frozen=True)
class StepReport:
    """Times of one model's step in several ways, measured in turn, and the rates of the machine meanwhile."""

    times: dict[str, StepTimes]
    work: dict[str, dict[str, Work]]
    dtypes: dict[str, torch.dtype]
    rates: MachineRates

    def floor(self, way: str, stage: str) -> float:
        """Return the minimum seconds of a stage at the machine's rates."""
        dtype = self.dtypes[way] if stage in _ROUNDED else torch.float32
        return self.work[way][stage].floor(self.rates, dtype)

    def dense_share(self, way: str) -> float | None:
        """Return the rate of the dense part, from points to the head's outputs, over that of a convolution."""
        if way not in self.work:
            return None
        stages = [name for name in self.times[way].stages if name in DENSE]
        operations = sum(self.work[way][name].operations for name in stages)
        seconds = sum(self.times[way].stages[name] for name in stages)
        return operations / seconds / self.rates.convolution(self.dtypes[way])

    def to_json(self) -> dict[str, Any]:
        """Return plain values: milliseconds, bytes and operations per second."""
        dtypes = self.rates.dtypes
        return {
            "bytes_per_s": self.rates.bandwidth,
            "matmul_per_s": {str(dtype): self.rates.matmul(dtype) for dtype in dtypes},
            "convolution_per_s": {str(dtype): self.rates.convolution(dtype) for dtype in dtypes},
            "ways": {way: self._way_to_json(way) for way in self.times},
        }

    def _way_to_json(self, way: str) -> dict[str, Any]:
        times = self.times[way]
        stages = {
            name: {
                "median_ms": 1e3 * seconds,
                "floor_ms": 1e3 * self.floor(way, name),
                "operations": self.work[way][name].operations,
                "bytes": self.work[way][name].nbytes,
            }
            for name, seconds in times.stages.items()
            if way in self.work
        }
        return {
            "frames": times.frames,
            "median_ms": 1e3 * times.step,
            "p99_ms": 1e3 * times.slowest,
            "dense_share_of_convolution": self.dense_share(way),
            "stages": stages,
        }


def compare_steps(
    model: TemporalPointPillar,
    index: NuScenesIndex,
    scene: int,
    *,
    frames: int,
    device: str = "cpu",
    programs: Mapping[str, StreamingDetector] | None = None,
) -> StepReport:
    """Time a model in OpenPCDet's way, in float32, and in bfloat16 where the device is fast at it, in turn.

    Args:
        model: The model.
        index: The data set.
        scene: Number of the scene.
        frames: Timed steps.
        device: Device to run on.
        programs: Further detectors of the same model that run as one program, such as exported files.
    """
    dtypes = {PLAIN: torch.float32, "fp32": torch.float32}
    if has_fast_bf16(torch.device(device)):
        dtypes["bf16"] = torch.bfloat16
    engines: dict[str, ModelEngine] = {PLAIN: PlainEngine(model, device)}
    engines |= {way: ModelEngine(model, device, dtype) for way, dtype in dtypes.items() if way != PLAIN}
    detectors = {way: StreamingDetector(engine) for way, engine in engines.items()}
    rates = MachineRates(StageTimer(torch.device(device)), tuple(dict.fromkeys(dtypes.values())))
    work = {way: _work(one, index, scene) for way, one in detectors.items()}
    every = {**(programs or {}), **detectors}
    times = time_steps(every, index, scene, frames=frames, on_interval=rates.measure)
    return StepReport({way: times[way] for way in (*detectors, *(programs or {}))}, work, dtypes, rates)


def time_steps(
    detectors: Mapping[str, StreamingDetector],
    index: NuScenesIndex,
    scene: int,
    *,
    frames: int,
    on_interval: Callable[[], None] = lambda: None,
) -> dict[str, StepTimes]:
    """Time ``frames`` steps of each detector over a scene, forwards and backwards, with full memories.

    All detectors are of one model and take each frame in turn; ``on_interval`` is called a few times in between.
    """
    steps = endless_scene(next(iter(detectors.values())), index, scene)
    _fill_memories(detectors, steps)
    timers = {name: StageTimer(detector.device) for name, detector in detectors.items()}
    whole: dict[str, list[float]] = {name: [] for name in detectors}
    for number, (frame, now) in enumerate(islice(steps, frames)):
        if number % ceil(frames / _RATE_MEASUREMENTS) == 0:
            on_interval()
        for name, detector in detectors.items():
            started = timers[name].now()
            with timers[name].recording():
                detector.step(frame.points, frame.global_from_lidar, now, SCENE)
            whole[name].append(timers[name].now() - started)
    for detector in detectors.values():
        detector.reset(SCENE)
    return {name: _times(timers[name], whole[name]) for name in detectors}


def frames_to_fill(cfg: MemoryConfig, interval: float) -> int:
    """Return the number of frames, ``interval`` seconds apart, that fill the working and the long-term memory."""
    if cfg.FUSION == "none":
        return 2
    every = cfg.MEM_EVERY if isinstance(cfg.MEM_EVERY, int) else ceil(cfg.MEM_EVERY / interval)
    consolidations = ceil(cfg.LONG_TERM.MAX_TOKENS / cfg.LONG_TERM.PROTOTYPES)
    return every * (cfg.max_frames + consolidations * (cfg.max_frames - cfg.min_frames))


@torch.no_grad()
def make_selective(model: TemporalPointPillar, index: NuScenesIndex, scene: int) -> None:
    """Shift the scores of a model with fresh weights so that a frame has about 300 candidates, like a trained model.

    Otherwise NMS gets no box, or all, and its time means nothing.
    """
    frame = index.load_frame(index.scene_frames(scene)[0], model.cfg.CLASS_NAMES, model.cfg.DATA_CONFIG.NUM_SWEEPS)
    batch = FrameBatch(points=frame.points[None], num_points=torch.tensor([len(frame.points)]))
    output, _ = model.eval().step(batch, model.memory.initial_state(1))
    logits = torch.cat([predictions.cls_preds.flatten() for predictions in output.predictions])
    threshold = torch.tensor(model.cfg.MODEL.POST_PROCESSING.SCORE_THRESH).logit()
    lowest = logits.topk(min(_CANDIDATES, len(logits))).values[-1]
    for head in model.dense_head.heads:
        bias = head.conv_cls[-1].bias
        assert isinstance(bias, torch.Tensor)
        bias += threshold - lowest


def _fill_memories(detectors: Mapping[str, StreamingDetector], steps: Iterator[tuple[Frame, float]]) -> None:
    """Fill the memory of one detector and copy its state to all."""
    *_, fastest = detectors.values()
    fastest.reset(SCENE)
    first, second = next(steps), next(steps)
    warmup = frames_to_fill(fastest.cfg.MODEL.MEMORY, interval=second[1] - first[1])
    for frame, now in chain((first, second), islice(steps, warmup - 2)):
        fastest.step(frame.points, frame.global_from_lidar, now, SCENE)
    filled = fastest.state(SCENE)
    frame, now = next(steps)
    for detector in detectors.values():
        detector.restore(SCENE, filled)
        detector.step(frame.points, frame.global_from_lidar, now, SCENE)


def _times(timer: StageTimer, whole: list[float]) -> StepTimes:
    slowest = quantiles(whole, n=100, method="inclusive")[98] if len(whole) > 1 else whole[0]
    stages = {name: median(_by_step(seconds, len(whole))) for name, seconds in timer.seconds.items()}
    return StepTimes(stages, median(whole), slowest, len(whole))


def _by_step(seconds: list[float], steps: int) -> list[float]:
    """Sum the seconds of a stage that runs several times a step, such as the memory before and after the head."""
    runs = len(seconds) // steps
    return [sum(seconds[runs * step : runs * (step + 1)]) for step in range(steps)]


def _work(detector: StreamingDetector, index: NuScenesIndex, scene: int) -> dict[str, Work]:
    steps = endless_scene(detector, index, scene)

    def step() -> None:
        frame, now = next(steps)
        detector.step(frame.points, frame.global_from_lidar, now, SCENE)

    step()
    work = count_work(step, step)
    detector.reset(SCENE)
    return work
