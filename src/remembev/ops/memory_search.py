"""The search of the memory read: the tokens that are most similar to each query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from remembev.ops.dispatch import runs_triton

NEVER = -1e30
"""Similarity of a missing token: finite, since 0 · ∞ is NaN."""

_CHUNK = 2**21
"""Similarities that are computed at a time, to fit a cache."""
_BLOCKS = (32, 4)
"""Block sizes of the search: it compares maxima of blocks first, then the tokens of the best blocks."""
_LEAST_QUERIES = 192
"""Minimum queries of a chunk: PyTorch runs convolutions of fewer than about 20,000 numbers with slower code."""
_GROUP = 2**19
"""Similarities of the tiles that are ranked together."""
_NEAR_BLOCK = 8
"""Block size of the search nearby, about √(N / K)."""
_TILES = 8
"""Tiles along an axis, whose queries are searched for together."""
_MARGIN = 4.0
"""Distance around a tile, in units of positions, within which tokens are nearby: others have a similarity below −8."""
_MANY_TOKENS, _DENSE = 4096, 2
"""Tokens, and tokens per query, from which on those nearby are searched first: few queries are near sparse ones."""
_ROUNDING = 0.01
"""More than the error of a similarity in float32."""


@torch.no_grad()
def nearest_tokens(
    query: Tensor,  # [B, F, Q]
    token: Tensor,  # [B, F, N]
    bias: Tensor,  # [B, A, N]
    count: int,
    positions: tuple[Tensor, Tensor] | None = None,  # [B, 3, Q] and [B, 3, N]
) -> Tensor:
    """Return the ``count`` tokens [B, A·Q, K] most similar to each query of each agent; of equal ones the first.

    Similarities are the products of the factors of queries and tokens, plus a bias of ≤ 0 for each agent, ``NEVER`` for
    tokens that it can't read. The queries of an agent are queries of their own, with a channel that chooses the agent's
    bias. ``positions`` are given if similarities are at most −½ of the squared distance.
    """
    batch, agents, tokens = bias.shape
    agent = torch.eye(agents, device=query.device, dtype=query.dtype).repeat_interleave(query.shape[2], dim=1)
    query = torch.cat((for_agents(query, agents), agent.expand(batch, -1, -1)), dim=1)
    missing = _BLOCKS[0] - tokens % _BLOCKS[0]
    token = torch.cat((F.pad(token, (0, missing)), F.pad(bias, (0, missing), value=2 * NEVER)), dim=1)
    if token.dtype == torch.float32 and token.shape[2] > count * _BLOCKS[0] and runs_triton(token):
        return _search_by_triton(query, token, count)
    query, token = query.transpose(1, 2).contiguous(), token.transpose(1, 2).contiguous()
    is_dense = tokens >= max(_MANY_TOKENS, _DENSE * query.shape[1] / agents)
    if positions is None or not is_dense or not query.is_cpu or torch.compiler.is_compiling():
        return _search(query, token, count)
    query_at, token_at = for_agents(positions[0], agents).transpose(1, 2), positions[1].transpose(1, 2)
    items = zip(query, token, query_at[..., :2], token_at[..., :2], (bias > NEVER).any(dim=1), strict=True)
    return torch.stack([_search_nearby_first(*item, count) for item in items])


def for_agents(per_query: Tensor, agents: int) -> Tensor:
    """Repeat [B, C, Q] for A agents: [B, C, A·Q]."""
    return per_query[:, :, None].expand(-1, -1, agents, -1).flatten(2)


@dataclass(frozen=True)
class _Tile:
    """Queries of one place, and the tokens that are searched for them."""

    queries: Tensor  # [Q_t] rows of queries
    tokens: Tensor  # [N_t] rows of tokens
    margin: float  # distance from every query within which all readable tokens are among them


def _search_nearby_first(
    query: Tensor,  # [Q, F]
    token: Tensor,  # [N', F], the last one missing
    query_at: Tensor,  # [Q, 2]
    token_at: Tensor,  # [N, 2]
    readable: Tensor,  # [N] bool
    count: int,
) -> Tensor:
    """Return the tokens [Q, K] of the largest products, looking no further than they can be.

    Where S is the K-th best similarity of the tokens nearby, that of all is no less, and that of a token at a distance
    d no more than −½ d². So no token further than √(−2 S) is among the K best. Where that is further than was looked,
    the tokens within it are searched.
    """

    def tile(queries: Tensor, margin: float) -> _Tile:
        low, high = query_at[queries].amin(dim=0) - margin, query_at[queries].amax(dim=0) + margin
        near = ((token_at >= low) & (token_at <= high)).all(dim=1) & readable
        tokens = near.nonzero()[:, 0]
        if len(tokens) >= count:
            return _Tile(queries, tokens, margin)
        return _Tile(queries, torch.arange(len(token_at)), torch.inf)

    nearest = torch.empty(len(query), count, dtype=torch.int64)
    reach = query.new_full((len(query),), _MARGIN)
    tiles = [tile(queries, _MARGIN) for queries in _tiles(query_at)]
    while tiles:
        for group in _grouped(tiles):
            queries, found, least = _search_tiles(query, token, group, count)
            nearest[queries] = found
            reach[queries] = (2 * (_ROUNDING - least)).clamp(min=0).sqrt()
        left = [one.queries[reach[one.queries] > one.margin] for one in tiles]
        tiles = [tile(queries, float(reach[queries].max())) for queries in left if len(queries)]
    return nearest


def _tiles(query_at: Tensor) -> list[Tensor]:
    """Divide queries at [Q, 2] by place: the rows of each tile that has any."""
    low, high = query_at.amin(dim=0), query_at.amax(dim=0)
    side = ((high - low) / _TILES).clamp(min=1e-6)
    place = ((query_at - low) / side).long().clamp(max=_TILES - 1)
    number = place[:, 0] + _TILES * place[:, 1]
    rows = number.argsort()
    return [queries for queries in torch.split(rows, number.bincount().tolist()) if len(queries)]


def _grouped(tiles: Sequence[_Tile]) -> Iterator[list[_Tile]]:
    """Group tiles that are ranked together, since each is too small to be worth the calls."""
    group: list[_Tile] = []
    for tile in sorted(tiles, key=lambda tile: len(tile.tokens)):
        group.append(tile)
        if sum(len(one.queries) for one in group) * len(tile.tokens) > _GROUP:
            yield group
            group = []
    if group:
        yield group


def _search_tiles(query: Tensor, token: Tensor, tiles: Sequence[_Tile], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the queries of all tiles [Q'], the nearest of their tokens [Q', K], and the least similarity [Q']."""
    missing = len(token) - 1
    near = pad_sequence([tile.tokens for tile in tiles], batch_first=True, padding_value=missing)
    near = F.pad(near, (0, -near.shape[1] % _NEAR_BLOCK), value=missing)
    products = [_products(query[None, tile.queries], token[None, at]) for tile, at in zip(tiles, near, strict=True)]
    scores = torch.cat(products, dim=1)
    best = _nearest_of(scores, count, (_NEAR_BLOCK,))
    of_tiles = torch.split(best[0], [len(tile.queries) for tile in tiles])
    nearest = torch.cat([at[places] for at, places in zip(near, of_tiles, strict=True)])
    return torch.cat([tile.queries for tile in tiles]), nearest, scores.gather(2, best).amin(dim=2)[0]


def _search(query: Tensor, token: Tensor, count: int) -> Tensor:
    """Return the tokens [B, Q, K] of the largest products of [B, Q, F] and [B, N, F], chunk by chunk of queries.

    N is a multiple of ``_BLOCKS[0]``.
    """
    step = max(_LEAST_QUERIES, _CHUNK // (token.shape[0] * token.shape[1]))
    chunks = torch.split(query, step, dim=1)
    return torch.cat([_nearest_of(_products(chunk.contiguous(), token), count) for chunk in chunks], dim=1)


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
