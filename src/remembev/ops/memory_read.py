"""Memory read: anisotropic L2 similarity, top-k softmax, weighted sum of values (XMem §3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from remembev.ops.dispatch import runs_triton

_CHUNK = 2**21
"""Similarities that are computed at a time in the search, to fit a cache."""
_BLOCKS = (32, 4)
"""Block sizes of the search: it compares maxima of blocks first, then the tokens of the best blocks."""
_LEAST_QUERIES = 192
"""Minimum queries of a chunk: PyTorch runs convolutions of fewer than about 20,000 numbers with slower code."""
_NEVER = -1e30
"""Similarity of a missing token: finite, since 0 · ∞ is NaN."""


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
    return scores.masked_fill(~mask, _NEVER).softmax(dim=-1) * mask


def _affinities(scores: Tensor, is_read: Tensor, nothing: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the affinities [B, A, Q, K] to tokens of similarities ``scores``, and that to nothing [B, A, Q]."""
    if nothing is None:
        return masked_softmax(scores, is_read), (~is_read.any(dim=3)).to(scores.dtype)
    candidates = torch.cat((scores, nothing.to(scores.dtype).expand_as(scores[..., :1])), dim=3)
    affinity = masked_softmax(candidates, F.pad(is_read, (0, 1), value=True))
    return affinity[..., :-1], affinity[..., -1]


def _first_largest(scores: Tensor, count: int) -> Tensor:
    """Return indices [..., K] of the ``count`` largest of scores [..., N] ≤ 0; of equal ones the first.

    Float64 encodes the index in digits below float32's precision, for indices up to 2¹⁹.
    """
    index = torch.arange(scores.shape[-1], dtype=torch.float64, device=scores.device)
    return (scores.clamp(max=-1e-30).double() * (1 + index * 2.0**-44)).topk(count, dim=-1).indices


def _nearest_of(scores: Tensor, count: int, blocks: tuple[int, ...] = _BLOCKS) -> Tensor:
    """Return the tokens [B, Q, K] of the ``count`` largest similarities [B, Q, N]; of equal ones the first.

    They are in the K blocks of the largest maxima.
    """
    if not blocks:
        return _first_largest(scores, count)
    size, further = blocks[0], blocks[1:]
    if scores.shape[2] <= count * size:
        return _nearest_of(scores, count, further)
    blocked = scores.view(*scores.shape[:2], -1, size)
    best = _first_largest(blocked.amax(dim=3), count).sort(dim=2).values
    candidates = blocked.gather(2, best[..., None].expand(-1, -1, -1, size)).flatten(2)
    return _in_blocks(_nearest_of(candidates, count, further), best, size)


def _in_blocks(index: Tensor, block: Tensor, size: int) -> Tensor:
    """Return tokens [B, Q, K] from indices [B, Q, K] into concatenated blocks [B, Q, ·] of ``size`` tokens."""
    return block.gather(2, index // size) * size + index % size


@torch.no_grad()
def _nearest_tokens(
    query_key: Tensor,
    selection: Tensor,
    key: Tensor,
    shrinkage: Tensor,
    bias: Tensor,
    positions: Positions | None,
    count: int,
) -> Tensor:
    """Return the ``count`` tokens [B, A·Q, K] most similar to each query of each agent, given a bias [B, A, N].

    The queries of an agent are queries of their own, with a channel that chooses the agent's bias.
    """
    query, token = _factors(query_key, selection, key, shrinkage, positions)
    batch, agents = bias.shape[:2]
    agent = torch.eye(agents, device=query.device, dtype=query.dtype).repeat_interleave(query.shape[2], dim=1)
    query = torch.cat((_for_agents(query, agents), agent.expand(batch, -1, -1)), dim=1)
    missing = -token.shape[2] % _BLOCKS[0]
    token = torch.cat((F.pad(token, (0, missing)), F.pad(bias, (0, missing), value=2 * _NEVER)), dim=1)
    if token.dtype == torch.float32 and token.shape[2] > count * _BLOCKS[0] and runs_triton(token):
        return _search_by_triton(query, token, count)
    return _search(query, token, count)


def _for_agents(per_query: Tensor, agents: int) -> Tensor:
    """Repeat [B, C, Q] for A agents: [B, C, A·Q]."""
    return per_query[:, :, None].expand(-1, -1, agents, -1).flatten(2)


def _search(query: Tensor, token: Tensor, count: int) -> Tensor:
    """Return tokens [B, Q, K] of the largest products of [B, F, Q] and [B, F, N], chunk by chunk of queries."""
    step = max(_LEAST_QUERIES, _CHUNK // (token.shape[0] * token.shape[2]))
    chunks = torch.split(query.transpose(1, 2), step, dim=1)
    rows = token.transpose(1, 2).contiguous()
    return torch.cat([_nearest_of(_products(chunk.contiguous(), rows), count) for chunk in chunks], dim=1)


def _products(query: Tensor, token: Tensor) -> Tensor:
    """Return products [B, Q, N] of all rows of [B, Q, F] and [B, N, F].

    On a CPU by a grouped convolution: oneDNN's convolutions are up to twice as fast as the matrix library.
    """
    if query.device.type != "cpu" or torch.compiler.is_compiling():
        return query @ token.transpose(1, 2)
    batch, queries, features = query.shape
    pixels = query.transpose(0, 1).reshape(1, 1, queries, batch * features).permute(0, 3, 1, 2)
    products = F.conv2d(pixels, token.view(-1, features, 1, 1), groups=batch)
    return products.permute(0, 2, 3, 1).reshape(queries, batch, -1).transpose(0, 1)


def _search_by_triton(query: Tensor, token: Tensor, count: int) -> Tensor:
    """Search with Triton kernels: maxima of blocks first, then the products in the best blocks."""
    from remembev.ops.triton.memory_read import block_maxima, block_scores

    size, *further = _BLOCKS
    best = _first_largest(block_maxima(query, token, size), count).sort(dim=2).values
    index = _nearest_of(block_scores(query, token, best, size), count, tuple(further))
    return _in_blocks(index, best, size)


def _distances(query_key: Tensor, selection: Tensor, key: Tensor, row: Tensor) -> Tensor:
    """Return Σ_c e_cj (k_ci − q_cj)² [B, Q, K] for rows [B, Q, K] of all keys, chunk by chunk of queries.

    Unlike the expanded product this keeps its digits where keys are large compared to their differences. Channels are
    made contiguous, since a gather of strided ones takes eight times as long.
    """
    keys = key.transpose(1, 2).contiguous().flatten(0, 1)
    step = max(1, _CHUNK // (4 * row[:, 0].numel() * key.shape[1]))
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
    bias = torch.where(readable, torch.zeros_like(shrinkage) if age is None else -age[:, None], _NEVER)
    nearest = _nearest_tokens(query_key, selection, key, shrinkage, bias, positions, count)
    row = nearest + tokens * torch.arange(batch, device=key.device)[:, None, None]

    def near(per_token: Tensor) -> Tensor:
        """Gather [B, C, N] at the tokens read: [B, A·Q, K, C]."""
        return F.embedding(row, per_token.transpose(1, 2).flatten(0, 1))

    distance = _distances(_for_agents(query_key, agents), _for_agents(selection, agents), key, row)
    scores = -near(shrinkage)[..., 0] * distance / math.sqrt(key.shape[1])
    if positions is not None:
        query_position = _for_agents(positions.query, agents).transpose(1, 2)[:, :, None]
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
