"""Which tokens become prototypes, what these hold, and which make room for them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.schema import LongTermMemoryConfig
from remembev.memory import TokenStore
from remembev.memory.consolidation import consolidate, insert, potentiate

from .small import assert_same, random_store

NO_DRAW = torch.zeros(2, dtype=torch.int64)


def long_term(prototypes: int, choose: str = "usage") -> LongTermMemoryConfig:
    return LongTermMemoryConfig.model_validate({"MAX_TOKENS": 100, "PROTOTYPES": prototypes, "CHOOSE": choose})


def used(usages: list[float | None], first: int = 0) -> TokenStore:
    """Tokens read once, of these usages, not valid where None; their keys number them."""
    count = len(usages)
    return replace(
        random_store(count, channels=1),
        key=torch.arange(first, first + count).float()[None, None],
        usage=torch.tensor([[0.0 if usage is None else usage for usage in usages]]),
        life=torch.ones(1, count),
        valid=torch.tensor([[usage is not None for usage in usages]]),
    )


def numbers(store: TokenStore) -> list[int]:
    return store.key[0, 0][store.valid[0]].int().tolist()


usages = st.lists(st.sampled_from([None, 0.0, 0.5, 2.0]), min_size=1, max_size=8)


@given(stored=usages, fresh=usages)
@settings(max_examples=200)
def test_only_as_many_tokens_are_evicted_as_needed_least_used_and_oldest_first(
    stored: list[float | None], fresh: list[float | None]
) -> None:
    fresh = fresh[: len(stored)]
    after = insert(used(stored), used(fresh, first=100))
    kept = [place for place, usage in enumerate(stored) if usage is not None]
    added = [100 + place for place, usage in enumerate(fresh) if usage is not None]
    must_go = max(0, len(kept) + len(added) - len(stored))
    for going in sorted(kept, key=lambda place: stored[place] or 0.0)[:must_go]:
        kept.remove(going)
    assert numbers(after) == kept + added
    assert after.capacity == len(stored)


def test_each_item_of_a_batch_evicts_by_its_own_usage() -> None:
    stores = [random_store(6, valid=0.8, seed=seed) for seed in (1, 2)]
    fresh = [random_store(3, valid=0.8, seed=seed) for seed in (3, 4)]
    both = insert(TokenStore.stack(stores), TokenStore.stack(fresh))
    assert_same(both, TokenStore.stack([insert(*pair) for pair in zip(stores, fresh, strict=True)]))


def test_prototypes_are_the_tokens_of_highest_usage_rate_with_usage_reset() -> None:
    candidates = replace(
        used([4.0, 4.0, 9.0, None, 1.0]), life=torch.tensor([[1.0, 2.0, 9.0, 1.0, 0.5]])
    )  # rates 4, 2, 1, -, 2
    prototypes = consolidate(candidates, long_term(3), draw=NO_DRAW[:1])
    assert numbers(prototypes) == [0, 1, 4]
    assert not prototypes.usage.any()
    assert not prototypes.life.any()


def test_of_equally_used_candidates_the_first_become_prototypes() -> None:
    assert numbers(consolidate(used([1.0] * 6), long_term(4), draw=NO_DRAW[:1])) == [0, 1, 2, 3]


@given(candidates=usages, prototypes=st.integers(1, 12), choose=st.sampled_from(["usage", "random"]))
def test_with_fewer_candidates_than_prototypes_all_of_them_become_prototypes(
    candidates: list[float | None], prototypes: int, choose: str
) -> None:
    chosen = consolidate(used(candidates), long_term(prototypes, choose), draw=NO_DRAW[:1])
    valid = [place for place, usage in enumerate(candidates) if usage is not None]
    assert len(numbers(chosen)) == min(prototypes, len(valid))
    assert set(numbers(chosen)) <= set(valid)
    assert all(tensor.isfinite().all() for tensor in chosen.named().values())


@pytest.mark.parametrize("places", [False, True])
def test_prototypes_read_values_and_shrinkage_from_all_candidates(places: bool) -> None:
    """One number at a time: softmax over i of −s_i Σ_c e_cj (k_ci − k_cj)² / √C_k − ½ |p_i − p_j|² / σ²."""
    candidates, sigma = random_store(9, agents=2, valid=0.7, seed=3), torch.tensor(5.0)
    prototypes = candidates.gather(torch.tensor([[2, 5, 7]]))
    found = potentiate(prototypes, candidates, sigma if places else None)
    for j in range(3):
        scores: dict[int, float] = {}
        for i in candidates.valid[0].nonzero()[:, 0].tolist():
            squares = prototypes.selection[0, :, j] * (candidates.key[0, :, i] - prototypes.key[0, :, j]).square()
            scores[i] = -float(candidates.shrinkage[0, 0, i] * squares.sum()) / math.sqrt(4)
            if places:
                apart = (candidates.position[0, :, i] - prototypes.position[0, :, j]).norm() / sigma
                scores[i] -= float(apart) ** 2 / 2
        torch.testing.assert_close(found.shrinkage[0, 0, j], mean(scores, candidates.shrinkage[0, 0]))
        for agent in range(2):
            of_agent = {i: score for i, score in scores.items() if candidates.has_value[0, agent, i]}
            expected = mean(of_agent, candidates.value[0, agent]) * prototypes.has_value[0, agent, j]
            torch.testing.assert_close(found.value[0, agent, :, j], expected)
    assert prototypes.has_value[0, 1].tolist() == [False, True, True]
    assert torch.equal(found.key, prototypes.key)


def mean(scores: dict[int, float], per_token: Tensor) -> Tensor:
    """Mean of [..., N] by the softmax of scores."""
    powers = {i: math.exp(score - max(scores.values())) for i, score in scores.items()}
    return torch.stack([per_token[..., i] * power for i, power in powers.items()]).sum(dim=0) / sum(powers.values())


def test_a_prototype_has_the_values_of_the_agents_that_its_own_token_had() -> None:
    has_value = torch.tensor([[[True] * 4, [False, False, True, False], [False] * 4]])
    candidates = replace(random_store(4, agents=3), has_value=has_value)
    found = potentiate(candidates.gather(torch.tensor([[0, 2]])), candidates)
    assert found.has_value[0].tolist() == [[True, True], [False, True], [False, False]]
    torch.testing.assert_close(found.value[0, 1, :, 1], candidates.value[0, 1, :, 2])
    assert not found.value[0, 1, :, 0].any()
    assert not found.value[0, 2].any()


def test_random_prototypes_depend_on_the_draw_alone() -> None:
    candidates = random_store(32, valid=0.8)
    chosen = [
        frozenset(consolidate(candidates, long_term(8, "random"), draw=torch.tensor([draw])).key[0, 0].tolist())
        for draw in [*range(200), 0]
    ]
    assert chosen[0] == chosen[-1]
    assert len(set(chosen)) > 190
    valid = set(candidates.key[0, 0][candidates.valid[0]].tolist())
    share = 8 / len(valid)
    for key in valid:
        assert abs(sum(key in one for one in chosen) / 201 - share) < 0.15, "chosen far more or less often than others"
    assert set().union(*chosen) == valid


def test_consolidating_no_tokens_gives_none_and_finite_gradients() -> None:
    candidates = random_store(5, batch=2, agents=2, valid=0.0)
    learnt = {name: getattr(candidates, name).requires_grad_() for name in ("key", "selection", "shrinkage", "value")}
    found = consolidate(candidates, long_term(3), draw=NO_DRAW, sigma=torch.tensor(2.0))
    assert not found.valid.any()
    assert not found.has_value.any()
    (found.value.sum() + found.shrinkage.sum()).backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in learnt.values())
