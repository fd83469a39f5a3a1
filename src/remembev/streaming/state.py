"""``StreamState``: everything a stream keeps of one scene from frame to frame, as plain tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from remembev.memory import MemoryState
from remembev.structs import TensorStruct
from remembev.tracking import TrackerState


@dataclass(frozen=True)
class Moment(TensorStruct):
    """Place and time of a frame."""

    pose: Tensor  # [1, 4, 4] float64, global_from_lidar
    timestamp: Tensor  # [1] float64, seconds


@dataclass(frozen=True)
class StreamState(TensorStruct):
    """State of the stream of one scene. A value: a step returns the next one and never changes one in place."""

    memory: TensorStruct  # memory after the latest frame with points
    frames: Tensor  # [1] int64, frames with points so far
    remembered: Moment  # the latest frame with points
    latest: Moment  # the latest frame
    tracker: TrackerState | None = None  # tracks after the latest frame; None without a tracker

    @classmethod
    def start(cls, memory: TensorStruct, moment: Moment, tracker: TrackerState | None = None) -> Self:
        """Return the state before a first frame, with an empty memory."""
        frames = torch.zeros(1, dtype=torch.int64)
        return cls(memory=memory, frames=frames, remembered=moment, latest=moment, tracker=tracker)

    @property
    def nbytes(self) -> int:
        """Bytes of the state; storages that tensors share count once, and whole."""
        storages = [tensor.untyped_storage() for tensor in self.named().values()]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    @property
    def tokens(self) -> int:
        """Tokens in the memory, 0 for a memory without tokens."""
        return int(self.memory.tokens.count()) if isinstance(self.memory, MemoryState) else 0
