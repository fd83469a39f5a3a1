"""Time and memory of the steps of an endless stream: does anything grow?"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from remembev.data import Frame, NuScenesIndex
from remembev.files import atomic_write
from remembev.ops import StageTimer
from remembev.streaming.detector import StreamingDetector

STEP = np.dtype(
    [
        ("wall_s", "f8"),
        ("cpu_s", "f8"),
        ("control_s", "f8"),
        ("resident_bytes", "i8"),
        ("state_bytes", "i8"),
        ("tokens", "i8"),
    ]
)
"""One step: seconds of wall clock, of CPU time and of the latest control step; after it, bytes of process and state,
and tokens."""

Step = tuple[float, float, float, int, int, int]

SCENE = "endless"
_LONE_FRAME_S = 0.5
_CONTROL_EVERY = 10
_STATM = Path("/proc/self/statm")


def endless_scene(detector: StreamingDetector, index: NuScenesIndex, scene: int) -> Iterator[tuple[Frame, float]]:
    """Yield the key frames of a scene forwards, backwards, forwards and so on, with increasing times in s.

    The car turns at both ends instead of jumping back to the start of the scene.
    """
    cfg = detector.cfg
    frames = [
        index.load_frame(number, cfg.CLASS_NAMES, cfg.DATA_CONFIG.NUM_SWEEPS) for number in index.scene_frames(scene)
    ]
    now, before = 0.0, frames[0]
    for frame in cycle([*frames, *frames[-2:0:-1]]):
        now += abs(frame.timestamp - before.timestamp) or _LONE_FRAME_S
        yield frame, now
        before = frame


def measure_stream(detector: StreamingDetector, index: NuScenesIndex, scene: int, frames: int) -> Iterator[Step]:
    """Run steps over an endless scene from an empty memory; yield a ``STEP`` for each.

    The control step is the step at a tenth of the stream, repeated from the same state every tenth step from there on:
    it shows the current speed of the machine, independent of the stream's state.
    """
    clock, control, control_s = StageTimer(detector.device), StreamingDetector(detector.engine), math.nan
    detector.reset(SCENE)
    for number, (frame, now) in enumerate(islice(endless_scene(detector, index, scene), frames)):
        if number == frames // 10:
            control_step = partial(control.step, frame.points, frame.global_from_lidar, now, SCENE)
            young = detector.state(SCENE)
        wall, cpu = clock.now(), time.process_time()
        detector.step(frame.points, frame.global_from_lidar, now, SCENE)
        wall, cpu = clock.now() - wall, time.process_time() - cpu
        if number >= frames // 10 and (number - frames // 10) % _CONTROL_EVERY == 0:
            control.restore(SCENE, young)
            start = clock.now()
            control_step()
            control_s = clock.now() - start
        state = detector.state(SCENE)
        yield wall, cpu, control_s, resident_bytes(), state.nbytes, state.tokens


@dataclass(frozen=True)
class Comparison:
    """Medians of a quantity early and late in a stream."""

    early: float
    late: float

    @property
    def ratio(self) -> float:
        """Late over early."""
        return self.late / self.early

    @property
    def level(self) -> bool:
        """True if the two are within 5 %."""
        return abs(self.ratio - 1) <= 0.05


@dataclass(frozen=True)
class StreamCurve:
    """Measurements of every step of a stream: ``STEP`` [N]."""

    steps: NDArray[np.void]

    @classmethod
    def collect(cls, steps: Iterable[Step], frames: int) -> StreamCurve:
        """Collect a stream as it runs. Memory is allocated beforehand, so that collecting doesn't grow the process."""
        return cls(np.fromiter(steps, dtype=STEP, count=frames))

    @property
    def windows(self) -> tuple[slice, slice]:
        """The early window, the second tenth of the stream, and the late one, its last tenth."""
        total = len(self.steps)
        tenth = max(1, total // 10)
        return slice(total // 10, total // 10 + tenth), slice(total - tenth, total)

    def compare(self) -> dict[str, Comparison]:
        """Return medians early and late of every non-zero quantity, and of step over control step."""
        medians = [
            {name: float(np.nanmedian(self.steps[name][window])) for name in STEP.names or ()}
            for window in self.windows
        ]
        for median in medians:
            median["step_to_control"] = median["wall_s"] / median["control_s"]
        return {name: Comparison(medians[0][name], medians[1][name]) for name in medians[0] if medians[0][name]}

    def to_json(self) -> dict[str, Any]:
        """Return windows and medians as plain values."""
        early, late = self.windows
        return {
            "frames": len(self.steps),
            "early": [early.start, early.stop],
            "late": [late.start, late.stop],
            "medians": {
                name: {"early": found.early, "late": found.late, "ratio": found.ratio, "within_5_percent": found.level}
                for name, found in self.compare().items()
            },
        }

    def write_csv(self, path: Path) -> None:
        """Write one row per step, with its number."""
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            print("frame", *STEP.names or (), sep=",", file=file)
            for number, step in enumerate(self.steps.tolist()):
                print(number, *step, sep=",", file=file)


def resident_bytes() -> int:
    """Return the resident memory of the process; outside Linux the peak of it."""
    if _STATM.is_file():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
