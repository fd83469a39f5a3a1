"""From working to long-term memory: prototypes by usage, potentiated values, and room made for them (XMem §3.3)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from remembev.memory.state import TokenStore
from remembev.ops.memory_read import Places, similarity

_NEVER = -1e30
"""Similarity of what may not be read: finite, so that a softmax over nothing is no NaN."""


def consolidate(candidates: TokenStore, count: int, *, choose: str, draw: Tensor, sigma: Tensor | None) -> TokenStore:
    """``count`` prototypes of the candidates, unread so far; fewer are valid if fewer candidates are.

    choose  ``usage``: those of the highest usage a read; ``random``: any
    draw    [B], what a random choice is drawn from: the same number, the same choice
    sigma   metres [] at which similarity has fallen by ½, if the read knows distances
    """
    count = min(count, candidates.capacity)
    rank = candidates.usage_rate if choose == "usage" else _scattered(candidates.capacity, draw)
    order = rank.masked_fill(~candidates.valid, -math.inf).argsort(dim=1, descending=True, stable=True)
    prototypes = candidates.pick(order[:, :count])
    unread = torch.zeros_like(prototypes.usage)
    return replace(potentiate(prototypes, candidates, sigma), usage=unread, life=unread)


def potentiate(prototypes: TokenStore, candidates: TokenStore, sigma: Tensor | None = None) -> TokenStore:
    """Prototypes whose values and shrinkage are read from all the candidates (XMem eq. 6-7): softmax, no top-k.

    Each agent's value is read from the tokens that hold it; a prototype holds an agent if any candidate does.
    """
    places = None if sigma is None else Places(prototypes.position / sigma, candidates.position / sigma)
    scores = similarity(prototypes.key, prototypes.selection, candidates.key, candidates.shrinkage, places=places)
    weights = _masked_softmax(scores[:, None], candidates.valid[:, None, None])
    held = candidates.held & candidates.valid[:, None]
    agent_weights = _masked_softmax(scores[:, None], held[:, :, None])
    return replace(
        prototypes,
        shrinkage=(weights[:, 0] @ candidates.shrinkage.transpose(1, 2)).transpose(1, 2),
        value=candidates.value @ agent_weights.transpose(2, 3),
        held=(held.any(dim=2, keepdim=True) & prototypes.valid[:, None]),
    )


def insert(store: TokenStore, fresh: TokenStore) -> TokenStore:
    """The store with all valid tokens of ``fresh`` in it: free places are filled first, then the least used go.

    As many go as must: with N places, V of them taken and M tokens to add, max(0, V + M − N). Of equally used ones
    the first in the store goes first. ``fresh`` has at most N tokens.
    """
    keep = store.usage_rate.masked_fill(~store.valid, -math.inf)
    leaving = keep.argsort(dim=1, stable=True)[:, : fresh.capacity]
    fresh = fresh.pick((~fresh.valid).byte().argsort(dim=1, stable=True))
    return store.put(fresh, leaving)


def _scattered(count: int, draw: Tensor) -> Tensor:
    """Numbers [B, count] in no order that ``draw`` [B] determines, alike for a given draw on every machine."""
    place = torch.arange(count, device=draw.device)
    mixed = (place * 2654435761 + draw[:, None] * 40503 + 12345) % 2**31
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 % 2**31
    return (mixed ^ (mixed >> 16)).double()


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension of what the mask lets through; all zeros where that is nothing."""
    return scores.masked_fill(~mask, _NEVER).softmax(dim=-1) * mask
