"""2D backbone on the BEV map (OpenPCDet's ``BaseBEVBackbone``; PointPillars §2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from remembev.config.schema import BackboneConfig


def conv_norm_relu(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    """Return a convolution without bias, its batch normalisation and ReLU."""
    return [conv, nn.BatchNorm2d(conv.out_channels, eps=1e-3, momentum=0.01), nn.ReLU(inplace=True)]


class BaseBEVBackbone(nn.Module):
    """Blocks of 3×3 convolutions, the first of each strided; their outputs are resampled to one size and joined."""

    def __init__(self, cfg: BackboneConfig, in_channels: int) -> None:
        super().__init__()
        self.num_bev_features = cfg.num_bev_features
        self.blocks = nn.ModuleList()
        self.deblocks = nn.ModuleList()
        per_block = zip(
            cfg.LAYER_NUMS,
            cfg.LAYER_STRIDES,
            cfg.NUM_FILTERS,
            cfg.UPSAMPLE_STRIDES,
            cfg.NUM_UPSAMPLE_FILTERS,
            strict=True,
        )
        for num_layers, stride, filters, upsample_stride, upsample_filters in per_block:
            layers = conv_norm_relu(nn.Conv2d(in_channels, filters, 3, stride, padding=1, bias=False))
            for _ in range(num_layers):
                layers += conv_norm_relu(nn.Conv2d(filters, filters, 3, padding=1, bias=False))
            self.blocks.append(nn.Sequential(*layers))
            resample = _resampling_conv(filters, upsample_filters, upsample_stride)
            self.deblocks.append(nn.Sequential(*conv_norm_relu(resample)))
            in_channels = filters

    def forward(self, bev: Tensor) -> Tensor:
        """Return spatial_features_2d [B, C_bev, H, W], in the weights' dtype, from a BEV map [B, C, H_p, W_p]."""
        bev, maps = bev.to(next(self.parameters()).dtype), []
        if self.training and bev.device.type == "cpu":
            # Channels-last batch normalisation sums its statistics in float32 on the CPU.
            bev = bev.contiguous()
        for block, deblock in zip(self.blocks, self.deblocks, strict=True):
            bev = block(bev)
            maps.append(deblock(bev))
        return torch.cat(maps, dim=1)


def _resampling_conv(in_channels: int, out_channels: int, upsample_stride: float) -> nn.Conv2d | nn.ConvTranspose2d:
    """Upsample by an integer, or downsample by 1 / ``upsample_stride``, with kernels that don't overlap."""
    if upsample_stride >= 1:
        stride = round(upsample_stride)
        return nn.ConvTranspose2d(in_channels, out_channels, stride, stride, bias=False)
    stride = round(1 / upsample_stride)
    return nn.Conv2d(in_channels, out_channels, stride, stride, bias=False)
