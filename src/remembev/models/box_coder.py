"""Box codes relative to an anchor (OpenPCDet's ``ResidualCoder``)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from remembev.config.schema import HeadingCode

_MIN_SIZE = 1e-5
_HEADING = 6


@dataclass(frozen=True)
class BoxCoder:
    """Codes of boxes: centre, size, heading, velocity.

    The code of the heading is the difference between box and anchor of

    - ``sincos``: cosine and sine of the heading;
    - ``double_angle``: cosine and sine of twice the heading, which are the same for a box and the box turned around;
    - ``residual``: the heading itself, with the sine of its error as the loss (SECOND, §3.2), which is 0 for a box
      turned around.
    """

    heading: HeadingCode = "sincos"

    @property
    def code_size(self) -> int:
        """Numbers C of a code: x, y, z, l, w, h, one or two of the heading, vx, vy."""
        return 9 if self.heading == "residual" else 10

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Return the codes [..., C] of boxes [..., 9] at anchors [..., 7].

        A code has the offsets of the centre over the anchor's diagonal and height, the logarithms of the size ratios,
        the code of the heading, and the velocity.
        """
        size, anchor_size = boxes[..., 3:6].clamp(min=_MIN_SIZE), anchors[..., 3:6]
        centre = (boxes[..., :3] - anchors[..., :3]) / _centre_scale(anchors)
        heading = self._represent(boxes[..., 6:7]) - self._represent(anchors[..., 6:7])
        return torch.cat((centre, (size / anchor_size).log(), heading, boxes[..., 7:9]), dim=-1)

    def decode(self, codes: Tensor, anchors: Tensor) -> Tensor:
        """Return the boxes [..., 9] of codes [..., C] at anchors [..., 7].

        The yaw of ``sincos`` lies in (-π, π]; those of the others are known up to multiples of π.
        """
        centre = codes[..., :3] * _centre_scale(anchors) + anchors[..., :3]
        size = codes[..., 3:6].exp() * anchors[..., 3:6]
        heading = codes[..., _HEADING:-2] + self._represent(anchors[..., 6:7])
        if self.heading == "residual":
            yaw = heading
        else:
            yaw = torch.atan2(heading[..., 1:], heading[..., :1])
            if self.heading == "double_angle":
                yaw = yaw / 2
        return torch.cat((centre, size, yaw, codes[..., -2:]), dim=-1)

    def error(self, codes: Tensor, targets: Tensor) -> Tensor:
        """Return the errors [..., C] of codes [..., C], to be weighted and summed in the loss."""
        error = codes - targets
        if self.heading != "residual":
            return error
        return torch.cat((error[..., :_HEADING], error[..., _HEADING:-2].sin(), error[..., -2:]), dim=-1)

    def _represent(self, yaw: Tensor) -> Tensor:
        """Return the numbers [..., 1 or 2] that stand for a heading [..., 1]."""
        if self.heading == "residual":
            return yaw
        angle = 2 * yaw if self.heading == "double_angle" else yaw
        return torch.cat((angle.cos(), angle.sin()), dim=-1)


def _centre_scale(anchors: Tensor) -> Tensor:
    """Return the units [..., 3] of the centre's offsets: diagonal, diagonal, height."""
    diagonal = anchors[..., 3:5].square().sum(dim=-1, keepdim=True).sqrt()
    return torch.cat((diagonal, diagonal, anchors[..., 5:6]), dim=-1)
