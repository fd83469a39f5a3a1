"""Whole scenes dealt out to processes, which detect on them, and the results put together again.

The processes are started here, one a GPU or so many on the CPU, or are those of torchrun, on one machine or several. A
scene's boxes do not depend on which process detects them, so that the results are those of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.queues import Queue

import torch
import torch.distributed as dist

from remembev.data import NuScenesIndex
from remembev.errors import UserError
from remembev.evaluation.detecting import DetectScene, SceneDetections

_PATIENCE = timedelta(days=7)
"""How long processes of torchrun wait for the slowest of them."""


def longest_first(scenes: Sequence[int], index: NuScenesIndex) -> list[int]:
    """Scenes by their number of frames, so that nobody is left with a long one at the end."""
    return sorted(scenes, key=lambda scene: len(index.scene_frames(scene)), reverse=True)


def partition_scenes(scenes: Sequence[int], index: NuScenesIndex, processes: int) -> list[list[int]]:
    """Whole scenes for each of so many processes: the longest first, each to whoever has the fewest frames so far."""
    dealt: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for scene in longest_first(scenes, index):
        least = loads.index(min(loads))
        dealt[least].append(scene)
        loads[least] += len(index.scene_frames(scene))
    return dealt


def share_devices(device: str, processes: int) -> list[str]:
    """The device of each of so many processes: a GPU each for ``cuda``, else the same for all.

    Raises UserError where there are fewer GPUs than processes.
    """
    if device != "cuda" or processes == 1:
        return [device] * processes
    if processes > torch.cuda.device_count():
        raise UserError(f"{processes} processes need a GPU each: this machine has {torch.cuda.device_count()}")
    return [f"cuda:{number}" for number in range(processes)]


def detect_in_pool(
    make: Callable[[str], DetectScene], devices: Sequence[str], scenes: Sequence[int]
) -> Iterator[tuple[int, SceneDetections]]:
    """Detect in a process for each device, which share the threads; yields scenes as they are done, whoever did them.

    ``make`` is called in each process with its device. Raises what a process raised; what wasn't begun is left.
    """
    context = get_context("spawn")
    free: Queue[str] = context.Queue()
    for device in devices:
        free.put(device)
    threads = max(1, torch.get_num_threads() // len(devices))
    with ProcessPoolExecutor(len(devices), context, _Worker.begin, (make, free, threads)) as pool:
        begun = {pool.submit(_Worker.detect, scene): scene for scene in scenes}
        try:
            for done in as_completed(begun):
                yield begun[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Worker:
    """What a process of the pool works with: made with its first scene, for errors to be that scene's."""

    make: Callable[[str], DetectScene]
    device: str
    made: DetectScene | None = None

    @classmethod
    def begin(cls, make: Callable[[str], DetectScene], free: Queue[str], threads: int) -> None:
        torch.set_num_threads(threads)
        cls.make, cls.device = staticmethod(make), free.get()

    @classmethod
    def detect(cls, scene: int) -> SceneDetections:
        if cls.made is None:
            cls.made = staticmethod(cls.make(cls.device))
        return cls.made(scene)


@contextmanager
def joined() -> Iterator[None]:
    """The processes of torchrun can talk to each other inside."""
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def gather(own: dict[int, SceneDetections]) -> dict[int, SceneDetections]:
    """The results of all processes of torchrun, by scene; for all but the first process their own."""
    every: list[dict[int, SceneDetections]] | None = [{}] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(own, every)
    return own if every is None else {scene: found for part in every for scene, found in part.items()}
