"""Masks of a clip in BEV: of the whole scene, and of agents in slots that they keep through the clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from remembev.geometry import BEVGrid, rasterise_boxes


def scene_masks(boxes: Sequence[Tensor], grid: BEVGrid) -> Tensor:
    """Rasterise the union of each frame's boxes [M_t, ≥7]: [T, 1, H, W] float32, 0 or 1."""
    return torch.stack([rasterise_boxes(frame, grid).any(dim=0, keepdim=True) for frame in boxes]).float()


def agent_masks(
    boxes: Sequence[Tensor], track_ids: Sequence[Tensor], grid: BEVGrid, slots: int
) -> tuple[Tensor, Tensor]:
    """Rasterise one mask per slot and frame.

    Slots from the second on go to tracks in order of appearance, within a frame nearest to the origin first. All other
    tracks share the first slot, which is always valid.

    Args:
        boxes: T frames of boxes [M_t, ≥7].
        track_ids: T frames of track ids [M_t] int64.
        grid: Grid of the masks.
        slots: Number of slots.

    Returns:
        Masks [T, slots, H, W] float32, 0 or 1, and valid [T, slots] bool, True for slots with an agent in the frame.
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
