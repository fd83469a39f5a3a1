"""Several processes: torchrun's environment, and scenes shared out among processes.

The result of a scene doesn't depend on the process that computes it: several processes give what one process gives.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from remembev.errors import UserError

Result = TypeVar("Result")

_TIMEOUT = timedelta(days=7)
"""Longest wait of torchrun's processes for the slowest of them."""


# ------------------------------------------------------------------------------------------------------------ torchrun


@dataclass(frozen=True)
class TorchrunEnv:
    """This process among those that torchrun has started."""

    rank: int
    local_rank: int
    local_world_size: int
    world_size: int

    @property
    def num_machines(self) -> int:
        """Number of machines; each has the same number of processes."""
        return self.world_size // self.local_world_size


def torchrun_env(devices: int) -> TorchrunEnv | None:
    """Return torchrun's environment, None without torchrun.

    Args:
        devices: The ``--devices`` of the command; 1, the default, accepts any number.

    Raises:
        UserError: If torchrun has started another number of processes.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        return None
    env = TorchrunEnv(*(int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE")))
    if devices not in (1, env.local_world_size):
        raise UserError(
            f"torchrun started {env.local_world_size} processes on this machine, but --devices is {devices}: "
            "omit --devices"
        )
    return env


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes of torchrun inside the block."""
    dist.init_process_group("gloo", timeout=_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def num_processes() -> int:
    """Return the number of processes of the process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return this process's number in the process group, 0 without one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_results(own: dict[int, Result]) -> dict[int, Result]:
    """Return the results of all processes of torchrun in the first process, its own in any other."""
    parts: list[dict[int, Result]] | None = [{}] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(own, parts)
    return own if parts is None else {scene: result for part in parts for scene, result in part.items()}


# -------------------------------------------------------------------------------------------------------------- scenes


def longest_first(num_frames: Mapping[int, int]) -> list[int]:
    """Return scenes by decreasing number of frames, so that no process is left with a long one at the end."""
    return sorted(num_frames, key=lambda scene: num_frames[scene], reverse=True)


def partition_scenes(num_frames: Mapping[int, int], processes: int) -> list[list[int]]:
    """Assign whole scenes to processes, longest first, each to the process with the fewest frames so far."""
    parts: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for scene in longest_first(num_frames):
        process = loads.index(min(loads))
        parts[process].append(scene)
        loads[process] += num_frames[scene]
    return parts


def device_per_process(device: str, processes: int) -> list[str]:
    """Return the device of each process: a GPU each for ``cuda``, else the same for all.

    Raises:
        UserError: If there are fewer GPUs than processes.
    """
    if device != "cuda" or processes == 1:
        return [device] * processes
    if processes > torch.cuda.device_count():
        raise UserError(f"--devices {processes} needs {processes} GPUs; this machine has {torch.cuda.device_count()}")
    return [f"cuda:{number}" for number in range(processes)]


def run_in_pool(
    make: Callable[[str], Callable[[int], Result]], devices: Sequence[str], scenes: Sequence[int]
) -> Iterator[tuple[int, Result]]:
    """Run a function on scenes in one process per device; yield each scene with its result as it is done.

    The processes share the threads. An exception of a process is raised here, and scenes that have not begun are
    dropped.

    Args:
        make: Makes the function, in each process and for its device.
        devices: A device for each process.
        scenes: The scenes, in the order in which they begin.
    """
    context = get_context("spawn")
    free_devices: Queue[str] = context.Queue()
    for device in devices:
        free_devices.put(device)
    threads = max(1, torch.get_num_threads() // len(devices))
    with ProcessPoolExecutor(len(devices), context, _Worker.start, (make, free_devices, threads)) as pool:
        futures = {pool.submit(_Worker.run, scene): scene for scene in scenes}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Worker:
    """A process of the pool. Its function is made with the first scene, where errors are raised."""

    make: Callable[[str], Callable[[int], Any]]
    device: str
    function: Callable[[int], Any] | None = None

    @classmethod
    def start(cls, make: Callable[[str], Callable[[int], Any]], free_devices: Queue[str], threads: int) -> None:
        torch.set_num_threads(threads)
        cls.make, cls.device = staticmethod(make), free_devices.get()

    @classmethod
    def run(cls, scene: int) -> Any:
        if cls.function is None:
            cls.function = staticmethod(cls.make(cls.device))
        return cls.function(scene)
