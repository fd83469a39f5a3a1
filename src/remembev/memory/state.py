"""The memory's state: a token store of fixed capacity, the sensory grid, agent slots, clocks.

States are values: a step takes one and returns the next; none is changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from remembev.memory.objects import ObjectMemory
from remembev.structs import TensorStruct


@dataclass(frozen=True)
class TokenStore(TensorStruct):
    """Tokens of past frames in N places, filled or not."""

    FILE_NAMES: ClassVar[Mapping[str, str]] = {"has_value": "held"}

    key: Tensor  # [B, C_k, N]
    shrinkage: Tensor  # [B, 1, N], ≥ 1
    selection: Tensor  # [B, C_k, N], in [0, 1]
    value: Tensor  # [B, A, C_v, N]
    has_value: Tensor  # [B, A, N] bool, True if the token has a value of the agent
    position: Tensor  # [B, 3, N] float64, metres in the LiDAR frame of the latest step
    age: Tensor  # [B, N], seconds since the token was written
    usage: Tensor  # [B, N], affinity received so far from the scene's slot
    life: Tensor  # [B, N], reads since it was written
    valid: Tensor  # [B, N] bool, False for empty places
    velocity: Tensor | None = None  # [B, 3, N] m/s, of the box found where it was written, else 0; None: no token moves

    @classmethod
    def empty(
        cls,
        batch: int,
        agents: int,
        key_dim: int,
        value_dim: int,
        capacity: int,
        device: torch.device,
        *,
        moving: bool = False,
    ) -> Self:
        """Return a store without tokens; ``moving`` ones have a velocity."""

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(batch, *shape, dtype=dtype, device=device)

        return cls(
            key=zeros(key_dim, capacity),
            shrinkage=zeros(1, capacity),
            selection=zeros(key_dim, capacity),
            value=zeros(agents, value_dim, capacity),
            has_value=zeros(agents, capacity, dtype=torch.bool),
            position=zeros(3, capacity, dtype=torch.float64),
            age=zeros(capacity),
            usage=zeros(capacity),
            life=zeros(capacity),
            valid=zeros(capacity, dtype=torch.bool),
            velocity=zeros(3, capacity) if moving else None,
        )

    @property
    def capacity(self) -> int:
        """N, the number of places."""
        return self.valid.shape[1]

    @property
    def usage_rate(self) -> Tensor:
        """Affinity received per read [B, N], XMem's normalised usage; 0 for tokens that were never read."""
        return self.usage / self.life.clamp(min=1e-7)

    def count(self) -> Tensor:
        """Return the number of tokens, int64 [B]."""
        return self.valid.sum(dim=1)

    def slice(self, start: int, stop: int | None = None) -> Self:
        """Return the places from ``start`` to ``stop``."""
        return self.map(lambda tensor: tensor[..., start:stop])

    def gather(self, index: Tensor) -> Self:
        """Return the tokens at ``index`` [B, M], in that order."""

        def gathered(tensor: Tensor) -> Tensor:
            places = index.view(index.shape[0], *[1] * (tensor.dim() - 2), -1)
            return tensor.gather(-1, places.expand(*tensor.shape[:-1], -1))

        return self.map(gathered)

    def cat(self, other: Self) -> Self:
        """Return the places of both stores, the other's last."""
        return self.zip_map(lambda first, second: torch.cat((first, second.to(first.dtype)), dim=-1), other)

    def keep_agents(self, present: Tensor) -> Self:
        """Clear the values of agents that are not ``present`` [B, A]."""
        return replace(
            self, value=self.value * present[:, :, None, None], has_value=self.has_value & present[:, :, None]
        )

    def append(self, tokens: Self) -> Self:
        """Add M ≤ N tokens at the end and drop the first M places."""
        return self.slice(tokens.capacity).cat(tokens)


@dataclass(frozen=True)
class AgentSlots(TensorStruct):
    """Agent slots, the scene's first; at inference each other slot follows a detected box."""

    FILE_NAMES: ClassVar[Mapping[str, str]] = {"occupied": "held"}

    occupied: Tensor  # [B, A] bool, True if a frame was written with an agent in the slot
    boxes: Tensor  # [B, A, 9] detected, in the LiDAR frame of the latest step
    alive: Tensor  # [B, A] bool, True if the slot has a box
    missed: Tensor  # [B, A] int64, frames in a row without a matching detection

    @classmethod
    def empty(cls, batch: int, agents: int, device: torch.device) -> Self:
        """Return slots without agents, except the scene's."""
        scene = (torch.arange(agents, device=device) == 0).expand(batch, agents)
        return cls(
            occupied=scene,
            boxes=torch.zeros(batch, agents, 9, device=device),
            alive=torch.zeros(batch, agents, dtype=torch.bool, device=device),
            missed=torch.zeros(batch, agents, dtype=torch.int64, device=device),
        )


@dataclass(frozen=True)
class MemoryState(TensorStruct):
    """State of an XMem memory for a batch of scenes."""

    hidden: Tensor  # [B, A, C_h, H_m, W_m], sensory memory in the LiDAR frame of the latest step
    tokens: TokenStore  # long-term memory, then working memory, its newest frame last
    slots: AgentSlots
    frames: Tensor  # [B] int64, frames so far
    working_frames: Tensor  # [B] int64, memory frames in the working memory
    since_write: Tensor  # [B], frames or seconds since a frame was written
    since_deep_update: Tensor  # [B], frames or seconds since the sensory memory was deeply updated
    timestamp: Tensor  # [B] float64, seconds, of the latest step
    objects: ObjectMemory | None = None  # remembered objects
