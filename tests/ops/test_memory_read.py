"""The memory read against a loop written from the formula, and its corners."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.ops import memory_read, memory_search, read_memory, reference, similarity
from remembev.ops.memory_read import Positions


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
        "has_value": torch.rand(batch, agents, tokens, generator=generator) < 0.7,
        "valid": torch.rand(batch, tokens, generator=generator) < 0.8,
    }


def random_places(inputs: dict[str, Tensor], seed: int = 0) -> tuple[Positions, Tensor]:
    """Places of queries and tokens, and ages of the tokens."""
    generator = torch.Generator().manual_seed(seed)
    batch, _, queries = inputs["query_key"].shape
    tokens = inputs["key"].shape[2]
    query, token = (torch.randn(batch, 3, n, generator=generator, dtype=torch.float64) for n in (queries, tokens))
    return Positions(query, token), torch.rand(batch, tokens, generator=generator, dtype=torch.float64) * 3


sizes = {
    "batch": st.integers(1, 2),
    "agents": st.integers(1, 3),
    "tokens": st.integers(1, 10),
    "queries": st.integers(1, 4),
    "top_k": st.integers(1, 15),
    "seed": st.integers(0, 1000),
    "knows_places": st.booleans(),
    "knows_ages": st.booleans(),
    "nothing": st.none() | st.floats(-8, 2),
}


@given(**sizes)
@settings(max_examples=25)
def test_the_read_equals_the_formula_written_as_a_loop(
    batch: int,
    agents: int,
    tokens: int,
    queries: int,
    top_k: int,
    seed: int,
    knows_places: bool,
    knows_ages: bool,
    nothing: float | None,
) -> None:
    inputs = random_read(batch, agents, 5, 3, tokens, queries, seed)
    positions, age = random_places(inputs, seed)
    further: dict[str, Any] = {"positions": positions if knows_places else None, "age": age if knows_ages else None}
    further["nothing"] = None if nothing is None else torch.tensor(nothing).double()
    read = read_memory(**inputs, top_k=top_k, **further)
    value, to_nothing, usage = reference.read_memory(**inputs, top_k=top_k, **further)
    torch.testing.assert_close(read.value, value, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(read.usage, usage, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(read.nothing, to_nothing, rtol=1e-10, atol=1e-10)


def test_the_expanded_similarity_equals_the_formula() -> None:
    inputs = random_read(2, 1, 6, 1, 7, 4)
    positions, age = random_places(inputs)
    scores = similarity(
        inputs["query_key"], inputs["selection"], inputs["key"], inputs["shrinkage"], positions=positions, bias=-age
    )
    distance = (inputs["key"][:, :, None] - inputs["query_key"][..., None]).square()
    expected = -(distance * inputs["selection"][..., None]).sum(1) * inputs["shrinkage"] / math.sqrt(6)
    expected = expected - torch.cdist(positions.query.mT, positions.token.mT).square() / 2 - age[:, None]
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("agents", [1, 3])
def test_without_places_and_ages_the_read_is_the_original_to_the_last_bit(agents: int) -> None:
    inputs = single(random_read(2, agents, 8, 4, 40, 30))
    plain = read_memory(**inputs, top_k=7)
    here = Positions(torch.full((2, 3, 30), 2.5), torch.full((2, 3, 40), 2.5))
    same = read_memory(**inputs, top_k=7, positions=here, age=torch.zeros(2, 40))
    for one, other in ((plain.value, same.value), (plain.usage, same.usage), (plain.nothing, same.nothing)):
        assert torch.equal(one, other)


def test_the_nearer_and_the_younger_of_two_like_tokens_is_read() -> None:
    inputs = random_read(1, 1, 4, 2, 2, 1)
    inputs["valid"][:], inputs["has_value"][:] = True, True
    inputs["key"][:] = inputs["key"][..., :1]
    inputs["shrinkage"][:] = 1
    far = Positions(torch.zeros(1, 3, 1).double(), torch.tensor([[[0.0, 10.0], [0.0, 0.0], [0.0, 0.0]]]).double())
    for further in ({"positions": far}, {"age": torch.tensor([[0.0, 50.0]]).double()}):
        read = read_memory(**inputs, top_k=2, **further)
        torch.testing.assert_close(read.value[..., 0], inputs["value"][..., 0])


def test_an_empty_store_reads_zeros_and_uses_nothing() -> None:
    inputs = random_read(2, 1, 4, 3, 6, 5)
    inputs["valid"][0] = False
    read = read_memory(**inputs, top_k=3)
    assert read.value[0].abs().sum() == 0
    assert read.usage[0].sum() == 0
    assert (read.nothing[0] == 1).all()
    assert read.value[1].abs().sum() > 0


def test_a_query_far_from_all_tokens_reads_nothing_and_a_near_one_a_token() -> None:
    inputs = single(random_read(1, 1, 4, 3, 1, 2))
    inputs["valid"][:], inputs["has_value"][:], inputs["shrinkage"][:], inputs["selection"][:] = True, True, 1, 1
    inputs["key"][:] = 0
    inputs["query_key"][:] = torch.tensor([0.0, 4.0])
    read = read_memory(**inputs, top_k=3, nothing=torch.tensor(-4.0))
    assert read.nothing[0, 0, 0] < 0.02
    assert read.nothing[0, 0, 1] > 0.98
    torch.testing.assert_close(read.value[0, 0], inputs["value"][0, 0] * (1 - read.nothing[0, 0]))
    torch.testing.assert_close(read.affinity[0, :, 0], 1 - read.nothing[0, 0])
    torch.testing.assert_close(read.usage[0, 0], read.affinity.sum())


def test_tokens_that_are_not_valid_are_never_read() -> None:
    inputs = random_read(1, 1, 4, 3, 8, 5)
    expected = read_memory(**inputs, top_k=30)
    hidden = ~inputs["valid"][0]
    assert hidden.any()
    inputs["value"][..., hidden] = 1e6
    inputs["key"][..., hidden] = inputs["query_key"][..., :1]
    read = read_memory(**inputs, top_k=30)
    torch.testing.assert_close(read.value, expected.value)
    assert read.usage[0, hidden].sum() == 0


def test_an_agent_reads_its_own_tokens_only() -> None:
    inputs = random_read(1, 2, 4, 3, 8, 5)
    expected = read_memory(**inputs, top_k=30)
    inputs["value"][0, 1, :, ~inputs["has_value"][0, 1]] = 1e6
    assert torch.equal(read_memory(**inputs, top_k=30).value, expected.value)


def test_a_token_without_a_value_of_an_agent_takes_no_place_among_those_that_the_agent_reads() -> None:
    inputs = random_read(1, 2, 4, 3, 40, 5)
    inputs["valid"][:], inputs["has_value"][:] = True, True
    inputs["has_value"][0, 1, :30] = False
    both = read_memory(**inputs, top_k=3)
    of_second = {name: inputs[name][..., 30:] for name in ("key", "shrinkage", "value", "has_value", "valid")}
    alone = read_memory(inputs["query_key"], inputs["selection"], **of_second, top_k=3)
    torch.testing.assert_close(both.value[:, 1], alone.value[:, 1])
    of_first = {name: inputs[name][:, :1] for name in ("value", "has_value")}
    first = read_memory(**{**inputs, **of_first}, top_k=3)
    torch.testing.assert_close(both.value[:, :1], first.value)
    assert torch.equal(both.usage, first.usage)
    assert torch.equal(both.token, first.token)


def test_an_agent_whose_tokens_are_far_beside_others_reads_their_softmax_all_the_same() -> None:
    """Their affinity is e⁻³⁰⁰ of a nearer token's: 0 in float32, and a mean weighted by it would be 0 / 0."""
    inputs = single(random_read(1, 2, 4, 3, 3, 1))
    inputs["valid"][:] = True
    inputs["has_value"][:] = torch.tensor([[True, True, True], [False, True, True]])
    inputs["shrinkage"][:] = 1
    inputs["selection"][:] = 1
    inputs["key"][0] = inputs["query_key"][0] + torch.tensor([[0.0, 24.5, 24.52], *[[0.0, 0.0, 0.0]] * 3])
    inputs["key"].requires_grad_()
    read = read_memory(**inputs, top_k=3)
    scores = torch.tensor([-(24.5**2) / 2, -(24.52**2) / 2])
    expected = inputs["value"][0, 1, :, 1:] @ scores.softmax(dim=0)
    torch.testing.assert_close(read.value[0, 1, :, 0], expected, rtol=1e-3, atol=1e-3)
    assert (read.nothing == 0).all()
    read.value.sum().backward()
    assert inputs["key"].grad is not None
    assert inputs["key"].grad.isfinite().all()
    assert inputs["key"].grad[0, 0, 1:].abs().min() > 0


