"""The processes that torchrun has started, if it has."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch.distributed as dist

from remembev.errors import UserError


@dataclass(frozen=True)
class TorchrunEnv:
    """A process of torchrun: its rank, and how many there are, on its machine and on all of them."""

    rank: int
    local_rank: int
    here: int
    everywhere: int

    @property
    def machines(self) -> int:
        """How many machines there are, with as many processes each."""
        return self.everywhere // self.here


def torchrun_env(asked: int) -> TorchrunEnv | None:
    """What torchrun has started; None without it. Raises UserError where ``asked`` for another number than it started.

    To ask for one process is not to ask for any number.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        return None
    names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE")
    found = TorchrunEnv(*(int(os.environ[name]) for name in names))
    if asked not in (1, found.here):
        raise UserError(
            f"torchrun has started {found.here} processes on this machine, not {asked}: leave --devices out"
        )
    return found
