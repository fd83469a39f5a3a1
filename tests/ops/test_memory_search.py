"""The search of the memory read against a stable sort of all similarities."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.ops import memory_search


@given(tokens=st.integers(1, 3000), top_k=st.integers(1, 40), levels=st.integers(1, 200), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_the_nearest_tokens_are_those_that_a_stable_sort_puts_first(
    tokens: int, top_k: int, levels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    padded = -(-tokens // 32) * 32
    scores = -torch.rand(1, 3, padded, generator=generator).mul(levels).floor()
    count = min(top_k, tokens)
    expected = scores.sort(dim=2, descending=True, stable=True).indices[..., :count]
    assert torch.equal(memory_search._nearest_of(scores, count), expected)


def spread_out(queries: int, tokens: int, extent: float, seed: int, agents: int = 1) -> tuple[Tensor, ...]:
    """Factors and biases of random keys near places on a plane, and these places, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(2, *shape, generator=generator, dtype=torch.float64)

    query_at, token_at = (torch.cat((draw(2, n) * extent, draw(1, n)), dim=1) for n in (queries, tokens))
    one, key, query_key = torch.ones_like(query_at[:, :1]), draw(4, tokens) * 2, draw(4, queries) * 2
    query = torch.cat(
        (query_at, query_key, one, -(query_at.square().sum(1) + query_key.square().sum(1))[:, None] / 2), 1
    )
    half = (token_at.square().sum(1) + key.square().sum(1))[:, None] / 2
    token = torch.cat((token_at, key, -half, torch.ones_like(half)), dim=1)
    bias = torch.where(draw(agents, tokens) < 0.8, -draw(agents, tokens), memory_search.NEVER)
    return query, token, bias, query_at, token_at


@given(
    tokens=st.integers(1, 300),
    top_k=st.integers(1, 40),
    extent=st.sampled_from([0.0, 3.0, 20.0, 60.0]),
    agents=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_looking_nearby_first_finds_the_same_tokens(
    tokens: int, top_k: int, extent: float, agents: int, seed: int
) -> None:
    query, token, bias, *places = spread_out(70, tokens, extent, seed, agents)
    count = min(top_k, tokens, int((bias > memory_search.NEVER).sum(dim=2).min()))
    if count == 0:
        return
    similarity = query.transpose(1, 2) @ token
    expected = torch.cat([(similarity + one[:, None]).topk(count).indices for one in bias.unbind(dim=1)], dim=1)
    everywhere = memory_search.nearest_tokens(query, token, bias, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_search, "_MANY_TOKENS", 1)
        patch.setattr(memory_search, "_DENSE", 0)
        nearby = memory_search.nearest_tokens(query, token, bias, count, (places[0], places[1]))
    for found in (everywhere, nearby):
        assert torch.equal(found.sort(dim=2).values, expected.sort(dim=2).values)


def test_a_query_looks_at_the_tokens_around_it_and_further_only_where_these_may_not_be_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, token, bias, query_at, token_at = (item[:1] for item in spread_out(400, 4000, 40.0, seed=0))
    looked_at: list[tuple[int, int]] = []
    products = memory_search._products

    def counted(query: Tensor, token: Tensor) -> Tensor:
        looked_at.append((query.shape[1], token.shape[1]))
        return products(query, token)

    monkeypatch.setattr(memory_search, "_MANY_TOKENS", 4000)
    monkeypatch.setattr(memory_search, "_products", counted)
    memory_search.nearest_tokens(query, token, bias, 5, (query_at, token_at))
    assert sum(queries for queries, _ in looked_at) == 400  # none had to look again
    assert sum(queries * tokens for queries, tokens in looked_at) < 0.15 * 400 * 4000

    looked_at.clear()
    bias = bias.masked_fill(token_at[:, None, :2].amin(dim=2) < 20, memory_search.NEVER)  # but for a corner
    found = memory_search.nearest_tokens(query, token, bias, 5, (query_at, token_at))
    assert max(tokens for _, tokens in looked_at) == 4000
    assert torch.equal(found, memory_search.nearest_tokens(query, token, bias, 5))
