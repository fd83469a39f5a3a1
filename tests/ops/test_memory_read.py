"""The memory read against a loop written from the formula, and its corners."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.ops import memory_read as kernel
from remembev.ops import read_memory, similarity


def random_read(
    batch: int, agents: int, key_dim: int, value_dim: int, tokens: int, queries: int, seed: int = 0
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "query_key": draw(batch, key_dim, queries),
        "selection": draw(batch, key_dim, queries).sigmoid(),
        "key": draw(batch, key_dim, tokens),
        "shrinkage": draw(batch, 1, tokens).square() + 1,
        "value": draw(batch, agents, value_dim, tokens),
        "valid": torch.rand(batch, tokens, generator=generator) < 0.8,
    }


def read_by_loop(
    query_key: Tensor, selection: Tensor, key: Tensor, shrinkage: Tensor, value: Tensor, valid: Tensor, top_k: int
) -> tuple[Tensor, Tensor]:
    """S_ij = −s_i Σ_c e_cj (k_ci − q_cj)² / √C_k; softmax over the top k; Σ_i W_ij v_i — one number at a time."""
    batch, key_dim, queries = query_key.shape
    agents, value_dim = value.shape[1:3]
    readout = torch.zeros(batch, agents, value_dim, queries, dtype=query_key.dtype)
    usage = torch.zeros(batch, key.shape[2], dtype=query_key.dtype)
    for b in range(batch):
        tokens = [i for i in range(key.shape[2]) if valid[b, i]]
        for j in range(queries):
            scores = {}
            for i in tokens:
                distance = sum(
                    float(selection[b, c, j]) * (float(key[b, c, i]) - float(query_key[b, c, j])) ** 2
                    for c in range(key_dim)
                )
                scores[i] = -float(shrinkage[b, 0, i]) * distance / math.sqrt(key_dim)
            best = sorted(tokens, key=lambda i: -scores[i])[:top_k]
            total = sum(math.exp(scores[i] - scores[best[0]]) for i in best) if best else 1.0
            for i in best:
                weight = math.exp(scores[i] - scores[best[0]]) / total
                readout[b, :, :, j] += weight * value[b, :, :, i]
                usage[b, i] += weight
    return readout, usage


@given(
    batch=st.integers(1, 2),
    agents=st.integers(1, 3),
    tokens=st.integers(1, 12),
    queries=st.integers(1, 6),
    top_k=st.integers(1, 15),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_the_read_equals_the_formula_written_as_a_loop(
    batch: int, agents: int, tokens: int, queries: int, top_k: int, seed: int
) -> None:
    inputs = random_read(batch, agents, 5, 3, tokens, queries, seed)
    readout, usage = read_memory(**inputs, top_k=top_k)
    expected_readout, expected_usage = read_by_loop(**inputs, top_k=top_k)
    torch.testing.assert_close(readout, expected_readout, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(usage, expected_usage, rtol=1e-10, atol=1e-10)


def test_the_expanded_similarity_equals_the_formula() -> None:
    inputs = random_read(2, 1, 6, 1, 7, 4)
    scores = similarity(inputs["query_key"], inputs["selection"], inputs["key"], inputs["shrinkage"])
    distance = (inputs["key"][:, :, None] - inputs["query_key"][..., None]).square()
    expected = -(distance * inputs["selection"][..., None]).sum(1) * inputs["shrinkage"] / math.sqrt(6)
    torch.testing.assert_close(scores, expected)


def test_an_empty_store_reads_zeros_and_uses_nothing() -> None:
    inputs = random_read(2, 1, 4, 3, 6, 5)
    inputs["valid"][0] = False
    readout, usage = read_memory(**inputs, top_k=3)
    assert readout[0].abs().sum() == 0
    assert usage[0].sum() == 0
    assert readout[1].abs().sum() > 0


def test_tokens_that_are_not_valid_are_never_read() -> None:
    inputs = random_read(1, 1, 4, 3, 8, 5)
    expected, _ = read_memory(**inputs, top_k=30)
    hidden = ~inputs["valid"][0]
    inputs["value"][..., hidden] = 1e6
    inputs["key"][..., hidden] = inputs["query_key"][..., :1]
    readout, usage = read_memory(**inputs, top_k=30)
    torch.testing.assert_close(readout, expected)
    assert usage[0, hidden].sum() == 0


def test_distant_keys_read_finite_values() -> None:
    inputs = random_read(1, 1, 4, 3, 6, 5)
    inputs["valid"][:] = True
    inputs["key"] += 1e4
    readout, usage = read_memory(**{name: tensor.float() if tensor.is_floating_point() else tensor
                                    for name, tensor in inputs.items()}, top_k=3)  # fmt: skip
    assert readout.isfinite().all()
    torch.testing.assert_close(usage.sum(), torch.tensor(5.0))


def test_each_query_hands_out_an_affinity_of_one() -> None:
    inputs = random_read(2, 1, 4, 3, 9, 7)
    _, usage = read_memory(**inputs, top_k=4)
    torch.testing.assert_close(usage.sum(dim=1), torch.full((2,), 7.0, dtype=torch.float64))


def test_the_read_is_the_same_whatever_the_chunk_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_read(2, 1, 4, 3, 9, 7)
    whole, _ = read_memory(**inputs, top_k=4)
    monkeypatch.setattr(kernel, "_CHUNK", 1)
    chunked, _ = read_memory(**inputs, top_k=4)
    assert torch.equal(whole, chunked)


def test_gradients_reach_keys_values_and_queries() -> None:
    inputs = random_read(1, 2, 3, 2, 5, 4)
    inputs["valid"][:] = True
    learnt = ["query_key", "selection", "key", "shrinkage", "value"]
    for name in learnt:
        inputs[name].requires_grad_()

    def readout(*tensors: Tensor) -> Tensor:
        return read_memory(*tensors, inputs["valid"], top_k=3)[0]

    assert torch.autograd.gradcheck(readout, [inputs[name] for name in learnt])