def test_distant_keys_read_finite_values() -> None:
    inputs = single(random_read(1, 1, 4, 3, 6, 5))
    inputs["valid"][:], inputs["has_value"][:] = True, True
    inputs["key"] += 1e4
    read = read_memory(**inputs, top_k=3)
    assert read.value.isfinite().all()
    torch.testing.assert_close(read.usage.sum(), torch.tensor(5.0))


def test_equally_similar_tokens_share_a_query_equally() -> None:
    inputs = random_read(2, 1, 4, 3, 6, 5)
    inputs["valid"][:], inputs["has_value"][:] = True, True
    inputs["key"][:], inputs["shrinkage"][:] = inputs["key"][..., :1], 1
    read = read_memory(**inputs, top_k=6)
    torch.testing.assert_close(read.value, inputs["value"].mean(dim=3, keepdim=True).expand_as(read.value))
    torch.testing.assert_close(read.usage, torch.full((2, 6), 5 / 6, dtype=torch.float64))


@pytest.mark.parametrize("tokens", [40, 300, 3000])
def test_of_equally_similar_tokens_the_first_in_the_store_are_read(tokens: int) -> None:
    inputs = single(random_read(2, 1, 4, 3, tokens, 5))
    inputs["query_key"].round_()
    inputs["selection"][:], inputs["shrinkage"][:] = 1, 1  # whole numbers: no similarity is rounded
    inputs["key"][:] = inputs["query_key"][:, :, :1] + 1
    inputs["has_value"][:], inputs["valid"][:], inputs["valid"][:, ::3] = True, True, False
    read = read_memory(**inputs, top_k=6)
    first = [1, 2, 4, 5, 7, 8]
    assert read.usage[:, first].gt(0).all()
    torch.testing.assert_close(read.usage[:, first].sum(dim=1), torch.full((2,), 5.0))


