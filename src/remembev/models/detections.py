"""Detections: boxes with scores and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self


@dataclass(frozen=True)
class Detections:
    """K boxes of one frame, best first."""

    boxes: Tensor  # [K, 9] (x, y, z, l, w, h, yaw, vx, vy)
    scores: Tensor  # [K] in [0, 1]
    labels: Tensor  # [K] int64 into CLASS_NAMES
    observed: Tensor | None = None  # [K] bool, True if the current sweep has a point inside; None: not checked
    track_ids: Tensor | None = None  # [K] int64, -1 for a box without a track; None: without a tracker
    coasted: Tensor | None = None  # [K] bool, True for a lost track's box, which the detector lacks; None as above

    @classmethod
    def empty(cls) -> Detections:
        """Return no detections."""
        return cls(torch.zeros(0, 9), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    @property
    def velocities(self) -> Tensor:
        """Velocities [K, 2] in m/s, in the frame of the boxes."""
        return self.boxes[:, 7:9]

    @property
    def remembered(self) -> Tensor:
        """[K] bool, True for boxes without a point in the current sweep; all False if that was not checked."""
        return torch.zeros_like(self.scores, dtype=torch.bool) if self.observed is None else ~self.observed

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Tensor) -> Self:
        """Return the detections at an index or under a mask."""
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        """Return the detections on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        optional = {"observed": self.observed, "track_ids": self.track_ids, "coasted": self.coasted}
        return replace(
            self,
            boxes=function(self.boxes),
            scores=function(self.scores),
            labels=function(self.labels),
            **{name: function(tensor) for name, tensor in optional.items() if tensor is not None},
        )


class PaddedDetections(NamedTuple):
    """At most K boxes of each of B frames, best first, in fixed shapes for exported programs and CUDA graphs."""

    boxes: Tensor  # [B, K, 9], zeros pad
    scores: Tensor  # [B, K], zeros pad
    labels: Tensor  # [B, K] int64 into CLASS_NAMES, -1 pads
    num_boxes: Tensor  # [B] int64, real boxes

    def item(self, sample: int) -> Detections:
        """Return the real boxes of one frame."""
        count = int(self.num_boxes[sample])
        return Detections(self.boxes[sample, :count], self.scores[sample, :count], self.labels[sample, :count])
