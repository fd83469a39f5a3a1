"""Networks of the memory: key projection, value encoder, sensory update, decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remembev.structs import TensorStruct

Sensory = Literal["recurrent", "difference"]
"""Kind of a sensory memory, as ``MEMORY.SENSORY``."""


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)


@dataclass(frozen=True)
class FrameKeys(TensorStruct):
    """Keys of a frame's H·W cells, float32."""

    key: Tensor  # [B, C_k, H·W]
    shrinkage: Tensor  # [B, 1, H·W], d² + 1 ≥ 1
    selection: Tensor  # [B, C_k, H·W], in [0, 1]


class KeyProjection(nn.Module):
    """Key, shrinkage and selection from features (XMem §3.2)."""

    def __init__(self, feature_dim: int, key_dim: int) -> None:
        super().__init__()
        self.key = _conv(feature_dim, key_dim)
        self.shrinkage = _conv(feature_dim, 1)
        self.selection = _conv(feature_dim, key_dim)

    def forward(self, features: Tensor) -> FrameKeys:
        """Return the keys of features [B, F, H, W]."""
        key, shrinkage, selection = self.key(features), self.shrinkage(features), self.selection(features)
        return FrameKeys(
            key.flatten(2).float(),
            shrinkage.flatten(2).float().square() + 1,
            selection.flatten(2).float().sigmoid(),
        )


class ResidualBlock(nn.Module):
    """Pre-activated residual block of two 3×3 convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs)
        self.second = _conv(outputs, outputs)
        self.shortcut = _conv(inputs, outputs, kernel=1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] to [B, C_out, H, W]."""
        return self.shortcut(x) + self.second(F.relu(self.first(F.relu(x))))


