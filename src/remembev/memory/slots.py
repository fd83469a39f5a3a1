"""Agent slots at inference: who holds which slot follows from the model's own boxes."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from remembev.config.schema import AgentsConfig, measure
from remembev.geometry import BEVGrid, rasterise_boxes
from remembev.memory.state import AgentSlots

_NOBODY = -1


def slot_masks(slots: AgentSlots, grid: BEVGrid) -> Tensor:
    """Masks [B, A, H_m, W_m] in {0, 1} of the slots' boxes; a slot without a box, such as the scene's, has none."""
    covered = rasterise_boxes(slots.boxes.flatten(0, 1), grid).view(*slots.alive.shape, grid.height, grid.width)
    return (covered & slots.alive[:, :, None, None]).float()


def update_slots(slots: AgentSlots, boxes: Tensor, scores: Tensor, count: Tensor, cfg: AgentsConfig) -> AgentSlots:
    """The slots after a frame's detections, in the same coordinates as the slots.

    boxes, scores  [B, K, 9] and [B, K] of the detections
    count          [B] int64, how many of the K rows are some; the others pad

    Nearest first, a slot takes the box whose centre is nearest to its own, at most MATCH_WITHIN away. A slot that was
    missed more than MAX_MISSED frames in a row is free, and free slots take the best boxes that are left and are not
    as near to another slot's: of an object with two boxes, of two classes say, one is enough. A slot that is freed
    takes no box yet: its memory goes with the next step.

    Shapes are static, so that the step exports: as many rounds as there are slots, whatever was detected.
    """
    boxes, scores = F.pad(boxes.to(slots.boxes), (0, 0, 0, 1)), F.pad(scores, (0, 1))  # so that there is a first row
    real = torch.arange(boxes.shape[1], device=boxes.device) < count[:, None]
    near = _are_near(slots.boxes, boxes, cfg)
    known = _find_again(_distances(slots.boxes, boxes), near & slots.alive[:, :, None] & real[:, None])
    is_found = known != _NOBODY
    missed = torch.where(is_found, 0, slots.missed + 1)
    alive = slots.alive & (missed <= cfg.MAX_MISSED)

    free = ~slots.alive & ~slots.occupied
    near_found = _are_near(_rows(boxes, known), boxes, cfg) & is_found[:, :, None]
    is_new = real & (scores >= cfg.MIN_SCORE) & ~(near_found | near & alive[:, :, None]).any(dim=1)
    box = torch.where(is_found, known, _choose_newcomers(boxes, scores, is_new, free, cfg))
    has_box = box != _NOBODY
    alive = alive | has_box
    return replace(
        slots,
        boxes=torch.where(has_box[:, :, None], _rows(boxes, box), slots.boxes),
        alive=alive,
        missed=torch.where(alive & ~free, missed, 0),
    )


def _find_again(distance: Tensor, left: Tensor) -> Tensor:
    """Number [B, A] of the box that each slot is found again in, of those ``left`` [B, A, K] to it, nearest first."""
    slots, boxes = distance.shape[1:]
    slot, box = torch.arange(slots, device=distance.device), torch.arange(boxes, device=distance.device)
    found = torch.full_like(distance[:, :, 0], _NOBODY, dtype=torch.int64)
    for _ in range(slots - 1):
        nearest = distance.masked_fill(~left, torch.inf).flatten(1).argmin(dim=1, keepdim=True)
        any_left = left.flatten(1).any(dim=1, keepdim=True)
        is_slot, is_box = (slot == nearest // boxes) & any_left, (box == nearest % boxes) & any_left
        found = torch.where(is_slot, nearest % boxes, found)
        left = left & ~(is_slot[:, :, None] | is_box[:, None])
    return found


def _choose_newcomers(boxes: Tensor, scores: Tensor, left: Tensor, free: Tensor, cfg: AgentsConfig) -> Tensor:
    """Number [B, A] of the box that each ``free`` slot takes of those ``left`` [B, K]: the best, none near another."""
    slot = torch.arange(free.shape[1], device=free.device)
    chosen = torch.full_like(free, _NOBODY, dtype=torch.int64)
    for _ in range(free.shape[1] - 1):
        best = scores.masked_fill(~left, -torch.inf).argmax(dim=1, keepdim=True)
        goes = left.any(dim=1, keepdim=True) & free.any(dim=1, keepdim=True)
        is_slot = (slot == free.float().argmax(dim=1, keepdim=True)) & goes
        chosen = torch.where(is_slot, best, chosen)
        free = free & ~is_slot
        left = left & ~(_are_near(_rows(boxes, best), boxes, cfg)[:, 0] & goes)
    return chosen


def _are_near(first: Tensor, second: Tensor, cfg: AgentsConfig) -> Tensor:
    """Which boxes [B, M, 9] and [B, K, 9] may be the same object: bool [B, M, K]."""
    return _distances(first, second) <= measure(cfg.MATCH_WITHIN)


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Distances [B, M, K] in m, seen from above, between the centres of boxes [B, M, 9] and [B, K, 9]."""
    return (first[:, :, None, :2] - second[:, None, :, :2]).square().sum(dim=-1).sqrt()


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows [B, M, C] of a table [B, K, C] at ``index`` [B, M]; any row where that is nobody's."""
    return table.gather(1, index.clamp(min=0)[:, :, None].expand(-1, -1, table.shape[2]))
