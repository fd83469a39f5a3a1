"""Agent slots at inference, assigned from the model's own boxes."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from remembev.config.schema import AgentsConfig
from remembev.geometry import BEVGrid, rasterise_boxes
from remembev.memory.objects import gather_rows
from remembev.memory.state import AgentSlots

_NO_BOX = -1


def slot_masks(slots: AgentSlots, grid: BEVGrid) -> Tensor:
    """Rasterise the slots' boxes to masks [B, A, H_m, W_m] in {0, 1}; slots without a box are empty."""
    covered = rasterise_boxes(slots.boxes.flatten(0, 1), grid).view(*slots.alive.shape, grid.height, grid.width)
    return (covered & slots.alive[:, :, None, None]).float()


def update_slots(slots: AgentSlots, boxes: Tensor, scores: Tensor, count: Tensor, cfg: AgentsConfig) -> AgentSlots:
    """Assign a frame's detections to the slots.

    Nearest first, each slot takes the box whose centre is nearest to its own, at most MATCH_WITHIN away. A slot that
    was missed more than MAX_MISSED frames in a row is freed, and takes no box yet: its memory goes with the next step.
    Free slots take the best boxes left that are not as near to another slot's, so that an object with boxes of two
    classes takes one slot.

    Shapes are static, so that the step exports: there are as many rounds as slots, whatever was detected.

    Args:
        slots: Slots in the frame's coordinates.
        boxes: Detected boxes [B, K, 9].
        scores: Their scores [B, K].
        count: Detections of each item [B] int64; later rows are padding.
        cfg: The configuration's AGENTS.
    """
    boxes, scores = F.pad(boxes.to(slots.boxes), (0, 0, 0, 1)), F.pad(scores, (0, 1))  # so that there is a first row
    real = torch.arange(boxes.shape[1], device=boxes.device) < count[:, None]
    near = _are_near(slots.boxes, boxes, cfg)
    matched = _match_nearest(_distances(slots.boxes, boxes), near & slots.alive[:, :, None] & real[:, None])
    is_matched = matched != _NO_BOX
    missed = torch.where(is_matched, 0, slots.missed + 1)
    alive = slots.alive & (missed <= cfg.MAX_MISSED)

    free = ~slots.alive & ~slots.occupied
    near_matched = _are_near(_rows(boxes, matched), boxes, cfg) & is_matched[:, :, None]
    is_new = real & (scores >= cfg.MIN_SCORE) & ~(near_matched | near & alive[:, :, None]).any(dim=1)
    box = torch.where(is_matched, matched, _fill_free_slots(boxes, scores, is_new, free, cfg))
    has_box = box != _NO_BOX
    alive = alive | has_box
    return replace(
        slots,
        boxes=torch.where(has_box[:, :, None], _rows(boxes, box), slots.boxes),
        alive=alive,
        missed=torch.where(alive & ~free, missed, 0),
    )


def _match_nearest(distance: Tensor, allowed: Tensor) -> Tensor:
    """Match slots to boxes greedily by distance [B, A, K] where ``allowed``; box numbers [B, A] or _NO_BOX."""
    slots, boxes = distance.shape[1:]
    slot, box = torch.arange(slots, device=distance.device), torch.arange(boxes, device=distance.device)
    matched = torch.full_like(distance[:, :, 0], _NO_BOX, dtype=torch.int64)
    for _ in range(slots - 1):
        nearest = distance.masked_fill(~allowed, torch.inf).flatten(1).argmin(dim=1, keepdim=True)
        any_left = allowed.flatten(1).any(dim=1, keepdim=True)
        is_slot, is_box = (slot == nearest // boxes) & any_left, (box == nearest % boxes) & any_left
        matched = torch.where(is_slot, nearest % boxes, matched)
        allowed = allowed & ~(is_slot[:, :, None] | is_box[:, None])
    return matched


def _fill_free_slots(boxes: Tensor, scores: Tensor, allowed: Tensor, free: Tensor, cfg: AgentsConfig) -> Tensor:
    """Give each free slot the best allowed box [B, K] that is near no other; box numbers [B, A] or _NO_BOX."""
    slot = torch.arange(free.shape[1], device=free.device)
    chosen = torch.full_like(free, _NO_BOX, dtype=torch.int64)
    for _ in range(free.shape[1] - 1):
        best = scores.masked_fill(~allowed, -torch.inf).argmax(dim=1, keepdim=True)
        any_left = allowed.any(dim=1, keepdim=True) & free.any(dim=1, keepdim=True)
        is_slot = (slot == free.float().argmax(dim=1, keepdim=True)) & any_left
        chosen = torch.where(is_slot, best, chosen)
        free = free & ~is_slot
        allowed = allowed & ~(_are_near(_rows(boxes, best), boxes, cfg)[:, 0] & any_left)
    return chosen


def _are_near(first: Tensor, second: Tensor, cfg: AgentsConfig) -> Tensor:
    """Return True for boxes [B, M, 9] and [B, K, 9] that may be the same object: bool [B, M, K]."""
    return _distances(first, second) <= cfg.MATCH_WITHIN


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Return the distances [B, M, K] (m) in BEV between the centres of boxes [B, M, 9] and [B, K, 9]."""
    return (first[:, :, None, :2] - second[:, None, :, :2]).square().sum(dim=-1).sqrt()


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Gather rows [B, M, C] of a table [B, K, C] at ``index`` [B, M]; _NO_BOX gives any row."""
    return gather_rows(table, index.clamp(min=0))
