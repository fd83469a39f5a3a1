"""ConvGRU on BEV: the recurrent baseline that the memory has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory.alignment import resample_hidden
from remembev.memory.base import BEVMemory, FrameContext, FrameRead
from remembev.memory.fusion import small_conv
from remembev.structs import TensorStruct


@dataclass(frozen=True)
class RecurrentState(TensorStruct):
    """State of a ConvGRU."""

    hidden: Tensor  # [B, 1, C_h, H_m, W_m], in the LiDAR frame of the latest step


class ConvGRU(nn.Module):
    """Gated recurrent unit with 3×3 convolutions (Ballas et al., ICLR 2016): h' = (1 − z) h + z tanh(W [x, r h])."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(input_dim + hidden_dim, 2 * hidden_dim, 3, padding=1)
        self.candidate = nn.Conv2d(input_dim + hidden_dim, hidden_dim, 3, padding=1)

    def forward(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """Return the next hidden state from inputs [B, C, H, W] and hidden [B, C_h, H, W]."""
        update, reset = self.gates(torch.cat((inputs, hidden), dim=1)).sigmoid().chunk(2, dim=1)
        candidate = self.candidate(torch.cat((inputs, reset * hidden), dim=1)).tanh()
        return (1 - update) * hidden + update * candidate


class ConvGRUBackboneWrapper(nn.Module):
    """ConvGRU on the memory's grid whose hidden state, projected, is added to the features."""

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
        self.project = small_conv(cfg.HIDDEN_DIM, in_channels)

    def initial_state(self, batch: int) -> RecurrentState:
        """Return a hidden state of zeros."""
        shape = (batch, 1, self.hidden_dim, self.grid.height, self.grid.width)
        return RecurrentState(torch.zeros(shape, device=self.project.weight.device))

    def step(
        self, frames_lidar_t: Tensor, state: RecurrentState, prev_from_frame: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Return features [B, C_bev, H, W] with the projected hidden state added, and the next state."""
        hidden = state.hidden
        if prev_from_frame is not None:
            hidden = resample_hidden(hidden, prev_from_frame, self.grid)
        features = self.features(frames_lidar_t.float())
        hidden = self.unit(features, hidden[:, 0].to(features.dtype))
        change = F.interpolate(self.project(hidden), frames_lidar_t.shape[-2:], mode="bilinear")
        return frames_lidar_t + change.to(frames_lidar_t.dtype), RecurrentState(hidden[:, None].float())


class ConvGRUBEVModule(BEVMemory[RecurrentState]):
    """ConvGRU as a memory: no occupancy, no gate."""

    def __init__(self, cfg: MemoryConfig, in_channels: int, feature_grid: BEVGrid) -> None:
        super().__init__(cfg.MAX_SCENES)
        self.recurrent = ConvGRUBackboneWrapper(cfg, in_channels, feature_grid)

    def initial_state(self, batch: int, agents: int | None = None) -> RecurrentState:
        """Return a hidden state of zeros."""
        return self.recurrent.initial_state(batch)

    def _read_batch(
        self, features: Tensor, state: RecurrentState, context: FrameContext, progress: float
    ) -> FrameRead[RecurrentState]:
        changed, state = self.recurrent.step(features, state, context.prev_from_frame)
        return FrameRead(changed, None, state)
