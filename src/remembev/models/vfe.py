"""Pillar feature encoders (PointPillars §2.1; OpenPCDet's VFE): points [B, N, 5] to a feature vector a pillar.

``PillarVFE`` works on hard voxels, ``DynPillarVFE`` on all points of every pillar. Both run in float32 under autocast:
at 50 m bfloat16 has steps of 0.25 m.
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
"""Weight of a frame in the running statistics, as in OpenPCDet."""


class PFNLayer(nn.Module):
    """Layer of a pillar feature network: linear, batch normalisation and ReLU on points."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in] to [N, C_out]."""
        return F.linear(x, *self._fold_norm(x)).relu()

    def pool(self, x: Tensor, pillar: Tensor, pillars: int) -> Tensor:
        """Return the maxima [P, C_out] over each pillar's rows.

        Only rows with the maximum of some channel have a gradient beside that of the statistics; only they are kept.

        Args:
            x: Rows [N, C_in].
            pillar: Number of each row's pillar [N].
            pillars: P.
        """
        weight, bias = self._fold_norm(x)
        with torch.no_grad():
            largest = argmax_in_group(F.linear(x, weight), pillar, pillars)
            wins = torch.zeros_like(pillar, dtype=torch.bool).index_fill(0, largest.flatten(), True)
        place = wins.cumsum(0) - 1
        return F.linear(x[wins], weight, bias).gather(0, place[largest]).relu()

    def _fold_norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight [C_out, C_in] and bias [C_out] with the normalisation folded in.

        Training normalises by the rows x [N, C_in], by the running statistics if there are fewer than two.
        """
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()  # later frames of the clip update them
        if norm.training and len(x) > 1:
            mean, variance = self._statistics(x)
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(mean.detach(), _MOMENTUM)
            norm.running_var.lerp_(variance.detach() * len(x) / (len(x) - 1), _MOMENTUM)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return self.linear.weight * scale[:, None], norm.bias - mean * scale

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance [C_out] of the linear layer's output for rows x [N, C_in].

        W mean(x) and diag(W cov(x) Wᵀ), in float64: inputs are large compared with their differences.
        """
        rows, weight = x.double(), self.linear.weight.double()
        mean = rows.mean(dim=0)
        rows = rows - mean
        covariance = rows.T @ rows / len(rows)
        variance = (weight @ covariance * weight).sum(dim=1).clamp(min=0)
        return (weight @ mean).to(x.dtype), variance.to(x.dtype)


def add_height_basis(points: Tensor, heights: Tensor) -> Tensor:
    """Return points [B, N, 5 + K] with the values of K hat functions at the z of points [B, N, 5].

    Each is 1 at its own of the K rising heights [K] (m) and falls to 0 at the next ones; beyond the first and the last
    height these stay 1, so that the values of a point add up to 1.
    """
    if len(heights) == 0:
        return points
    rise = ((points[..., 2:3] - heights[:-1]) / heights.diff()).clamp(0, 1)  # [B, N, K - 1]
    return torch.cat((points, F.pad(rise, (1, 0), value=1.0) - F.pad(rise, (0, 1))), dim=-1)


class PillarEncoder(nn.Module, ABC):
    """Encoder of points to a BEV map."""

    @abstractmethod
    def to_bev(self, points: Tensor, num_points: Tensor) -> Tensor:
        """Return the BEV map [B, C, H, W] of points [B, N, 5], the first num_points [B] of them real."""


