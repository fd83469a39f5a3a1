"""What a detector hands out: boxes with scores and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

_NOBODY_LOOKED = torch.ones(0, dtype=torch.bool)


@dataclass(frozen=True)
class Detections:
    """K boxes of one frame, best first."""

    boxes: Tensor  # [K, 9] (x, y, z, l, w, h, yaw, vx, vy)
    scores: Tensor  # [K] in [0, 1]
    labels: Tensor  # [K] int64 into CLASS_NAMES
    observed: Tensor = _NOBODY_LOOKED
    """[K] bool: the current sweep has a point inside. A stream says so; until one has looked all boxes are observed."""

    def __post_init__(self) -> None:
        if self.observed is _NOBODY_LOOKED:
            object.__setattr__(self, "observed", torch.ones_like(self.scores, dtype=torch.bool))

    @classmethod
    def empty(cls) -> Detections:
        """No detections."""
        return cls(torch.zeros(0, 9), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    @property
    def velocities(self) -> Tensor:
        """Velocities [K, 2] in m/s, in the frame of the boxes."""
        return self.boxes[:, 7:9]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Tensor) -> Detections:
        """The detections that an index or a mask picks."""
        return Detections(self.boxes[index], self.scores[index], self.labels[index], self.observed[index])

    def to(self, device: torch.device | str) -> Detections:
        """The same detections on another device."""
        return Detections(*(tensor.to(device) for tensor in (self.boxes, self.scores, self.labels, self.observed)))


class PaddedDetections(NamedTuple):
    """At most K boxes of each of B frames, best first: fixed shapes, for exported programs and CUDA graphs."""

    boxes: Tensor  # [B, K, 9], zeros pad
    scores: Tensor  # [B, K], zeros pad
    labels: Tensor  # [B, K] int64 into CLASS_NAMES, -1 pads
    num_boxes: Tensor  # [B] int64 how many are real

    def of(self, sample: int) -> Detections:
        """The real ones of one frame."""
        count = int(self.num_boxes[sample])
        return Detections(self.boxes[sample, :count], self.scores[sample, :count], self.labels[sample, :count])
