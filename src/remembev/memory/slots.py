"""Agent slots at inference: who holds which slot follows from the model's own boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from remembev.config.schema import AgentsConfig, measure
from remembev.geometry import BEVGrid, rasterise_boxes
from remembev.memory.state import AgentSlots


def slot_masks(slots: AgentSlots, grid: BEVGrid) -> Tensor:
    """Masks [B, A, H_m, W_m] in {0, 1} of the slots' boxes; a slot without a box, such as the scene's, has none."""
    covered = rasterise_boxes(slots.boxes.flatten(0, 1), grid).view(*slots.alive.shape, grid.height, grid.width)
    return (covered & slots.alive[:, :, None, None]).float()


def follow_boxes(slots: AgentSlots, boxes: Sequence[Tensor], scores: Sequence[Tensor], cfg: AgentsConfig) -> AgentSlots:
    """The slots after a frame's detections: B times boxes [K, 9] with scores [K], in the same coordinates as the slots.

    Nearest first, a slot takes the box whose centre is nearest to its own, at most MATCH_WITHIN away. A slot that was
    missed more than MAX_MISSED frames in a row is free, and free slots take the best boxes that are left and are not
    as near to another slot's: of an object with two boxes, of two classes say, one is enough.
    """
    items = zip(slots.split(), boxes, scores, strict=True)
    return AgentSlots.stack([_follow(one, found, score, cfg) for one, found, score in items])


def _follow(slots: AgentSlots, boxes: Tensor, scores: Tensor, cfg: AgentsConfig) -> AgentSlots:
    """The same for one scene. A slot that is freed takes no box yet: its memory goes with the next step."""
    boxes, now, missed = boxes.to(slots.boxes), slots.boxes[0].clone(), slots.missed[0] + 1
    found: dict[int, int] = {}
    distance = torch.cdist(now[:, :2], boxes[:, :2]).masked_fill(~slots.alive[0][:, None], torch.inf)
    within = measure(cfg.MATCH_WITHIN)
    near = (distance <= within).nonzero()
    for slot, box in near[distance[near[:, 0], near[:, 1]].argsort(stable=True)].tolist():
        if slot not in found and box not in found.values():
            found[slot] = box
            missed[slot] = 0
    alive = slots.alive[0] & (missed <= cfg.MAX_MISSED)

    taken = [boxes[box] for box in found.values()] + list(now[alive])
    free = (~slots.alive[0] & ~slots.held[0]).nonzero()[:, 0].tolist()
    newcomers: list[int] = []
    for box in scores.argsort(descending=True, stable=True).tolist():
        if scores[box] < cfg.MIN_SCORE or len(newcomers) == len(free):
            break
        if all((boxes[box, :2] - other[:2]).norm() > within for other in taken):
            newcomers.append(box)
            taken.append(boxes[box])
    found |= dict(zip(free, newcomers, strict=False))
    for slot, box in found.items():
        now[slot], alive[slot] = boxes[box], True
    missed = missed * alive
    missed[free] = 0
    return replace(slots, boxes=now[None], alive=alive[None], missed=missed[None])
