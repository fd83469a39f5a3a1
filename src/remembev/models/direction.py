"""The direction classifier: which of a few equal sectors a box's heading lies in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.geometry import wrap_angle


@dataclass(frozen=True)
class DirectionBins:
    """``count`` sectors of the circle, the first one from ``offset`` (OpenPCDet's NUM_DIR_BINS, DIR_OFFSET).

    ``limit_offset`` (DIR_LIMIT_OFFSET) shifts the range to which a heading is reduced before its sector is added.
    """

    count: int
    offset: float
    limit_offset: float

    @property
    def period(self) -> float:
        """Width of a sector in radians."""
        return 2 * math.pi / self.count

    def of(self, yaw: Tensor) -> Tensor:
        """Sector [...] int64 that headings [...] lie in."""
        turned = torch.remainder(yaw - self.offset, 2 * math.pi)
        return (turned / self.period).floor().long().clamp(max=self.count - 1)

    def resolve(self, yaw: Tensor, sector: Tensor) -> Tensor:
        """Headings [...] known up to multiples of the period, moved into their sectors [...]: in [-π, π)."""
        turned = yaw - self.offset
        reduced = turned - (turned / self.period + self.limit_offset).floor() * self.period
        return wrap_angle(reduced + self.offset + self.period * sector)
