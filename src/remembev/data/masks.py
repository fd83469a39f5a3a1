"""Masks of a clip: every object in one mask, and one slot an object that stays with it through the clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from remembev.geometry import BEVGrid, rasterise_boxes


def scene_masks(boxes: Sequence[Tensor], grid: BEVGrid) -> Tensor:
    """Union of each frame's boxes [M_t, ≥7], rasterised with their true orientation: [T, 1, H, W] float32, 0 or 1."""
    return torch.stack([rasterise_boxes(frame, grid).any(dim=0, keepdim=True) for frame in boxes]).float()


def agent_masks(
    boxes: Sequence[Tensor], track_ids: Sequence[Tensor], grid: BEVGrid, slots: int
) -> tuple[Tensor, Tensor]:
    """One mask a slot and frame, and which slots hold an agent in that frame; the first slot holds all the others.

    boxes      T frames of [M_t, ≥7]
    track_ids  T frames of [M_t] int64
    returns    masks [T, slots, H, W] float32, 0 or 1, and valid [T, slots] bool

    Slots from the second on go to tracks in the order in which they appear in the clip, those of one frame by their
    distance from the origin, nearest first. Tracks beyond the last slot share the first, which is always valid.
    """
    slot_of = _assign_slots(boxes, track_ids, slots)
    masks = torch.zeros(len(boxes), slots, grid.height, grid.width, dtype=torch.bool)
    valid = torch.zeros(len(boxes), slots, dtype=torch.bool)
    valid[:, 0] = True
    for t, (frame_boxes, frame_ids) in enumerate(zip(boxes, track_ids, strict=True)):
        for track, covered in zip(frame_ids.tolist(), rasterise_boxes(frame_boxes, grid), strict=True):
            slot = slot_of.get(track, 0)
            masks[t, slot] |= covered
            valid[t, slot] = True
    return masks.float(), valid


def _assign_slots(boxes: Sequence[Tensor], track_ids: Sequence[Tensor], slots: int) -> dict[int, int]:
    slot_of: dict[int, int] = {}
    for frame_boxes, frame_ids in zip(boxes, track_ids, strict=True):
        nearest_first = frame_boxes[:, :2].norm(dim=-1).argsort(stable=True)
        for track in frame_ids[nearest_first].tolist():
            if len(slot_of) < slots - 1:
                slot_of.setdefault(track, len(slot_of) + 1)
    return slot_of
