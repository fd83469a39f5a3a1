"""Memory read: anisotropic L2 similarity, top-k softmax, weighted sum of values (XMem §3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from remembev.ops.memory_search import NEVER, for_agents, nearest_tokens

_CHUNK = 2**19
"""Numbers of keys that are compared at a time, to fit a cache."""


@dataclass(frozen=True)
class Positions:
    """Positions of queries and tokens, in units of the distance at which similarity has fallen by ½."""

    query: Tensor  # [B, 3, Q]
    token: Tensor  # [B, 3, N]


@dataclass(frozen=True)
class Readout:
    """Result of a read."""

    value: Tensor  # [B, A, C_v, Q], zeros for an agent without tokens
    nothing: Tensor  # [B, A, Q], affinity to no token of the agent; 1 if it has none
    usage: Tensor  # [B, N], affinity each token received from the first agent, summed over the queries
    token: Tensor  # [B, Q, K] int64, tokens that each query read for the first agent
    affinity: Tensor  # [B, Q, K] to these, which together with that to nothing is 1; 0 for tokens that can't be read


def similarity(
    query_key: Tensor,  # [B, C_k, Q]
    selection: Tensor,  # [B, C_k, Q]
    key: Tensor,  # [B, C_k, N]
    shrinkage: Tensor,  # [B, 1, N]
    *,
    positions: Positions | None = None,
    bias: Tensor | None = None,  # [B, N]
) -> Tensor:
    """Return the similarity of all pairs [B, Q, N]: −s_i · Σ_c e_cj (k_ci − q_cj)² / √C_k (XMem eq. 2).

    ``positions`` subtract ½ ‖p_i − p_j‖²; ``bias`` is added per token.
    """
    query, token = _factors(query_key, selection, key, shrinkage, positions)
    scores = query.transpose(1, 2) @ token
    return scores if bias is None else scores + bias[:, None]


def _factors(
    query_key: Tensor,
    selection: Tensor,
    key: Tensor,
    shrinkage: Tensor,
    positions: Positions | None,
) -> tuple[Tensor, Tensor]:
    """Return queries [B, F, Q] and tokens [B, F, N] whose products over F are the similarities.

    The product of [e, e⊙q, Σ e q²] with s/√C_k · [−k², 2k, −1]. The q² term stays: each token's shrinkage scales it.
    """
    token = torch.cat((-key.square(), 2 * key, -torch.ones_like(shrinkage)), dim=1)
    token = token * shrinkage / math.sqrt(key.shape[1])
    query_energy = (selection * query_key.square()).sum(dim=1, keepdim=True)
    query = torch.cat((selection, selection * query_key, query_energy), dim=1)
    if positions is not None:
        one, q, p = torch.ones_like(query_energy), positions.query, positions.token
        query = torch.cat((query, one, q, -q.square().sum(dim=1, keepdim=True) / 2), dim=1)
        token = torch.cat((token, -p.square().sum(dim=1, keepdim=True) / 2, p, torch.ones_like(shrinkage)), dim=1)
    return query, token


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension under a mask; zeros where the mask is empty."""
    return scores.masked_fill(~mask, NEVER).softmax(dim=-1) * mask


