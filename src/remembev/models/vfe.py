"""Pillar feature encoders: points [B, N, 5] in, one feature vector a pillar out (PointPillars §2.1; OpenPCDet's VFE).

``PillarVFE`` works on hard voxels, ``DynPillarVFE`` on all points of every pillar. Both run in float32 under autocast:
bfloat16 resolves a coordinate of 50 m to 0.25 m.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from remembev.config.schema import DataConfig, VFEConfig
from remembev.ops import assign_pillars, scatter_pillars, stage, voxelise

NUM_POINT_FEATURES = 5
"""x, y, z, intensity, age."""


class PFNLayer(nn.Module):
    """Linear layer, batch normalisation and ReLU over points, one layer of a pillar feature network."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C_in] to [..., C_out]."""
        x = self.linear(x)
        return self._normalise(x.flatten(0, -2)).relu().view_as(x)

    def _normalise(self, rows: Tensor) -> Tensor:
        norm = self.norm
        if len(rows) > 1 and self.training:
            # A channel at a time: of rows PyTorch sums in plain float32 on a CPU, and 400,000 of them cost four digits.
            return norm(rows.T.contiguous()[None])[0].T
        if len(rows) > 1:
            return norm(rows)
        # No statistics come from a frame without points, or with a single one: those of earlier frames stand in, copied
        # because later frames change them before this one is back-propagated.
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()
        return F.batch_norm(rows, mean, variance, norm.weight, norm.bias, eps=norm.eps)


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

    def _encode(self, x: Tensor, pool: Callable[[Tensor], Tensor], spread: Callable[[Tensor], Tensor]) -> Tensor:
        """Features [P, C] of pillars: ``pool`` takes points to pillars, ``spread`` pillars back to their points."""
        *inner, last = self.pfn_layers
        for layer in inner:
            x = layer(x)
            x = torch.cat((x, spread(pool(x))), dim=-1)
        return pool(last(x))


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
            features = self._encode(
                x,
                pool=lambda x: x.max(dim=1).values,
                spread=lambda pooled: pooled[:, None].expand(-1, self.max_points, -1),
            )
        return features, pillars.coords


class DynPillarVFE(PillarFeatureNet):
    """Encoder of all points of every pillar: no padding, nothing truncated."""

    def forward(self, points: Tensor, num_points: Tensor) -> tuple[Tensor, Tensor]:
        """Features [P, C] and (sample, row, column) [P, 3] of the pillars of points [B, N, 5], num_points [B] real."""
        with stage("voxelise"):
            assigned = assign_pillars(points, num_points, self.grid, self.z_range)
        pillar, coords = assigned.pillar, assigned.coords

        def pool(x: Tensor) -> Tensor:
            zeros = x.new_zeros(len(coords), x.shape[1])  # a lower bound: x comes out of a ReLU
            return zeros.scatter_reduce(0, pillar[:, None].expand_as(x), x, "amax")

        with stage("vfe"), torch.autocast(points.device.type, enabled=False):
            count = torch.bincount(pillar, minlength=len(coords))[:, None]
            xyz = assigned.points[:, :3]
            mean = xyz.new_zeros(len(coords), 3).index_add(0, pillar, xyz) / count
            x = self._inputs(assigned.points, mean[pillar], coords[pillar])
            features = self._encode(x, pool, spread=lambda pooled: pooled[pillar])
        return features, coords


def build_vfe(cfg: VFEConfig, data: DataConfig) -> PillarVFE | DynPillarVFE:
    """The encoder that ``cfg.NAME`` names."""
    encoders: dict[str, type[PillarVFE] | type[DynPillarVFE]] = {"PillarVFE": PillarVFE, "DynPillarVFE": DynPillarVFE}
    return encoders[cfg.NAME](cfg, data)
