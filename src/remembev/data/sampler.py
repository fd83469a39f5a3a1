"""Which clips an epoch has, in which order, and with which random numbers: functions of a seed, whoever loads them.

Nothing here depends on how far a generator has run. A training can therefore start in the middle of an epoch without
loading what came before, and any number of loader workers gives the same clips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler


def mixed_seed(*numbers: int) -> int:
    """A seed for torch that is a hash of whole numbers from 0 on: others give another, however near."""
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's default generator begins at ``seed`` inside, and outside goes on as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class Draw(NamedTuple):
    """A clip that an epoch has drawn: its number in the data set, and the seed of all that is drawn for it."""

    clip: int
    seed: int


class DrawsEpochs(Protocol):
    """A data set of clips that says which of them an epoch has."""

    def __len__(self) -> int: ...

    def draw_epoch(self) -> list[int]:
        """The clips of an epoch in order, drawn from torch's default generator: as many each time."""


class ClipSampler(DistributedSampler[Draw]):
    """The clips of an epoch that this process is given, each with a seed of its own.

    With N processes (of torch.distributed, one without it) rank r has the places r, r + N, … of the epoch's order; the
    first ones are given once more where their number isn't a multiple of N. Order and draws follow from seed, epoch and
    place alone: N processes with batches of B see in a step what one process with batches of N · B sees.

    seed  None: every iteration is an epoch of its own, seeded from torch's default generator as a shuffling loader is

    torch's own sampler can only shuffle, starts at the beginning of an epoch and leaves augmentation to the workers'
    generators. This one has its type, for Lightning to leave it in its place.
    """

    def __init__(self, clips: DrawsEpochs, seed: int | None = None) -> None:
        # Sampler and processes are made in any order: how many there are is asked for when it is needed.
        super().__init__(cast("torch.utils.data.Dataset[Draw]", clips), num_replicas=1, rank=0, seed=seed or 0)
        self.clips = clips
        self.fixed = seed is not None
        self.first = 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Take an epoch, from this process's clip number ``first`` on; to set the same epoch again changes nothing."""
        if epoch != self.epoch or first:
            self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        """How many clips of the whole epoch this process has, wherever it starts."""
        return math.ceil(len(self._order(self.seed)) / _processes())

    def __iter__(self) -> Iterator[Draw]:
        if not self.fixed and _processes() > 1:
            raise ValueError("several processes need a seed, to draw the same epoch")
        seed = self.seed if self.fixed else int(torch.randint(2**62, ()))
        epoch, order = self.epoch, self._order(seed)
        for number in range(self.first, len(self)):
            place = number * _processes() + _rank()
            yield Draw(order[place % len(order)], mixed_seed(seed, epoch, place))

    def _order(self, seed: int) -> list[int]:
        with seeded(mixed_seed(seed, self.epoch)):
            return self.clips.draw_epoch()


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