def _affinities(scores: Tensor, is_read: Tensor, nothing: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the affinities [B, A, Q, K] to tokens of similarities ``scores``, and that to nothing [B, A, Q]."""
    if nothing is None:
        return masked_softmax(scores, is_read), (~is_read.any(dim=3)).to(scores.dtype)
    candidates = torch.cat((scores, nothing.to(scores.dtype).expand_as(scores[..., :1])), dim=3)
    affinity = masked_softmax(candidates, F.pad(is_read, (0, 1), value=True))
    return affinity[..., :-1], affinity[..., -1]


def _distances(query_key: Tensor, selection: Tensor, key: Tensor, row: Tensor) -> Tensor:
    """Return Σ_c e_cj (k_ci − q_cj)² [B, Q, K] for rows [B, Q, K] of all keys, chunk by chunk of queries.

    Unlike the expanded product this keeps its digits where keys are large compared to their differences. Channels are
    made contiguous, since a gather of strided ones takes eight times as long.
    """
    keys = key.transpose(1, 2).contiguous().flatten(0, 1)
    step = max(1, _CHUNK // (row[:, 0].numel() * key.shape[1]))
    per_query = (row, *(tensor.transpose(1, 2).contiguous()[:, :, None] for tensor in (query_key, selection)))
    chunks = zip(*(torch.split(tensor, step, dim=1) for tensor in per_query), strict=True)
    distances = [(weight * (F.embedding(near, keys) - query).square()).sum(dim=3) for near, query, weight in chunks]
    return torch.cat(distances, dim=1)


def read_memory(
    query_key: Tensor,  # [B, C_k, Q]
    selection: Tensor,  # [B, C_k, Q]
    key: Tensor,  # [B, C_k, N]
    shrinkage: Tensor,  # [B, 1, N]
    value: Tensor,  # [B, A, C_v, N]
    has_value: Tensor,  # [B, A, N] bool, True if the token has a value of the agent
    valid: Tensor,  # [B, N] bool, False for empty slots
    *,
    top_k: int,
    positions: Positions | None = None,
    age: Tensor | None = None,  # [B, N], in units of the time after which similarity has fallen by 1
    nothing: Tensor | None = None,  # [], similarity of every query to nothing
) -> Readout:
    """Read the memory: soft nearest-neighbour lookup of queries in tokens (XMem eq. 3-4 and §3.3).

    For each agent a query takes the softmax of its similarities to the ``top_k`` most similar valid tokens that have a
    value of the agent (XMem's object groups). Agents share the similarities; usage is counted for the first. With
    ``nothing`` it is one more candidate of the softmax, so that a query with no similar token reads hardly any.

    Inputs have to be float32 at least: similarities are off by 0.3 in bfloat16. The search needs no gradient, so the
    similarities of all pairs are never kept; those of the tokens that are read are computed again with gradient.
    """
    batch, agents, channels, tokens = value.shape
    queries = query_key.shape[2]
    count = min(top_k, tokens)
    readable = has_value & valid[:, None]
    bias = torch.where(readable, torch.zeros_like(shrinkage) if age is None else -age[:, None], NEVER)
    factors = _factors(query_key, selection, key, shrinkage, positions)
    places = None if positions is None else (positions.query, positions.token)
    nearest = nearest_tokens(*factors, bias, count, places)
    row = nearest + tokens * torch.arange(batch, device=key.device)[:, None, None]

    def near(per_token: Tensor) -> Tensor:
        """Gather [B, C, N] at the tokens read: [B, A·Q, K, C]."""
        return F.embedding(row, per_token.transpose(1, 2).flatten(0, 1))

    distance = _distances(for_agents(query_key, agents), for_agents(selection, agents), key, row)
    scores = -near(shrinkage)[..., 0] * distance / math.sqrt(key.shape[1])
    if positions is not None:
        query_position = for_agents(positions.query, agents).transpose(1, 2)[:, :, None]
        scores = scores - (near(positions.token) - query_position).square().sum(dim=-1) / 2
    if age is not None:
        scores = scores - near(age[:, None])[..., 0]

    nearest, scores = (tensor.view(batch, agents, queries, count) for tensor in (nearest, scores))
    of_agent = nearest + tokens * torch.arange(batch * agents, device=key.device).view(batch, agents, 1, 1)
    is_read = readable.flatten()[of_agent]
    affinity, to_nothing = _affinities(scores, is_read, nothing)
    usage = affinity.new_zeros(batch, tokens)
    usage = usage.scatter_add(1, nearest[:, 0].flatten(1), affinity[:, 0].flatten(1))

    table = value.transpose(2, 3).contiguous().view(-1, channels)  # a bag of strided rows is 15 times as slow
    bags, weights = of_agent.view(-1, count), affinity.reshape(-1, count).to(table.dtype)
    read = F.embedding_bag(bags, table, per_sample_weights=weights, mode="sum")
    read = read.view(batch, agents, queries, channels).transpose(2, 3)
    return Readout(read, to_nothing, usage, token=nearest[:, 0], affinity=affinity[:, 0])
