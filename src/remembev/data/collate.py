"""Pad and stack frames to clips, and clips to batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from remembev.batch import ClipBatch

Clip: TypeAlias = dict[str, Tensor | NDArray[np.str_]]
"""Values [T, ...] of one clip by the keys of a ``ClipBatch``."""

_PADDING = {"gt_labels": -1, "gt_track_ids": -1}


def pad_stack(key: str, tensors: Sequence[Tensor], *, dim: int = 0) -> Tensor:
    """Stack tensors of different lengths along ``dim``, padded with -1 for labels and track ids, else with 0."""
    if len(tensors) == 1:
        return tensors[0][None]
    longest = max(tensor.shape[dim] for tensor in tensors)
    shape = list(tensors[0].shape)
    shape[dim] = longest
    stacked = tensors[0].new_full((len(tensors), *shape), _PADDING.get(key, 0))
    for row, tensor in zip(stacked, tensors, strict=True):
        row.narrow(dim, 0, tensor.shape[dim]).copy_(tensor)
    return stacked


def pad_clouds(frames: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """Pad the points of T frames, each given as pieces [n, 5]; every point is copied once.

    Returns:
        Points [T, N, 5], padded with 0, and the number of real ones [T].
    """
    counts = [sum(len(piece) for piece in pieces) for pieces in frames]
    points = torch.empty(len(frames), max(counts), 5)
    for row, pieces, count in zip(points, frames, counts, strict=True):
        torch.cat(list(pieces), out=row[:count])
        row[count:] = 0
    return points, torch.tensor(counts)


def collate_seq(clips: Sequence[Clip]) -> ClipBatch:
    """Collate B clips of values [T, ...] to a batch of values [B, T, ...].

    Points and boxes are padded to the longest frame of the batch, labels and track ids with -1, all else with 0.
    """
    return ClipBatch.from_mapping({key: _stack(key, [clip[key] for clip in clips]) for key in clips[0]})


def _stack(key: str, values: Sequence[Tensor | NDArray[np.str_]]) -> Tensor | NDArray[np.str_]:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        return np.stack([np.asarray(value) for value in values])
    return pad_stack(key, tensors, dim=1) if tensors[0].dim() > 1 else torch.stack(tensors)
