"""``TrackerState``: the tracks of a scene, as a value of plain tensors in global coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from remembev.structs import TensorStruct


@dataclass(frozen=True)
class Tracks(TensorStruct):
    """N tracks; the tensors' first dimension is the tracks."""

    ids: Tensor  # [N] int64
    labels: Tensor  # [N] int64
    boxes: Tensor  # [N, 9] float64, global; x, y, vx, vy are of now, z, size and heading of the latest sighting
    covariance: Tensor  # [N, 2, 2] float64, of position (m) and velocity (m/s) along either axis
    last_seen: Tensor  # [N] float64, time of the latest sighting in seconds
    best_score: Tensor  # [N] float64, the highest score of all sightings

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Tensor) -> Self:
        """Return the tracks at an index or under a mask."""
        return self.map(lambda tensor: tensor[index])


@dataclass(frozen=True)
class TrackerState(TensorStruct):
    """Tracks after a frame. A value: a step returns the next one and never changes one in place."""

    tracks: Tracks
    next_id: Tensor  # [1] int64; ids count up from 0 and are never used again
    timestamp: Tensor  # [1] float64, seconds; -inf before a first frame

    @classmethod
    def empty(cls) -> Self:
        """Return the state before a first frame."""
        numbers, values = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
        tracks = Tracks(
            ids=numbers,
            labels=numbers,
            boxes=values.new_zeros(0, 9),
            covariance=values.new_zeros(0, 2, 2),
            last_seen=values,
            best_score=values,
        )
        return cls(tracks, torch.zeros(1, dtype=torch.int64), torch.full((1,), -torch.inf, dtype=torch.float64))
