"""Box codes relative to an anchor (OpenPCDet's ``ResidualCoder`` with sin/cos)."""

from __future__ import annotations

import torch
from torch import Tensor

CODE_SIZE = 10
"""x, y, z, l, w, h, cosine, sine, vx, vy."""

_MIN_SIZE = 1e-5


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the codes [..., 10] of boxes [..., 9] at anchors [..., 7].

    A code has the offsets of the centre over the anchor's diagonal and height, the logarithms of the size ratios, the
    differences of cosine and sine of the headings, and the velocity.
    """
    size, anchor_size = boxes[..., 3:6].clamp(min=_MIN_SIZE), anchors[..., 3:6]
    centre = (boxes[..., :3] - anchors[..., :3]) / _centre_scale(anchors)
    yaw, anchor_yaw = boxes[..., 6:7], anchors[..., 6:7]
    heading = torch.cat((yaw.cos() - anchor_yaw.cos(), yaw.sin() - anchor_yaw.sin()), dim=-1)
    return torch.cat((centre, (size / anchor_size).log(), heading, boxes[..., 7:9]), dim=-1)


def decode_boxes(codes: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes [..., 9] of codes [..., 10] at anchors [..., 7], with yaw in (-π, π]."""
    centre = codes[..., :3] * _centre_scale(anchors) + anchors[..., :3]
    size = codes[..., 3:6].exp() * anchors[..., 3:6]
    cos = codes[..., 6:7] + anchors[..., 6:7].cos()
    sin = codes[..., 7:8] + anchors[..., 6:7].sin()
    return torch.cat((centre, size, torch.atan2(sin, cos), codes[..., 8:10]), dim=-1)


def _centre_scale(anchors: Tensor) -> Tensor:
    """Return the units [..., 3] of the centre's offsets: diagonal, diagonal, height."""
    diagonal = anchors[..., 3:5].square().sum(dim=-1, keepdim=True).sqrt()
    return torch.cat((diagonal, diagonal, anchors[..., 5:6]), dim=-1)
