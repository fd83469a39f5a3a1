"""Pillar feature encoders: points [B, N, 5] in, one feature vector a pillar out (PointPillars §2.1; OpenPCDet's VFE).

``PillarVFE`` works on hard voxels, ``DynPillarVFE`` on all points of every pillar. Both run in float32 under autocast:
bfloat16 resolves a coordinate of 50 m to 0.25 m.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from remembev.config.schema import DataConfig, VFEConfig
from remembev.ops import argmax_in_group, assign_pillars, scatter_pillars, stage, voxelise

NUM_POINT_FEATURES = 5
"""x, y, z, intensity, age."""
_MOMENTUM = 0.01
"""Share of a frame in the running statistics, as in OpenPCDet."""


class PFNLayer(nn.Module):
    """Linear layer, batch normalisation and ReLU over points, one layer of a pillar feature network."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in] to [N, C_out]."""
        return F.linear(x, *self._folded(x)).relu()

    def pooled(self, x: Tensor, pillar: Tensor, pillars: int) -> Tensor:
        """Maximum [P, C_out] over the rows x [N, C_in] of each pillar, whose number is ``pillar`` [N].

        Only rows that are the largest of some channel have a gradient beside that of the statistics; no other is kept.
        """
        weight, bias = self._folded(x)
        with torch.no_grad():
            largest = argmax_in_group(F.linear(x, weight), pillar, pillars)
            wins = torch.zeros_like(pillar, dtype=torch.bool).index_fill(0, largest.flatten(), True)
        place = wins.cumsum(0) - 1
        return F.linear(x[wins], weight, bias).gather(0, place[largest]).relu()

    def _folded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weight [C_out, C_in] and bias [C_out] with the normalisation in them.

        In training it goes by rows x [N, C_in]; no statistics come from a single row or none: those of earlier frames
        stand in.
        """
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()  # later frames of the clip change them
        if norm.training and len(x) > 1:
            mean, variance = self._statistics(x)
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(mean.detach(), _MOMENTUM)
            norm.running_var.lerp_(variance.detach() * len(x) / (len(x) - 1), _MOMENTUM)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return self.linear.weight * scale[:, None], norm.bias - mean * scale

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [C_out] of what the linear layer makes of rows x [N, C_in].

        W mean(x) and diag(W cov(x) Wᵀ), in float64: inputs are large beside their differences.
        """
        rows, weight = x.double(), self.linear.weight.double()
        mean = rows.mean(dim=0)
        rows = rows - mean
        covariance = rows.T @ rows / len(rows)
        variance = (weight @ covariance * weight).sum(dim=1).clamp(min=0)
        return (weight @ mean).to(x.dtype), variance.to(x.dtype)


class PillarEncoder(nn.Module, ABC):
    """What makes a BEV map of points."""

    @abstractmethod
    def to_bev(self, points: Tensor, num_points: Tensor) -> Tensor:
        """The BEV map [B, C, H, W] of points [B, N, 5], num_points [B] of them real."""


