"""``StreamState``: all that a stream keeps of one scene from frame to frame, as plain tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from remembev.memory import MemoryState
from remembev.structs import TensorStruct


@dataclass(frozen=True)
class Moment(TensorStruct):
    """Where and when a frame was taken."""

    pose: Tensor  # [1, 4, 4] float64, global_from_lidar
    timestamp: Tensor  # [1] float64, seconds


@dataclass(frozen=True)
class StreamState(TensorStruct):
    """Where the stream of a scene stands. A value: a step makes the next one, and nothing changes one in place."""

    memory: TensorStruct  # what is remembered, as of the latest frame that had points
    frames: Tensor  # [1] int64, frames that had points
    remembered: Moment  # the latest of them
    latest: Moment  # the latest frame, with points or without

    @classmethod
    def start(cls, memory: TensorStruct, moment: Moment) -> Self:
        """The state before a first frame: a memory in which there is nothing yet."""
        return cls(memory=memory, frames=torch.zeros(1, dtype=torch.int64), remembered=moment, latest=moment)

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds on to; tensors that share their storage count once, parts count whole."""
        storages = [tensor.untyped_storage() for tensor in self.named().values()]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    @property
    def tokens(self) -> int:
        """Tokens that are held, 0 for a memory without."""
        return int(self.memory.tokens.count()) if isinstance(self.memory, MemoryState) else 0
