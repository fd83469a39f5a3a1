"""Consolidation of working memory into long-term memory: prototypes by usage, with potentiated values (XMem §3.3)."""

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
    """Return at most P prototypes of the candidates, in their order and with their usage reset.

    Args:
        candidates: Tokens that leave the working memory.
        cfg: Number of prototypes and how they are chosen.
        draw: Seed of a random choice [B].
        sigma: Metres [] at which similarity has fallen by ½, if the read uses distances.
    """
    rank = candidates.usage_rate if cfg.CHOOSE == "usage" else _random_rank(candidates.capacity, draw)
    best_first = rank.masked_fill(~candidates.valid, -math.inf).argsort(dim=1, descending=True, stable=True)
    prototypes = candidates.gather(best_first[:, : cfg.PROTOTYPES].sort(dim=1).values)
    unread = torch.zeros_like(prototypes.usage)
    with torch.autocast(unread.device.type, enabled=False):
        prototypes = potentiate(prototypes, candidates, sigma)
    return replace(prototypes, usage=unread, life=unread)


def potentiate(prototypes: TokenStore, candidates: TokenStore, sigma: Tensor | None = None) -> TokenStore:
    """Read the prototypes' values and shrinkage from all candidates (XMem eq. 6-7): softmax, no top-k.

    An agent's value is read from the tokens that have one, for the prototypes that had one themselves.
    """
    positions = None
    if sigma is not None:
        query, token = (store.position.to(store.key.dtype) / sigma for store in (prototypes, candidates))
        positions = Positions(query, token)
    scores = similarity(prototypes.key, prototypes.selection, candidates.key, candidates.shrinkage, positions=positions)
    weights = masked_softmax(scores[:, None], candidates.valid[:, None, None])
    readable = candidates.has_value & candidates.valid[:, None]
    agent_weights = masked_softmax(scores[:, None], readable[:, :, None])
    has_value = prototypes.has_value & prototypes.valid[:, None]
    return replace(
        prototypes,
        shrinkage=(weights[:, 0] @ candidates.shrinkage.transpose(1, 2)).transpose(1, 2),
        value=candidates.value @ agent_weights.transpose(2, 3) * has_value[:, :, None],
        has_value=has_value,
    )


def insert(store: TokenStore, added: TokenStore) -> TokenStore:
    """Append the valid tokens of ``added`` to a full-size store, evicting the least used only where room is short.

    With N places, V of them taken and M ≤ N tokens to add, max(0, V + M − N) tokens are evicted. Of equally used
    tokens the first, which is the oldest, goes first.
    """
    both = store.cat(added)
    rank = torch.cat((store.usage_rate, torch.full_like(added.usage, math.inf)), dim=1)
    worst_first = rank.masked_fill(~both.valid, -math.inf).argsort(dim=1, stable=True)
    return both.gather(worst_first[:, added.capacity :].sort(dim=1).values)


def _random_rank(count: int, draw: Tensor) -> Tensor:
    """Hash places and seeds ``draw`` [B] to numbers [B, count], the same on every machine."""
    place = torch.arange(count, device=draw.device)
    mixed = (place * 2654435761 + draw[:, None] * 40503 + 12345) % 2**31
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 % 2**31
    return (mixed ^ (mixed >> 16)).double()
