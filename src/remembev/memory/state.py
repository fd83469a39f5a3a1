"""The state of a memory as plain tensors: a token store of fixed capacity, the sensory grid, and the frame count.

States are values: a step takes one and returns the next, and nothing changes one in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from typing_extensions import Self


@dataclass(frozen=True)
class _Tensors:
    """A record of tensors (and records of tensors) that all have the batch as their first dimension."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The record with ``function`` applied to each of its tensors."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(**{name: value.map(function) if isinstance(value, _Tensors) else function(value)
                             for name, value in values.items()})  # fmt: skip

    def zip_map(self, function: Callable[..., Tensor], *others: Self) -> Self:
        """The record with ``function`` applied to each of its tensors together with the same one of the others."""
        values = {field.name: [getattr(record, field.name) for record in (self, *others)] for field in fields(self)}
        return type(self)(**{name: value[0].zip_map(function, *value[1:]) if isinstance(value[0], _Tensors)
                             else function(*value) for name, value in values.items()})  # fmt: skip

    def split(self) -> list[Self]:
        """One record with a batch of one for each item."""
        size = next(iter(self._tensors())).shape[0]
        return [self.map(lambda tensor, item=item: tensor[item : item + 1]) for item in range(size)]  # type: ignore[misc]

    @classmethod
    def stack(cls, records: Sequence[Self]) -> Self:
        """The records as one batch."""
        if len(records) == 1:
            return records[0]
        return records[0].zip_map(lambda *tensors: torch.cat(tensors), *records[1:])

    def _tensors(self) -> list[Tensor]:
        found: list[Tensor] = []
        for field in fields(self):
            value = getattr(self, field.name)
            found += value._tensors() if isinstance(value, _Tensors) else [value]
        return found


@dataclass(frozen=True)
class TokenStore(_Tensors):
    """Tokens of past frames, N of them whether filled or not; the oldest come first."""

    key: Tensor  # [B, C_k, N]
    shrinkage: Tensor  # [B, 1, N], ≥ 1
    selection: Tensor  # [B, C_k, N], in [0, 1]
    value: Tensor  # [B, A, C_v, N]
    position: Tensor  # [B, 3, N], metres in the LiDAR frame of the latest step
    usage: Tensor  # [B, N], affinity received so far
    life: Tensor  # [B, N], reads seen so far
    valid: Tensor  # [B, N] bool, False where nothing has been written yet

    @classmethod
    def empty(cls, batch: int, agents: int, key_dim: int, value_dim: int, capacity: int, device: torch.device) -> Self:
        """A store that holds nothing yet."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(batch, *shape, device=device)

        return cls(
            key=zeros(key_dim, capacity),
            shrinkage=zeros(1, capacity),
            selection=zeros(key_dim, capacity),
            value=zeros(agents, value_dim, capacity),
            position=zeros(3, capacity),
            usage=zeros(capacity),
            life=zeros(capacity),
            valid=torch.zeros(batch, capacity, dtype=torch.bool, device=device),
        )

    @property
    def capacity(self) -> int:
        """N, the tokens there is room for."""
        return self.valid.shape[1]

    def count(self) -> Tensor:
        """Tokens held, int64 [B]."""
        return self.valid.sum(dim=1)

    def append(self, tokens: Self, write: Tensor) -> Self:
        """The store with M ≤ N tokens added behind and the M oldest dropped, where ``write`` [B] says so."""
        fresh = tokens.capacity

        def shifted(old: Tensor, new: Tensor) -> Tensor:
            chosen = write.view(-1, *[1] * (old.dim() - 1))
            return torch.where(chosen, torch.cat((old[..., fresh:], new.to(old.dtype)), dim=-1), old)

        return self.zip_map(shifted, tokens)


@dataclass(frozen=True)
class MemoryState(_Tensors):
    """All that is remembered of a batch of scenes: [B, ...] in float32."""

    hidden: Tensor  # [B, A, C_h, H_m, W_m], the sensory memory, in the LiDAR frame of the latest step
    working: TokenStore
    frames: Tensor  # [B] int64, frames seen so far

    def detach(self) -> Self:
        """The state without the history of how it came about: gradients end here."""
        return self.map(Tensor.detach)
