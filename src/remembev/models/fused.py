"""Fusion of a model for inference: the same function in fewer passes over memory.

Batch normalisation is folded into the convolution before it, maps are channels-last, pillars are encoded straight onto
the map. Backbone and head may run in bfloat16; pillars, memory, boxes and scores stay in float32.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_weights

from remembev.models.sparse_head import SparseHead
from remembev.models.temporal import TemporalPointPillar
from remembev.models.vfe import PFNLayer, PillarEncoder, PillarFeatureNet, PillarVFE, add_height_basis
from remembev.ops import encode_pillars, stage


def fuse_for_inference(model: TemporalPointPillar, dtype: torch.dtype = torch.float32) -> TemporalPointPillar:
    """Return a fused copy of ``model`` for inference; up to rounding, it gives what the model gives in eval mode.

    Args:
        model: The model.
        dtype: Dtype of the convolutions of backbone and head, float32 or bfloat16.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    if fused.backbone_3d is None and isinstance(fused.vfe, PillarFeatureNet) and len(fused.vfe.pfn_layers) == 1:
        fused.vfe = FusedPillarVFE(fused.vfe, dtype)
    for part in (fused.backbone_2d, fused.dense_head):
        _fold_normalisation(part)
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused.dense_head.rpn_heads = nn.ModuleList(SparseHead(head) for head in fused.dense_head.heads)
    return fused


class FusedPillarVFE(PillarEncoder):
    """Single-layer encoder and scatter in one pass over the points."""

    weight: Tensor  # [C, 11 + K], or 12 + K with the distance
    bias: Tensor  # [C]
    heights: Tensor  # [K] m

    def __init__(self, encoder: PillarFeatureNet, dtype: torch.dtype = torch.float32) -> None:
        """Fuse ``encoder``; its map is in ``dtype``."""
        super().__init__()
        self.dtype = dtype
        (layer,) = encoder.pfn_layers
        assert isinstance(layer, PFNLayer)
        weight, bias = _fold_linear(layer)
        if not encoder.cfg.USE_ABSLOTE_XYZ:
            weight = torch.cat((weight.new_zeros(len(weight), 3), weight), dim=1)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("heights", encoder.heights)
        self.grid, self.z_range = encoder.grid, encoder.z_range
        self.limits: tuple[int | None, int | None] = (None, None)
        if isinstance(encoder, PillarVFE):
            self.limits = (encoder.max_points, encoder.max_pillars)

    def to_bev(self, points: Tensor, num_points: Tensor) -> Tensor:
        """Return the BEV map [B, C, H, W] of points [B, N, 5], the first num_points [B] of them real."""
        with stage("pillars"):
            where = self.grid, self.z_range
            points = add_height_basis(points, self.heights)
            return encode_pillars(points, num_points, self.weight, self.bias, *where, *self.limits, self.dtype)


def _fold_linear(layer: PFNLayer) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a layer with its running normalisation folded in."""
    norm = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_linear_bn_weights(
        layer.linear.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return weight.detach(), bias.detach()


def _fold_normalisation(module: nn.Module) -> None:
    """Fold each batch normalisation in the sequences of ``module`` into the convolution before it."""
    for sequence in [part for part in module.modules() if isinstance(part, nn.Sequential)]:
        for place, (conv, norm) in enumerate(pairwise(list(sequence))):
            if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[place] = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
                sequence[place + 1] = nn.Identity()