class PillarFeatureNet(PillarEncoder):
    """Base of the encoders: inputs of a point, layers, scatter; subclasses group the points."""

    heights: Tensor  # [K] m

    def __init__(self, cfg: VFEConfig, data: DataConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.grid = data.pillar_grid
        self.z_range = (data.POINT_CLOUD_RANGE[2], data.POINT_CLOUD_RANGE[5])
        self.num_features = cfg.NUM_FILTERS[-1]
        point_features = NUM_POINT_FEATURES if cfg.USE_ABSLOTE_XYZ else NUM_POINT_FEATURES - 3
        self.register_buffer("heights", torch.tensor(cfg.HEIGHTS, dtype=torch.float32), persistent=False)
        point_features += len(cfg.HEIGHTS)
        in_channels = point_features + 6 + (1 if cfg.WITH_DISTANCE else 0)
        self.pfn_layers = nn.ModuleList()
        for filters in cfg.NUM_FILTERS[:-1]:
            self.pfn_layers.append(PFNLayer(in_channels, filters // 2))
            in_channels = filters // 2 * 2
        self.pfn_layers.append(PFNLayer(in_channels, self.num_features))

    @abstractmethod
    def forward(self, points: Tensor, num_points: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [P, C] and (sample, row, column) [P, 3] of the pillars; inputs as in ``to_bev``."""

    def to_bev(self, points: Tensor, num_points: Tensor) -> Tensor:
        """Return the BEV map [B, C, H, W] of points [B, N, 5], the first num_points [B] of them real."""
        features, coords = self(points, num_points)
        return self.scatter(features, coords, len(points))

    def scatter(self, features: Tensor, coords: Tensor, batch_size: int) -> Tensor:
        """Return the BEV map [B, C, H, W] of features [P, C] of pillars at (sample, row, column) [P, 3]."""
        with stage("scatter"):
            return scatter_pillars(features, coords, batch_size, self.grid)

    def _inputs(self, points: Tensor, mean: Tensor, coords: Tensor) -> Tensor:
        """Return points [..., 5 + K] with their offsets to the pillar's mean [..., 3] and to its cell's centre."""
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
        """Return features [P, C] of pillars from their rows x [N, F]; ``pillar`` [N] numbers each row's pillar."""
        *inner, last = self.pfn_layers
        for layer in inner:
            x = layer(x)
            largest = x.gather(0, argmax_in_group(x.detach(), pillar, pillars))
            x = torch.cat((x, largest[pillar]), dim=-1)
        assert isinstance(last, PFNLayer)
        return last.pool(x, pillar, pillars)


class PillarVFE(PillarFeatureNet):
    """Encoder of hard voxels.

    Padding rows are zeroed before the first layer, but count in the normalisation's statistics and in the maximum, as
    in OpenPCDet: published weights are trained that way.
    """

    def __init__(self, cfg: VFEConfig, data: DataConfig) -> None:
        super().__init__(cfg, data)
        self.max_points = data.DATA_PROCESSOR.MAX_POINTS_PER_VOXEL
        self.max_pillars = data.DATA_PROCESSOR.MAX_NUMBER_OF_VOXELS

    def forward(self, points: Tensor, num_points: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [P, C] and (sample, row, column) [P, 3] of the pillars; inputs as in ``to_bev``."""
        with stage("voxelise"):
            pillars = voxelise(
                add_height_basis(points, self.heights),
                num_points,
                self.grid,
                self.z_range,
                self.max_points,
                self.max_pillars,
            )
        with stage("vfe"), torch.autocast(points.device.type, enabled=False):
            count = pillars.num_points[:, None]
            mean = pillars.points[..., :3].sum(dim=1) / count
            is_point = torch.arange(self.max_points, device=points.device) < count
            x = self._inputs(pillars.points, mean[:, None], pillars.coords[:, None]) * is_point[..., None]
            pillar = torch.arange(len(x), device=points.device).repeat_interleave(self.max_points)
            features = self._encode(x.flatten(0, 1), pillar, len(x))
        return features, pillars.coords


class DynPillarVFE(PillarFeatureNet):
    """Encoder of all points of each pillar: no padding, no truncation."""

    def forward(self, points: Tensor, num_points: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [P, C] and (sample, row, column) [P, 3] of the pillars; inputs as in ``to_bev``."""
        with stage("voxelise"):
            assigned = assign_pillars(add_height_basis(points, self.heights), num_points, self.grid, self.z_range)
        pillar, coords = assigned.pillar, assigned.coords
        with stage("vfe"), torch.autocast(points.device.type, enabled=False):
            count = torch.bincount(pillar, minlength=len(coords))[:, None]
            xyz = assigned.points[:, :3]
            mean = xyz.new_zeros(len(coords), 3).index_add(0, pillar, xyz) / count
            x = self._inputs(assigned.points, mean[pillar], coords[pillar])
            features = self._encode(x, pillar, len(coords))
        return features, coords


def build_vfe(cfg: VFEConfig, data: DataConfig) -> PillarVFE | DynPillarVFE:
    """Return the encoder that ``cfg.NAME`` names."""
    encoders: dict[str, type[PillarVFE] | type[DynPillarVFE]] = {"PillarVFE": PillarVFE, "DynPillarVFE": DynPillarVFE}
    return encoders[cfg.NAME](cfg, data)
