"""Front and back: the sector of the circle that a heading lies in, and the way that a box moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.geometry import wrap_angle


@dataclass(frozen=True)
class DirectionBins:
    """Equal sectors of the circle."""

    count: int  # OpenPCDet's NUM_DIR_BINS
    offset: float  # radians at which the first sector starts (DIR_OFFSET)
    limit_offset: float  # sectors by which the range of a reduced heading is shifted (DIR_LIMIT_OFFSET)

    @property
    def period(self) -> float:
        """Width of a sector, radians."""
        return 2 * math.pi / self.count

    def sector(self, yaw: Tensor) -> Tensor:
        """Return the sectors [...] int64 of headings [...]."""
        turned = torch.remainder(yaw - self.offset, 2 * math.pi)
        return (turned / self.period).floor().long().clamp(max=self.count - 1)

    def resolve(self, yaw: Tensor, sector: Tensor) -> Tensor:
        """Move headings [...], known up to multiples of the period, into their sectors [...]; in [-π, π)."""
        turned = yaw - self.offset
        reduced = turned - (turned / self.period + self.limit_offset).floor() * self.period
        return wrap_angle(reduced + self.offset + self.period * sector)


def face_motion(boxes: Tensor, min_speed: float) -> Tensor:
    """Turn the boxes [..., 9] around that move backwards at ``min_speed`` m/s or more."""
    yaw, velocity = boxes[..., 6:7], boxes[..., 7:9]
    forward = (torch.cat((yaw.cos(), yaw.sin()), dim=-1) * velocity).sum(dim=-1, keepdim=True)
    backwards = (forward < 0) & (velocity.norm(dim=-1, keepdim=True) >= min_speed)
    return torch.cat((boxes[..., :6], torch.where(backwards, wrap_angle(yaw + math.pi), yaw), velocity), dim=-1)