class CBAM(nn.Module):
    """Channel attention, then spatial attention (Woo et al., ECCV 2018)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channels = nn.Sequential(_conv(channels, hidden, kernel=1), nn.ReLU(), _conv(hidden, channels, kernel=1))
        self.places = _conv(2, 1, kernel=7)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        squeezed = self.channels(x.mean(dim=(2, 3), keepdim=True)) + self.channels(x.amax(dim=(2, 3), keepdim=True))
        x = x * squeezed.sigmoid()
        pooled = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return x * self.places(pooled).sigmoid()


class SensoryUpdate(nn.Module):
    """XMem's gated recurrent unit: h' = f · h · (1 − u) + u · c, with f, u, c from one convolution of [input, h].

    Biases are initialised to remember (Jozefowicz et al., ICML 2015, §2.2): f starts at σ(4) = 0.98 and u at
    σ(−1.5) = 0.18, so that a frame with two updates in a row keeps 0.65 of the state. At ½ each it would keep 1/16.
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gates = _conv(input_dim + hidden_dim, 3 * hidden_dim)
        forget, update, _ = torch.chunk(cast(Tensor, self.gates.bias).data, 3)
        forget += 4
        update -= 1.5

    def forward(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """Return the next hidden state, float32, from inputs [B, C, H, W] and hidden [B, C_h, H, W]."""
        forget, update, candidate = self.gates(torch.cat((inputs, hidden.to(inputs.dtype)), dim=1)).float().chunk(3, 1)
        forget, update = forget.sigmoid(), update.sigmoid()
        return forget * hidden * (1 - update) + update * candidate.tanh()


def _highest_near(shown: Tensor) -> Tensor:
    """Return the maximum of a cell and its eight neighbours, for maps [B, 1, C, H, W]."""
    return F.max_pool2d(shown[:, 0], 3, stride=1, padding=1)[:, None]


class SensoryAverage(nn.Module):
    """A moving average of what frames show, of which only the difference from the present frame is read.

    Frame by frame h' = c + (1 − u) d': the frame shows c, the memory h differs from it by d, and a gate u decides what
    of that is outdated. c depends on the frame alone. So a frame that repeats itself leaves d = 0 however often, and a
    mistake can't feed on itself; what vanishes or moves differs. Where nothing is remembered (h = 0), d = 0 too.

    Kept, and added to the features, is only that part of d by which h exceeds the range of c in a cell and its
    neighbours: resampling h makes no difference then (neighbourhood clamping as in temporal anti-aliasing; Karis,
    SIGGRAPH 2014). The decoder gets all of d.

    The bias of the gate is initialised to keep 0.82 of the difference per frame.
    """

    def __init__(self, feature_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.show = _conv(feature_dim, hidden_dim)
        self.outdated = _conv(feature_dim + 1 + hidden_dim, hidden_dim)
        nn.init.constant_(cast(Tensor, self.outdated.bias), -1.5)

    def compare(self, features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a frame shows [B, 1, C_h, H, W] and the difference d [B, A, C_h, H, W], float32.

        Args:
            features: Features of the frame [B, F, H, W].
            hidden: Sensory memory [B, A, C_h, H, W].
        """
        shown = self.show(features).float().tanh()[:, None]
        remembers = (hidden != 0).any(dim=2, keepdim=True)
        return shown, (hidden - shown) * remembers

    def forward(self, inputs: Tensor, shown: Tensor, difference: Tensor) -> Tensor:
        """Return what is kept of a difference [B, A, C_h, H, W], float32, given inputs [B · A, F + 1, H, W]."""
        flat = difference.flatten(0, 1).to(inputs.dtype)
        outdated = self.outdated(torch.cat((inputs, flat), dim=1)).float().sigmoid().view_as(difference)
        lowest, highest = -_highest_near(-shown), _highest_near(shown)
        return (1 - outdated) * (difference - difference.clamp(lowest - shown, highest - shown))


class ValueEncoder(nn.Module):
    """Encodes a frame's features and an agent's mask as a value; deeply updates a recurrent sensory memory."""

    def __init__(self, feature_dim: int, value_dim: int, hidden_dim: int, sensory: Sensory = "recurrent") -> None:
        super().__init__()
        self.fuse = ResidualBlock(feature_dim + 2, value_dim)
        self.attend = CBAM(value_dim)
        self.refine = ResidualBlock(value_dim, value_dim)
        self.deep_update = SensoryUpdate(value_dim, hidden_dim) if sensory == "recurrent" else None

    def forward(self, features: Tensor, masks: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the value of every agent slot.

        Args:
            features: Features of the frame [B, F, H, W].
            masks: Masks of the agents [B, A, H, W] in [0, 1].
            hidden: Sensory memory [B, A, C_h, H, W].

        Returns:
            Values [B, A, C_v, H·W] float32, and the updated sensory memory.
        """
        batch, agents = masks.shape[:2]
        others = masks.sum(dim=1, keepdim=True) - masks
        shared = features[:, None].expand(-1, agents, -1, -1, -1)
        inputs = torch.cat((shared, masks[:, :, None].to(features.dtype), others[:, :, None].to(features.dtype)), dim=2)
        fused = self.fuse(inputs.flatten(0, 1))
        value = self.refine(fused + self.attend(fused))
        if self.deep_update is not None:
            hidden = self.deep_update(value, hidden.flatten(0, 1)).view_as(hidden)
        return value.float().view(batch, agents, value.shape[1], -1), hidden


class Decoded(NamedTuple):
    """Output of the decoder for every slot, float32."""

    features: Tensor  # [B, A, F, H, W] ≥ 0
    logits: Tensor  # [B, A, H, W]
    sensed: Tensor  # [B, A, C_h, H, W], what is read of the updated sensory memory
    hidden: Tensor  # [B, A, C_h, H, W], the updated sensory memory


class Decoder(nn.Module):
    """Decodes frame, readout and sensory memory of each slot to its occupancy; updates the sensory memory."""

    def __init__(
        self, feature_dim: int, value_dim: int, hidden_dim: int, bias: float, sensory: Sensory = "recurrent"
    ) -> None:
        super().__init__()
        self.fuse = ResidualBlock(feature_dim + value_dim + hidden_dim, feature_dim)
        self.refine = ResidualBlock(feature_dim, feature_dim)
        self.occupancy = _conv(feature_dim, 1)
        recurrent = sensory == "recurrent"
        self.update = (
            SensoryUpdate(feature_dim + 1, hidden_dim) if recurrent else SensoryAverage(feature_dim, hidden_dim)
        )
        nn.init.normal_(self.occupancy.weight, std=1e-3)
        nn.init.constant_(self.occupancy.bias, bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, readout: Tensor, hidden: Tensor) -> Decoded:
        """Decode every agent slot.

        Args:
            features: Features of the frame [B, F, H, W].
            readout: Readout of the memory [B, A, C_v, H·W].
            hidden: Sensory memory [B, A, C_h, H, W].
        """
        batch, agents, _, height, width = hidden.shape
        remembered = hidden
        if isinstance(self.update, SensoryAverage):
            shown, remembered = self.update.compare(features, hidden)
        shared = features[:, None].expand(-1, agents, -1, -1, -1)
        read = readout.view(batch, agents, -1, height, width).to(features.dtype)
        x = self.refine(self.fuse(torch.cat((shared, read, remembered.to(features.dtype)), dim=2).flatten(0, 1)))
        decoded = F.relu(x)
        logits = self.occupancy(decoded)
        inputs = torch.cat((x, logits), dim=1)
        if isinstance(self.update, SensoryAverage):
            sensed = self.update(inputs, shown, remembered)
            hidden = shown + sensed
        else:
            sensed = hidden = self.update(inputs, hidden.flatten(0, 1)).view_as(hidden)
        decoded = decoded.float().view(batch, agents, -1, height, width)
        return Decoded(decoded, logits.float().view(batch, agents, height, width), sensed, hidden)
