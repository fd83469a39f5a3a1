"""A batch of clips, and one frame of it: typed records that are also mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from remembev.structs import TensorStruct


@dataclass(frozen=True, eq=False)
class Batch(TensorStruct, Mapping[str, Any]):
    """Values [B, T, ...] of a batch of clips, or [B, ...] of one of its frames.

    As a mapping it has the keys of the fields that aren't None. Coordinates are those of the frame's LiDAR, or of the
    clip's last frame with ``ALIGNMENT: explicit``, in metres, seconds and radians.
    """

    points: Tensor  # [B, T, N, 5] float32: x, y, z, intensity, age in seconds; padded
    num_points: Tensor  # [B, T] int64, how many rows of points are real
    gt_boxes: Tensor | None = None  # [B, T, M, 9] x, y, z, l, w, h, yaw, vx, vy
    gt_labels: Tensor | None = None  # [B, T, M] int64, -1 pads
    gt_track_ids: Tensor | None = None  # [B, T, M] int64, the same object in every frame; -1 pads
    gt_num_points: Tensor | None = None  # [B, T, M] int64, LiDAR points inside
    gt_visibility: Tensor | None = None  # [B, T, M] int64, nuScenes level 1..4
    gt_seconds_unseen: Tensor | None = None  # [B, T, M], seconds since the object was last seen in the clip
    timestamp: Tensor | None = None  # [B, T] float64, seconds
    last_from_frame: Tensor | None = None  # [B, T, 4, 4], takes coordinates of frame t to the clip's last frame
    prev_from_frame: Tensor | None = None  # [B, T, 4, 4], takes coordinates of frame t to frame t - 1
    scene_masks: Tensor | None = None  # [B, T, 1, H_m, W_m], union of the boxes; on a finer grid pooled by the memory
    agent_masks: Tensor | None = None  # [B, T, A, H_m, W_m], a slot an agent, the scene's first
    valids_mask: Tensor | None = None  # [B, T, A] bool, True for slots that hold an agent
    scene_token: NDArray[np.str_] | None = None  # [B, T]
    sample_token: NDArray[np.str_] | None = None  # [B, T]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Convert a mapping to a batch. Raises ValueError, naming the keys, if some are missing or unknown."""
        if type(values) is cls:
            return values
        known = [field.name for field in fields(cls)]
        missing = [key for key in ("points", "num_points") if key not in values]
        if missing:
            raise ValueError(f"batch: {', '.join(missing)} missing")
        if unknown := [key for key in values if key not in known]:
            raise ValueError(f"batch: unknown {', '.join(unknown)}; known keys: {', '.join(known)}")
        return cls(**values)

    def require(self, *keys: str) -> list[Any]:
        """Return the values of some keys. Raises ValueError, naming the keys, if some are missing."""
        missing = [key for key in keys if key not in self]
        if missing:
            raise ValueError(f"batch: {', '.join(missing)} missing")
        return [self[key] for key in keys]

    def to(self, device: torch.device | str, **options: Any) -> Self:
        """Move the tensors to a device."""
        return self.map(lambda tensor: tensor.to(device, **options))

    def pin_memory(self) -> Self:
        """Copy the tensors to pinned memory; called by loaders."""
        return self.map(Tensor.pin_memory)

    __eq__, __hash__ = object.__eq__, object.__hash__  # by identity, like tensors' hashes

    def __getitem__(self, key: str) -> Any:
        value = getattr(self, key) if any(key == field.name for field in fields(self)) else None
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return (field.name for field in fields(self) if getattr(self, field.name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, eq=False)
class FrameBatch(Batch):
    """One frame of every clip of a batch: [B, ...]."""


@dataclass(frozen=True, eq=False)
class ClipBatch(Batch):
    """A batch of clips: [B, T, ...]."""

    @property
    def num_frames(self) -> int:
        """Frames of a clip, T."""
        return self.points.shape[1]

    def frame(self, t: int) -> FrameBatch:
        """Return frame t of every clip."""
        return FrameBatch(**{key: value[:, t] for key, value in self.items()})