class Read(torch.nn.Module):
    def forward(self, inputs: dict[str, Tensor], positions: tuple[Tensor, Tensor], age: Tensor) -> tuple[Tensor, ...]:
        read = read_memory(**inputs, top_k=6, positions=Positions(*positions), age=age)
        return read.value, read.nothing, read.usage


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_read_reads_the_same(strict: bool) -> None:
    def arguments(seed: int) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor], Tensor]:
        inputs = single(random_read(2, 2, 4, 3, 250, 9, seed))
        positions, age = random_places(inputs, seed)
        return inputs, (positions.query.float(), positions.token.float()), age.float()

    exported = torch.export.export(Read(), arguments(0), strict=strict).module()
    for one, other in zip(exported(*arguments(1)), Read()(*arguments(1)), strict=True):
        assert torch.equal(one, other)


def test_each_query_hands_out_an_affinity_of_one() -> None:
    inputs = random_read(2, 1, 4, 3, 9, 7)
    usage = read_memory(**inputs, top_k=4).usage
    torch.testing.assert_close(usage.sum(dim=1), torch.full((2,), 7.0, dtype=torch.float64))


@given(agents=st.integers(1, 2), tokens=st.integers(1, 40), top_k=st.integers(1, 50), seed=st.integers(0, 100))
@settings(max_examples=25)
def test_a_batch_of_two_reads_what_two_batches_of_one_read(agents: int, tokens: int, top_k: int, seed: int) -> None:
    inputs = random_read(2, agents, 5, 3, tokens, 6, seed)
    both = read_memory(**inputs, top_k=top_k)
    for item in range(2):
        one = read_memory(**{name: tensor[item : item + 1] for name, tensor in inputs.items()}, top_k=top_k)
        torch.testing.assert_close(both.value[item], one.value[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(both.usage[item], one.usage[0], rtol=1e-12, atol=1e-12)


def test_the_read_is_the_same_whatever_the_chunk_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_read(2, 1, 4, 3, 9, 7)
    positions, age = random_places(inputs)
    whole = read_memory(**inputs, top_k=4, positions=positions, age=age)
    monkeypatch.setattr(memory_read, "_CHUNK", 1)
    monkeypatch.setattr(memory_search, "_CHUNK", 1)
    monkeypatch.setattr(memory_search, "_LEAST_QUERIES", 1)
    assert torch.equal(read_memory(**inputs, top_k=4, positions=positions, age=age).value, whole.value)


def test_gradients_of_all_that_is_learnt_are_those_of_finite_differences() -> None:
    inputs = random_read(1, 2, 3, 2, 5, 4)
    inputs["valid"][:] = True
    positions, age = random_places(inputs)
    learnt = [inputs[name] for name in ("query_key", "selection", "key", "shrinkage", "value")]
    learnt = [tensor.requires_grad_() for tensor in (*learnt, positions.query, positions.token, age)]

    def readout(*tensors: Tensor) -> Tensor:
        *plain, query, token, age = tensors
        masks = inputs["has_value"], inputs["valid"]
        return read_memory(*plain, *masks, top_k=3, positions=Positions(query, token), age=age).value

    assert torch.autograd.gradcheck(readout, learnt)


def test_gradients_of_a_read_of_nothing_are_zero() -> None:
    inputs = single(random_read(1, 2, 3, 2, 5, 4))
    inputs["valid"][:] = False
    learnt = [inputs[name].requires_grad_() for name in ("query_key", "selection", "key", "shrinkage", "value")]
    read_memory(**inputs, top_k=3).value.sum().backward()
    assert all(tensor.grad is not None and tensor.grad.eq(0).all() for tensor in learnt)


def single(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
