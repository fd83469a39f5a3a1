"""Reproducible epochs: clips, their order and their random numbers as functions of the seed.

No generator carries state from clip to clip. Training can therefore resume within an epoch without loading the clips
before, and any number of loader workers gives the same clips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DistributedSampler

from remembev.distributed import num_processes, process_rank


def mixed_seed(*numbers: int) -> int:
    """Hash integers ≥ 0 to a seed for torch; similar numbers give unrelated seeds."""
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's default generator inside the context and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class Draw(NamedTuple):
    """A clip of an epoch: its number in the data set, and the seed of its random numbers."""

    clip: int
    seed: int


class EpochDataset(Protocol):
    """A data set that draws the clips of an epoch."""

    def __len__(self) -> int: ...

    def draw_epoch(self) -> list[int]:
        """Draw the clips of an epoch, always equally many, from torch's default generator."""


class ClipSampler(DistributedSampler[Draw]):
    """Samples this process's clips of an epoch, each with its own seed.

    Of N processes (torch.distributed) rank r gets the places r, r + N, … of the epoch's order; the first clips repeat
    if their number isn't a multiple of N. Order and seeds only depend on seed, epoch and place: a step of N processes
    with batches of B sees what a step of one process with batches of N · B sees.

    Torch's own sampler only shuffles, can't start within an epoch, and leaves augmentation to the workers' generators.
    This one derives from it so that Lightning doesn't replace it.
    """

    def __init__(self, clips: EpochDataset, seed: int | None = None) -> None:
        """Sample from ``clips``; without a seed every iteration is a new epoch, seeded by torch's default generator."""
        # The sampler may be created before the process group: the number of processes is looked up when needed.
        super().__init__(cast("torch.utils.data.Dataset[Draw]", clips), num_replicas=1, rank=0, seed=seed or 0)
        self.clips = clips
        self.fixed = seed is not None
        self.first = 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Select an epoch, from this process's clip ``first`` on. Selecting the same epoch again keeps the start."""
        if epoch != self.epoch or first:
            self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        """Return the number of this process's clips of a whole epoch."""
        return math.ceil(len(self._order(self.seed)) / num_processes())

    def __iter__(self) -> Iterator[Draw]:
        if not self.fixed and num_processes() > 1:
            raise ValueError("several processes need a common seed to draw the same epoch")
        seed = self.seed if self.fixed else int(torch.randint(2**62, ()))
        epoch, order = self.epoch, self._order(seed)
        for number in range(self.first, len(self)):
            place = number * num_processes() + process_rank()
            yield Draw(order[place % len(order)], mixed_seed(seed, epoch, place))

    def _order(self, seed: int) -> list[int]:
        with seeded(mixed_seed(seed, self.epoch)):
            return self.clips.draw_epoch()
