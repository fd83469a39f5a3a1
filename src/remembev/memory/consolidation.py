"""From working to long-term memory: prototypes by usage, potentiated values, and room made for them (XMem §3.3)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from remembev.config.schema import LongTermMemoryConfig
from remembev.memory.state import TokenStore
from remembev.ops.memory_read import Positions, masked_softmax, similarity


def consolidate(
    candidates: TokenStore, cfg: LongTermMemoryConfig, *, draw: Tensor, sigma: Tensor | None = None
) -> TokenStore:
    """At most P prototypes, in the candidates' order and unread so far; fewer are valid if fewer candidates are.

    draw   [B], what a random choice is drawn from: the same number, the same choice
    sigma  metres [] at which similarity has fallen by ½, if the read knows distances
    """
    rank = candidates.usage_rate if cfg.CHOOSE == "usage" else _scattered(candidates.capacity, draw)
    best_first = rank.masked_fill(~candidates.valid, -math.inf).argsort(dim=1, descending=True, stable=True)
    prototypes = candidates.gather(best_first[:, : cfg.PROTOTYPES].sort(dim=1).values)
    unread = torch.zeros_like(prototypes.usage)
    with torch.autocast(unread.device.type, enabled=False):
        prototypes = potentiate(prototypes, candidates, sigma)
    return replace(prototypes, usage=unread, life=unread)


def potentiate(prototypes: TokenStore, candidates: TokenStore, sigma: Tensor | None = None) -> TokenStore:
    """Prototypes whose values and shrinkage are read from all the candidates (XMem eq. 6-7): softmax, no top-k.

    Each agent's value is read from the tokens that hold it; a prototype holds an agent if any candidate does.
    """
    positions = None
    if sigma is not None:
        query, token = (store.position.to(store.key.dtype) / sigma for store in (prototypes, candidates))
        positions = Positions(query, token)
    scores = similarity(prototypes.key, prototypes.selection, candidates.key, candidates.shrinkage, positions=positions)
    weights = masked_softmax(scores[:, None], candidates.valid[:, None, None])
    has_value = candidates.has_value & candidates.valid[:, None]
    agent_weights = masked_softmax(scores[:, None], has_value[:, :, None])
    return replace(
        prototypes,
        shrinkage=(weights[:, 0] @ candidates.shrinkage.transpose(1, 2)).transpose(1, 2),
        value=candidates.value @ agent_weights.transpose(2, 3),
        has_value=(has_value.any(dim=2, keepdim=True) & prototypes.valid[:, None]),
    )


def insert(store: TokenStore, fresh: TokenStore) -> TokenStore:
    """The store with all valid tokens of ``fresh`` behind its own: free places go first, then the least used tokens.

    As many go as must: with N positions, V of them taken and M ≤ N tokens to add, max(0, V + M − N). Of equally used
    ones the first in the store goes first, which is the oldest.
    """
    both = store.cat(fresh)
    worth = torch.cat((store.usage_rate, torch.full_like(fresh.usage, math.inf)), dim=1)
    going_first = worth.masked_fill(~both.valid, -math.inf).argsort(dim=1, stable=True)
    return both.gather(going_first[:, fresh.capacity :].sort(dim=1).values)


def _scattered(count: int, draw: Tensor) -> Tensor:
    """Numbers [B, count] in no order that ``draw`` [B] determines, alike for a given draw on every machine."""
    place = torch.arange(count, device=draw.device)
    mixed = (place * 2654435761 + draw[:, None] * 40503 + 12345) % 2**31
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 % 2**31
    return (mixed ^ (mixed >> 16)).double()
