"""ConvGRU on BEV: the plain recurrent baseline, beside which the memory has to pay."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory.alignment import resample_hidden
from remembev.memory.state import TensorStruct


@dataclass(frozen=True)
class RecurrentState(TensorStruct):
    """What a ConvGRU remembers."""

    hidden: Tensor  # [B, 1, C_h, H_m, W_m], in the LiDAR frame of the latest step


class ConvGRU(nn.Module):
    """Gated recurrent unit with 3×3 convolutions (Ballas et al., ICLR 2016): h' = (1 − z) h + z tanh(W [x, r h])."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(input_dim + hidden_dim, 2 * hidden_dim, 3, padding=1)
        self.candidate = nn.Conv2d(input_dim + hidden_dim, hidden_dim, 3, padding=1)

    def forward(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """Inputs [B, C, H, W] and hidden [B, C_h, H, W] to the next hidden."""
        update, reset = self.gates(torch.cat((inputs, hidden), dim=1)).sigmoid().chunk(2, dim=1)
        candidate = self.candidate(torch.cat((inputs, reset * hidden), dim=1)).tanh()
        return (1 - update) * hidden + update * candidate


class ConvGRUBackboneWrapper(nn.Module):
    """A ConvGRU on the memory's grid whose hidden state, projected, is added to the features."""

    def __init__(self, cfg: MemoryConfig, in_channels: int, feature_grid: BEVGrid) -> None:
        super().__init__()
        stride = cfg.stride(feature_grid)
        self.grid = feature_grid.strided(stride)
        self.hidden_dim = cfg.HIDDEN_DIM
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, cfg.FEATURE_DIM, kernel_size=stride, stride=stride, bias=False),
            nn.GroupNorm(1, cfg.FEATURE_DIM),
        )
        self.unit = ConvGRU(cfg.FEATURE_DIM, cfg.HIDDEN_DIM)
        self.project = nn.Conv2d(cfg.HIDDEN_DIM, in_channels, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def initial_state(self, batch: int) -> RecurrentState:
        """The state before the first frame."""
        shape = (batch, 1, self.hidden_dim, self.grid.height, self.grid.width)
        return RecurrentState(torch.zeros(shape, device=self.project.weight.device))

    def forward_step(
        self, frames_lidar_t: Tensor, state: RecurrentState, prev_from_frame: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Features [B, C_bev, H, W] with what is remembered added, and the next state."""
        hidden = state.hidden
        if prev_from_frame is not None:
            hidden = resample_hidden(hidden, prev_from_frame, self.grid)
        features = self.features(frames_lidar_t.float())
        hidden = self.unit(features, hidden[:, 0].to(features.dtype))
        remembered = F.interpolate(self.project(hidden), frames_lidar_t.shape[-2:], mode="bilinear")
        return frames_lidar_t + remembered.to(frames_lidar_t.dtype), RecurrentState(hidden[:, None].float())
