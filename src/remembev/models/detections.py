"""What a detector hands out: boxes with scores and labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Detections:
    """K boxes of one frame, best first."""

    boxes: Tensor  # [K, 9] (x, y, z, l, w, h, yaw, vx, vy)
    scores: Tensor  # [K] in [0, 1]
    labels: Tensor  # [K] int64 into CLASS_NAMES

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
        return Detections(self.boxes[index], self.scores[index], self.labels[index])

    def to(self, device: torch.device | str) -> Detections:
        """The same detections on another device."""
        return Detections(self.boxes.to(device), self.scores.to(device), self.labels.to(device))
