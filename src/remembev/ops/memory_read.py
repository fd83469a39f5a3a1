"""The read of the memory: anisotropic L2 similarity, top-k softmax, weighted sum of values (XMem §3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 2**24
"""Similarities held at a time while the nearest tokens are searched."""


def similarity(query_key: Tensor, selection: Tensor, key: Tensor, shrinkage: Tensor) -> Tensor:
    """Anisotropic L2 similarity S_ij = −s_i · Σ_c e_cj (k_ci − q_cj)² / √C_k (XMem eq. 2), as one matrix product.

    query_key, selection  [B, C_k, Q]
    key, shrinkage        [B, C_k, N], [B, 1, N]
    returns               [B, Q, N]

    The product of [e, e⊙q, Σ e q²] with s/√C_k · [−k², 2k, −1]. The q² term stays: each token's shrinkage scales it.
    """
    token = torch.cat((-key.square(), 2 * key, -torch.ones_like(shrinkage)), dim=1)
    token = token * shrinkage / math.sqrt(key.shape[1])
    query_energy = (selection * query_key.square()).sum(dim=1, keepdim=True)
    query = torch.cat((selection, selection * query_key, query_energy), dim=1)
    return query.transpose(1, 2) @ token


@torch.no_grad()
def _nearest_tokens(
    query_key: Tensor, selection: Tensor, key: Tensor, shrinkage: Tensor, valid: Tensor, count: int
) -> Tensor:
    """Indices [B, Q, K] of the ``count`` valid tokens most similar to each query, a chunk of queries at a time."""
    step = max(1, _CHUNK // (key.shape[0] * key.shape[2]))
    nearest = []
    for start in range(0, query_key.shape[2], step):
        chunk = slice(start, start + step)
        scores = similarity(query_key[..., chunk], selection[..., chunk], key, shrinkage)
        scores = scores.masked_fill(~valid[:, None], -math.inf)
        nearest.append(scores.topk(count, dim=2).indices)
    return torch.cat(nearest, dim=1)


def read_memory(
    query_key: Tensor,  # [B, C_k, Q]
    selection: Tensor,  # [B, C_k, Q]
    key: Tensor,  # [B, C_k, N]
    shrinkage: Tensor,  # [B, 1, N]
    value: Tensor,  # [B, A, C_v, N]
    valid: Tensor,  # [B, N] bool
    *,
    top_k: int,
) -> tuple[Tensor, Tensor]:
    """Values that queries read from tokens, and what the tokens were worth: ([B, A, C_v, Q], usage [B, N]).

    Each query takes the softmax of its similarities to the ``top_k`` most similar valid tokens (XMem eq. 3-4 and §3.3);
    usage is the affinity that a token received, summed over the queries. An item without any valid token reads zeros.
    All in float32 at least: similarities lose 0.3 in bfloat16. The search needs no gradient, so the similarities of all
    pairs are never kept: only those of the tokens that are read are worked out again, with gradient.
    """
    batch, agents, channels, tokens = value.shape
    queries = query_key.shape[2]
    count = min(top_k, tokens)
    nearest = _nearest_tokens(query_key, selection, key, shrinkage, valid, count)
    row = (nearest + tokens * torch.arange(batch, device=key.device)[:, None, None]).flatten(1)

    near_key = F.embedding(row, key.transpose(1, 2).flatten(0, 1)).view(batch, queries, count, -1)
    near_shrinkage = F.embedding(row, shrinkage.flatten()[:, None]).view(batch, queries, count)
    distance = (near_key - query_key.transpose(1, 2)[:, :, None]).square()
    distance = (distance * selection.transpose(1, 2)[:, :, None]).sum(dim=-1)
    scores = -near_shrinkage * distance / math.sqrt(key.shape[1])

    near_valid = valid.flatten()[row].view_as(scores)
    affinity = scores.masked_fill(~near_valid, torch.finfo(scores.dtype).min).softmax(dim=-1) * near_valid

    table = value.permute(0, 3, 1, 2).reshape(batch * tokens, agents * channels).contiguous()
    bags = row.view(batch * queries, count)
    read = F.embedding_bag(bags, table, per_sample_weights=affinity.view_as(bags).to(table.dtype), mode="sum")
    readout = read.view(batch, queries, agents, channels).permute(0, 2, 3, 1)
    usage = affinity.new_zeros(batch * tokens).scatter_add(0, row.flatten(), affinity.flatten()).view(batch, tokens)
    return readout, usage