class PillarFeatureNet(PillarEncoder):
    """What the encoders share: the inputs of a point and the layers; they differ in how points are pooled."""

    def __init__(self, cfg: VFEConfig, data: DataConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.grid = data.pillar_grid
        self.z_range = (data.POINT_CLOUD_RANGE[2], data.POINT_CLOUD_RANGE[5])
        self.num_features = cfg.NUM_FILTERS[-1]
        point_features = NUM_POINT_FEATURES if cfg.USE_ABSLOTE_XYZ else NUM_POINT_FEATURES - 3
        in_channels = point_features + 6 + (1 if cfg.WITH_DISTANCE else 0)
        self.pfn_layers = nn.ModuleList()
        for filters in cfg.NUM_FILTERS[:-1]:
            self.pfn_layers.append(PFNLayer(in_channels, filters // 2))
            in_channels = filters // 2 * 2
        self.pfn_layers.append(PFNLayer(in_channels, self.num_features))

    @abstractmethod
    def forward(self, points: Tensor, num_points: Tensor) -> tuple[Tensor, Tensor]:
        """Features [P, C] and (sample, row, column) [P, 3] of the pillars of points [B, N, 5], num_points [B] real."""

    def to_bev(self, points: Tensor, num_points: Tensor) -> Tensor:
        """The BEV map [B, C, H, W] of points [B, N, 5], num_points [B] of them real."""
        features, coords = self(points, num_points)
        with stage("scatter"):
            return scatter_pillars(features, coords, len(points), self.grid)

    def _inputs(self, points: Tensor, mean: Tensor, coords: Tensor) -> Tensor:
        """Points [..., 5] with their offsets to the pillar's mean [..., 3] and to the centre of its cell [..., 3]."""
        xyz = points[..., :3]
        _, row, column = coords.to(points.dtype).unbind(dim=-1)
        x = (column + 0.5) * self.grid.cell_x + self.grid.x_min
        y = (row + 0.5) * self.grid.cell_y + self.grid.y_min
        centre = torch.stack((x, y, torch.full_like(x, sum(self.z_range) / 2)), dim=-1)
        features = [points if self.cfg.USE_ABSLOTE_XYZ else points[..., 3:], xyz - mean, xyz - centre]
        if self.cfg.WITH_DISTANCE:
            features.append(xyz.norm(dim=-1, keepdim=True))
        return torch.cat(features, dim=-1)

    def _encode(self, x: Tensor, pillar: Tensor, pillars: int) -> Tensor:
        """Features [P, C] of pillars, the maxima over their rows x [N, F]; ``pillar`` [N] says whose they are."""
        *inner, last = self.pfn_layers
        for layer in inner:
            x = layer(x)
            largest = x.gather(0, argmax_in_group(x.detach(), pillar, pillars))
            x = torch.cat((x, largest[pillar]), dim=-1)
        assert isinstance(last, PFNLayer)
        return last.pooled(x, pillar, pillars)


class PillarVFE(PillarFeatureNet):
    """Encoder of hard voxels.

    The padding of a pillar is zeroed before the first layer, yet takes part in the normalisation's statistics and in
    the maximum, as in OpenPCDet: published weights are trained that way.
    """

    def __init__(self, cfg: VFEConfig, data: DataConfig) -> None:
        super().__init__(cfg, data)
        self.max_points = data.DATA_PROCESSOR.MAX_POINTS_PER_VOXEL
        self.max_pillars = data.DATA_PROCESSOR.MAX_NUMBER_OF_VOXELS

    def forward(self, points: Tensor, num_points: Tensor) -> tuple[Tensor, Tensor]:
        """Features [P, C] and (sample, row, column) [P, 3] of the pillars of points [B, N, 5], num_points [B] real."""
        with stage("voxelise"):
            pillars = voxelise(points, num_points, self.grid, self.z_range, self.max_points, self.max_pillars)
        with stage("vfe"), torch.autocast(points.device.type, enabled=False):
            count = pillars.num_points[:, None]
            mean = pillars.points[..., :3].sum(dim=1) / count
            is_point = torch.arange(self.max_points, device=points.device) < count
            x = self._inputs(pillars.points, mean[:, None], pillars.coords[:, None]) * is_point[..., None]
            pillar = torch.arange(len(x), device=points.device).repeat_interleave(self.max_points)
            features = self._encode(x.flatten(0, 1), pillar, len(x))
        return features, pillars.coords


class DynPillarVFE(PillarFeatureNet):
    """Encoder of all points of every pillar: no padding, nothing truncated."""

    def forward(self, points: Tensor, num_points: Tensor) -> tuple[Tensor, Tensor]:
        """Features [P, C] and (sample, row, column) [P, 3] of the pillars of points [B, N, 5], num_points [B] real."""
        with stage("voxelise"):
            assigned = assign_pillars(points, num_points, self.grid, self.z_range)
        pillar, coords = assigned.pillar, assigned.coords
        with stage("vfe"), torch.autocast(points.device.type, enabled=False):
            count = torch.bincount(pillar, minlength=len(coords))[:, None]
            xyz = assigned.points[:, :3]
            mean = xyz.new_zeros(len(coords), 3).index_add(0, pillar, xyz) / count
            x = self._inputs(assigned.points, mean[pillar], coords[pillar])
            features = self._encode(x, pillar, len(coords))
        return features, coords


def build_vfe(cfg: VFEConfig, data: DataConfig) -> PillarVFE | DynPillarVFE:
    """The encoder that ``cfg.NAME`` names."""
    encoders: dict[str, type[PillarVFE] | type[DynPillarVFE]] = {"PillarVFE": PillarVFE, "DynPillarVFE": DynPillarVFE}
    return encoders[cfg.NAME](cfg, data)
