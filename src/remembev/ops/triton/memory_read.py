"""Search of the memory read in two passes: maxima of all blocks of tokens, then similarities in the best blocks.

Similarities are computed in float32: the error of TF32 is larger than the differences between tokens.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

_QUERIES, _TOKENS, _FACTORS = 64, 64, 32
"""Tile of a program of the first pass."""


@triton.jit  # type: ignore[untyped-decorator]
def _maxima_of_tile(  # type: ignore[no-untyped-def]
    query,  # [B, F, Q]
    token,  # [B, F, N]
    maxima,  # [B, Q, N / BLOCK]
    factors,
    queries,
    tokens,
    QUERIES: tl.constexpr,
    TOKENS: tl.constexpr,
    FACTORS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute a tile of similarities and their maxima over blocks of tokens."""
    sample = tl.program_id(2).to(tl.int64)
    i = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    j = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    query += sample * factors * queries
    token += sample * factors * tokens
    scores = tl.zeros((QUERIES, TOKENS), tl.float32)
    for first in range(0, factors, FACTORS):
        f = first + tl.arange(0, FACTORS)
        is_factor = f < factors
        q = tl.load(
            query + f[None, :] * queries + i[:, None], mask=is_factor[None, :] & (i < queries)[:, None], other=0.0
        )
        t = tl.load(
            token + f[:, None] * tokens + j[None, :], mask=is_factor[:, None] & (j < tokens)[None, :], other=0.0
        )
        scores = tl.dot(q, t, scores, input_precision="ieee")
    largest = tl.max(tl.reshape(scores, (QUERIES, TOKENS // BLOCK, BLOCK)), axis=2)
    blocks = tokens // BLOCK
    b = tl.program_id(1) * (TOKENS // BLOCK) + tl.arange(0, TOKENS // BLOCK)
    place = (sample * queries + i[:, None]) * blocks + b[None, :]
    tl.store(maxima + place, largest, mask=(i < queries)[:, None] & (b < blocks)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _scores_of_block(  # type: ignore[no-untyped-def]
    query,  # [B, F, Q]
    token,  # [B, F, N]
    block,  # [B, Q, K]
    scores,  # [B, Q, K, BLOCK]
    factors,
    queries,
    tokens,
    count,
    FACTORS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the similarities of a query to the tokens of a block."""
    sample = tl.program_id(2).to(tl.int64)
    i, rank = tl.program_id(0), tl.program_id(1)
    place = (sample * queries + i) * count + rank
    lane = tl.arange(0, BLOCK)
    j = tl.load(block + place) * BLOCK + lane
    query += sample * factors * queries + i
    token += sample * factors * tokens
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, factors, FACTORS):
        f = first + tl.arange(0, FACTORS)
        is_factor = f < factors
        q = tl.load(query + f * queries, mask=is_factor, other=0.0)
        t = tl.load(token + f[:, None] * tokens + j[None, :], mask=is_factor[:, None], other=0.0)
        total += tl.sum(q[:, None] * t, axis=0)
    tl.store(scores + place * BLOCK + lane, total)


def block_maxima(query: Tensor, token: Tensor, block: int) -> Tensor:
    """Return the largest similarity [B, Q, N / block] of queries [B, F, Q] to tokens [B, F, N] by block, in float32."""
    batch, factors, queries = query.shape
    tokens = token.shape[2]
    maxima = query.new_empty(batch, queries, tokens // block)
    grid = (triton.cdiv(queries, _QUERIES), triton.cdiv(tokens, _TOKENS), batch)
    _maxima_of_tile[grid](
        query.contiguous(),
        token.contiguous(),
        maxima,
        factors,
        queries,
        tokens,
        QUERIES=_QUERIES,
        TOKENS=_TOKENS,
        FACTORS=_FACTORS,
        BLOCK=block,
    )
    return maxima


def block_scores(query: Tensor, token: Tensor, chosen: Tensor, block: int) -> Tensor:
    """Return the similarities [B, Q, K · block] of queries [B, F, Q] to tokens [B, F, N] in chosen blocks [B, Q, K]."""
    batch, factors, queries = query.shape
    count = chosen.shape[2]
    scores = query.new_empty(batch, queries, count * block)
    _scores_of_block[(queries, count, batch)](
        query.contiguous(),
        token.contiguous(),
        chosen.contiguous(),
        scores,
        factors,
        queries,
        token.shape[2],
        count,
        FACTORS=_FACTORS,
        BLOCK=block,
        num_warps=1,
    )
    return scores
