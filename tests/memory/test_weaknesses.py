"""What was found wrong in XMem's own memory by running it, and is right here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from remembev.config.schema import LongTermMemoryConfig
from remembev.memory import MemoryState, TokenStore
from remembev.memory.consolidation import consolidate, insert
from remembev.memory.stores import read_store

from .small import assert_same, features, long_term, random_store, run_step, small_memory, stream, working


def never_read(store: TokenStore) -> TokenStore:
    return replace(store, usage=torch.zeros_like(store.usage), life=torch.zeros_like(store.life))


def test_keys_far_from_every_query_are_read_without_nan() -> None:
    store = random_store(20)
    read, counted = read_store(store, torch.full((1, 4, 6), 1e5), torch.ones(1, 4, 6), top_k=5)
    assert read.value.isfinite().all()
    assert read.value.abs().sum() > 0
    torch.testing.assert_close((counted.usage - store.usage).sum(), torch.tensor(6.0))


@pytest.mark.parametrize(("free", "gone"), [(4, 0), (3, 0), (2, 1), (0, 3)])
def test_a_store_evicts_nothing_up_to_its_limit_and_only_the_excess_beyond(free: int, gone: int) -> None:
    store = random_store(10)
    store = replace(store, valid=torch.arange(10)[None] >= free)
    after = insert(store, random_store(3, seed=1))
    assert after.count().item() == min(10, 10 - free + 3)
    kept = set(store.key[0, 0][store.valid[0]].tolist()) & set(after.key[0, 0][after.valid[0]].tolist())
    assert len(kept) == 10 - free - gone


def test_of_tokens_never_read_only_as_many_are_evicted_as_needed() -> None:
    store = never_read(random_store(10))
    after = insert(store, random_store(3, seed=1))
    assert after.count().item() == 10
    assert torch.equal(after.key[..., :7], store.key[..., 3:])


def test_the_limit_holds_without_usage() -> None:
    """Prototypes chosen at random from what was never read, into a full store that was never read."""
    cfg = LongTermMemoryConfig(MAX_TOKENS=10, PROTOTYPES=4, CHOOSE="random")
    store = never_read(random_store(10))
    for draw in range(5):
        fresh = consolidate(never_read(random_store(8, seed=draw)), cfg, draw=torch.tensor([draw]))
        store = insert(store, fresh)
        assert store.count().item() == 10


def test_top_k_and_prototypes_may_exceed_the_tokens() -> None:
    memory = small_memory(TOP_K=1000, LONG_TERM={"MAX_TOKENS": 500, "PROTOTYPES": 400}).eval()
    steps = stream(memory, 8)
    assert all(step.occ_logits.isfinite().all() for step in steps)
    assert long_term(memory, steps[-1].state).count().item() == 3 * 32, "every candidate became a prototype"


def test_without_a_long_term_memory_the_oldest_frames_are_forgotten() -> None:
    memory = small_memory(LONG_TERM={"MAX_TOKENS": 0}, WORKING={"MIN_FRAMES": 1, "MAX_FRAMES": 4}).eval()
    steps = stream(memory, 9)
    assert [step.state.tokens.count().item() // 16 for step in steps] == [1, 2, 3, 3, 3, 3, 3, 3, 3]
    assert len({step.state.tokens.capacity for step in steps}) == 1
    before, after = steps[-2].state.tokens, steps[-1].state.tokens
    assert torch.equal(after.value[..., :32], before.value[..., 16:]), "first in, first out"


def test_every_item_of_a_batch_keeps_its_own_values() -> None:
    memory = small_memory(agents=2).eval()
    state, alone = None, [None, None]
    for t in range(7):
        inputs = [features(t), features(100 + t)]
        state = run_step(memory, t, torch.cat(inputs), state=state).state
        alone = [run_step(memory, t, inputs[item], state=alone[item]).state for item in range(2)]
    assert state is not None
    for one, other in zip(state.split(), alone, strict=True):
        for (name, found), expected in zip(one.named().items(), other.named().values(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, equal_nan=True, msg=name)


def test_a_change_of_map_size_is_an_error_that_names_the_shapes() -> None:
    memory = small_memory().eval()
    state = run_step(memory, 0, features(0)).state
    with pytest.raises(ValueError, match=r"frames_lidar_t: expected \[1, 6, 8, 8\], got \[1, 6, 8, 16\]"):
        run_step(memory, 1, torch.cat((features(1), features(2)), dim=3), state=state)
    other = replace(state, hidden=torch.zeros(1, 1, 4, 2, 2))
    with pytest.raises(ValueError, match=r"state\.hidden: expected \[1, 1, 4, 4, 4\], got \[1, 1, 4, 2, 2\]"):
        run_step(memory, 1, features(1), state=other)
    other = replace(state, tokens=state.tokens.slice(4))
    with pytest.raises(ValueError, match=r"state\.tokens\.value: expected \[1, 1, 4, 44\], got \[1, 1, 4, 40\]"):
        run_step(memory, 1, features(1), state=other)
    with pytest.raises(ValueError, match=r"4 × 4 cells, which doesn.t divide 6 × 6"):
        run_step(memory.train(), 1, features(1), torch.zeros(1, 1, 6, 6), state=state)


def test_the_least_used_are_evicted_whichever_agents_they_have() -> None:
    """A second agent is known only to the newer half of a full store; prototypes hold both."""
    store = random_store(8, agents=2)
    usage = torch.tensor([[5.0, 1.0, 6.0, 7.0, 2.0, 8.0, 3.0, 9.0]])
    has_value = torch.stack((torch.ones(8), torch.arange(8) >= 4)).bool()[None]
    store = replace(
        store, usage=usage, life=torch.ones(1, 8), has_value=has_value, value=store.value * has_value[:, :, None]
    )
    fresh = replace(random_store(3, agents=2, seed=1), has_value=torch.ones(1, 2, 3, dtype=torch.bool))
    after = insert(store, fresh)
    assert_same(after, store.gather(torch.tensor([[0, 2, 3, 5, 7]])).cat(fresh))


def test_agents_of_different_age_stream_through_full_stores() -> None:
    memory = small_memory(agents=3).train()
    state: MemoryState | None = None
    for t in range(14):
        valids = torch.tensor([[True, t > 3, 5 < t < 9]])
        step = run_step(memory, t, features(t), None, torch.ones(1, 3, 4, 4), valids, state=state)
        state = step.state
        assert step.occ_logits.isfinite().all()
        assert state.tokens.has_value[:, 2].any().item() is (5 < t < 9)
    assert state is not None
    assert long_term(memory, state).count().item() == 12
    newest = working(memory, state)
    assert newest.count().item() == 32
    assert newest.has_value[:, 1].all()
    assert not newest.has_value[:, 2].any()
