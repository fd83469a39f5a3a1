"""Fusion of the memory with the features: a gate from the occupancy, and the readout.

A gate multiplies the features, or adds a projection of what it lets through; a readout is added. Projections are small
at first, so that a detector that is given a memory starts as what it was, but not zero, so that the loss of a frame
reaches the frames before it from the first step on.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gate(occ_logits: Tensor, spatial_features_2d: Tensor) -> Tensor:
    """Return σ of the logits [B, 1, H_m, W_m], resized to the features' [B, 1, H, W]."""
    resized = F.interpolate(occ_logits, spatial_features_2d.shape[-2:], mode="bilinear", align_corners=False)
    return resized.sigmoid().to(spatial_features_2d.dtype)


def partly_open(gate: Tensor, strength: float) -> Tensor:
    """Return 1 − α (1 − g) of a gate g and its strength α: 1 everywhere at 0, the gate itself at 1."""
    return gate if strength == 1 else torch.lerp(torch.ones_like(gate), gate, strength)


class GatedConv(nn.Module):
    """1×1 convolution W [f ⊙ g, g] + b of gated features and their gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = small_conv(channels + 1, channels)

    def forward(self, features: Tensor, gate: Tensor) -> Tensor:
        """Return [B, C, H, W] from features f [B, C, H, W] and a gate g [B, 1, H, W].

        The gate is one number a cell, so this is g ⊙ (W_f f + w_g) + b, without multiplying or concatenating maps.
        """
        weight, bias = self.project.weight, cast("Tensor", self.project.bias)
        return F.conv2d(features, weight[:, :-1], weight[:, -1].flatten()) * gate + bias[:, None, None]


class Upsample(nn.Module):
    """Sub-pixel convolution: a cell becomes ``scale`` × ``scale`` cells, each linear in it (Shi et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.project = small_conv(inputs, outputs * scale**2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] to [B, C_out, scale · H, scale · W]."""
        return F.pixel_shuffle(self.project(x), self.scale)


def small_conv(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 1×1 convolution whose output is about a hundredth of its input at first.

    A zero convolution (ControlNet; Zhang et al., ICCV 2023) would pass no gradient to its input in the first step.
    """
    conv = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(conv.weight, std=1e-3)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
