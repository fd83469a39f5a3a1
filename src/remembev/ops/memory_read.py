"""The read of the memory: anisotropic L2 similarity, top-k softmax, weighted sum of values (XMem §3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 2**24
"""Similarities held at a time while the nearest tokens are searched."""
_NEVER = -1e30
"""Similarity of a token that isn't there: finite, so that nothing is ever 0 · ∞."""


@dataclass(frozen=True)
class Places:
    """Where queries and tokens are, in units of the distance at which similarity has fallen by ½."""

    query: Tensor  # [B, 3, Q]
    token: Tensor  # [B, 3, N]


@dataclass(frozen=True)
class Readout:
    """What a read gives."""

    value: Tensor  # [B, A, C_v, Q], zeros where an agent has no token among those read
    is_read: Tensor  # [B, A, Q] bool, whether the query read any token of the agent
    usage: Tensor  # [B, N], affinity each token received, summed over the queries


def similarity(
    query_key: Tensor,  # [B, C_k, Q]
    selection: Tensor,  # [B, C_k, Q]
    key: Tensor,  # [B, C_k, N]
    shrinkage: Tensor,  # [B, 1, N]
    *,
    places: Places | None = None,
    bias: Tensor | None = None,  # [B, N]
) -> Tensor:
    """Similarity of all pairs [B, Q, N] as one matrix product: −s_i · Σ_c e_cj (k_ci − q_cj)² / √C_k (XMem eq. 2).

    With ``places`` less ½ ‖p_i − p_j‖², and with ``bias`` that of each token more.

    The product of [e, e⊙q, Σ e q²] with s/√C_k · [−k², 2k, −1]. The q² term stays: each token's shrinkage scales it.
    """
    token = torch.cat((-key.square(), 2 * key, -torch.ones_like(shrinkage)), dim=1)
    token = token * shrinkage / math.sqrt(key.shape[1])
    query_energy = (selection * query_key.square()).sum(dim=1, keepdim=True)
    query = torch.cat((selection, selection * query_key, query_energy), dim=1)
    if places is not None:
        one, q, p = torch.ones_like(query_energy), places.query, places.token
        query = torch.cat((query, one, q, -q.square().sum(dim=1, keepdim=True) / 2), dim=1)
        token = torch.cat((token, -p.square().sum(dim=1, keepdim=True) / 2, p, torch.ones_like(shrinkage)), dim=1)
    if bias is not None:
        query = torch.cat((query, torch.ones_like(query_energy)), dim=1)
        token = torch.cat((token, bias[:, None]), dim=1)
    return query.transpose(1, 2) @ token


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension of what the mask lets through; all zeros where that is nothing."""
    return scores.masked_fill(~mask, _NEVER).softmax(dim=-1) * mask


@torch.no_grad()
def _nearest_tokens(
    query_key: Tensor,
    selection: Tensor,
    key: Tensor,
    shrinkage: Tensor,
    bias: Tensor,
    places: Places | None,
    count: int,
) -> Tensor:
    """Indices [B, Q, K] of the ``count`` tokens most similar to each query, a chunk of queries at a time."""
    step = max(1, _CHUNK // (key.shape[0] * key.shape[2]))
    nearest = []
    for start in range(0, query_key.shape[2], step):
        chunk = slice(start, start + step)
        near = None if places is None else Places(places.query[..., chunk], places.token)
        scores = similarity(query_key[..., chunk], selection[..., chunk], key, shrinkage, places=near, bias=bias)
        nearest.append(scores.topk(count, dim=2).indices)
    return torch.cat(nearest, dim=1)


def read_memory(
    query_key: Tensor,  # [B, C_k, Q]
    selection: Tensor,  # [B, C_k, Q]
    key: Tensor,  # [B, C_k, N]
    shrinkage: Tensor,  # [B, 1, N]
    value: Tensor,  # [B, A, C_v, N]
    held: Tensor,  # [B, A, N] bool, whether the token holds a value of the agent
    valid: Tensor,  # [B, N] bool, whether the token is there
    *,
    top_k: int,
    places: Places | None = None,
    age: Tensor | None = None,  # [B, N], in units of the time after which similarity has fallen by 1
) -> Readout:
    """Values that queries read from tokens, and what the tokens were worth.

    Each query takes the softmax of its similarities to the ``top_k`` most similar valid tokens (XMem eq. 3-4 and §3.3).
    Agents share keys and the choice of tokens; each takes the softmax over those of them that hold it (XMem's object
    groups).

    All in float32 at least: similarities lose 0.3 in bfloat16. The search needs no gradient, so the similarities of all
    pairs are never kept: only those of the tokens that are read are worked out again, with gradient.
    """
    batch, agents, channels, tokens = value.shape
    queries = query_key.shape[2]
    count = min(top_k, tokens)
    bias = torch.where(valid, torch.zeros_like(shrinkage[:, 0]) if age is None else -age, _NEVER)
    nearest = _nearest_tokens(query_key, selection, key, shrinkage, bias, places, count)
    row = (nearest + tokens * torch.arange(batch, device=key.device)[:, None, None]).flatten(1)

    def near(per_token: Tensor) -> Tensor:
        """[B, C, N] of the tokens read: [B, Q, K, C]."""
        return F.embedding(row, per_token.transpose(1, 2).flatten(0, 1)).view(batch, queries, count, -1)

    distance = (near(key) - query_key.transpose(1, 2)[:, :, None]).square()
    distance = (distance * selection.transpose(1, 2)[:, :, None]).sum(dim=-1)
    scores = -near(shrinkage)[..., 0] * distance / math.sqrt(key.shape[1])
    if places is not None:
        scores = scores - (near(places.token) - places.query.transpose(1, 2)[:, :, None]).square().sum(dim=-1) / 2
    if age is not None:
        scores = scores - near(age[:, None])[..., 0]

    affinity = masked_softmax(scores, valid.flatten()[row].view_as(scores))
    usage = affinity.new_zeros(batch * tokens).scatter_add(0, row.flatten(), affinity.flatten()).view(batch, tokens)

    readable = held & valid[:, None]
    of_agent = readable.transpose(1, 2).flatten(0, 1)[row].view(batch, queries, count, agents).permute(0, 3, 1, 2)
    weights = masked_softmax(scores[:, None], of_agent)
    table = value.transpose(2, 3).reshape(batch * agents * tokens, channels)
    of_slot = torch.arange(batch * agents, device=key.device).view(batch, agents, 1, 1)
    bags = (nearest[:, None] + tokens * of_slot).view(-1, count)
    read = F.embedding_bag(bags, table, per_sample_weights=weights.reshape(bags.shape).to(table.dtype), mode="sum")
    read = read.view(batch, agents, queries, channels).transpose(2, 3)
    return Readout(value=read, is_read=of_agent.any(dim=3), usage=usage)
