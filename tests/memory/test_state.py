"""The records of tensors: order, batches, names, gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.memory import MemoryState, TokenStore

from .small import CPU, assert_same, random_store, small_memory, stream


def marked(count: int, mark: float) -> TokenStore:
    return TokenStore.empty(1, 1, 2, 3, count, CPU).map(
        lambda tensor: torch.ones_like(tensor) if tensor.dtype == torch.bool else tensor + mark
    )


@given(capacity_in_frames=st.integers(1, 4), writes=st.integers(0, 7), count=st.integers(1, 3))
def test_the_store_keeps_the_newest_frames_in_order_and_never_grows(
    capacity_in_frames: int, writes: int, count: int
) -> None:
    store = TokenStore.empty(1, 1, 2, 3, capacity_in_frames * count, CPU)
    for frame in range(writes):
        store = store.append(marked(count, frame))
    kept = list(range(writes))[-capacity_in_frames:]
    assert store.capacity == capacity_in_frames * count
    assert store.count().item() == len(kept) * count
    assert store.key[0, 0][store.valid[0]].tolist() == [frame for frame in kept for _ in range(count)]


def test_slices_of_a_store_concatenate_to_the_store() -> None:
    store = random_store(7, batch=2, agents=2)
    assert_same(store.slice(0, 3).cat(store.slice(3)), store)


def test_tokens_are_gathered_in_order_for_each_item() -> None:
    store = random_store(5, batch=2, agents=2)
    picked = store.gather(torch.tensor([[4, 0], [1, 3]]))
    assert torch.equal(picked.value[0], store.value[0][..., [4, 0]])
    assert torch.equal(picked.key[1], store.key[1][:, [1, 3]])
    assert torch.equal(picked.valid[1], store.valid[1][[1, 3]])


def test_a_token_never_read_has_a_usage_rate_of_zero() -> None:
    store = random_store(4)
    store = replace(store, usage=torch.tensor([[0.0, 3.0, 0.5, 0.0]]), life=torch.tensor([[0.0, 2.0, 5.0, 4.0]]))
    torch.testing.assert_close(store.usage_rate, torch.tensor([[0.0, 1.5, 0.1, 0.0]]))


def test_a_batch_of_states_splits_and_stacks_back() -> None:
    memory = small_memory().eval()
    states = [step.state for step in stream(memory, 3)]
    batch = MemoryState.stack(states)
    assert batch.frames.tolist() == [1, 2, 3]
    for state, again in zip(states, batch.split(), strict=True):
        assert_same(state, again)


def test_where_selects_items_of_a_batch() -> None:
    memory = small_memory().eval()
    one, other = (MemoryState.stack([step.state] * 2) for step in stream(memory, 2))
    mixed = one.where(torch.tensor([True, False]), other)
    assert mixed.frames.tolist() == [1, 2]
    assert_same(mixed.split()[0], one.split()[0])
    assert_same(mixed.split()[1], other.split()[1])


def test_a_state_survives_a_round_trip_through_named_tensors() -> None:
    memory = small_memory(agents=2).eval()
    state = stream(memory, 2)[-1].state
    named = state.named()
    assert {"hidden", "tokens.key", "slots.boxes", "timestamp"} <= set(named)
    assert_same(memory.initial_state(1).with_named(named), state)


def test_no_two_tensors_of_a_new_state_share_their_storage() -> None:
    named = small_memory(agents=2).initial_state(2).named()
    starts = [tensor.untyped_storage().data_ptr() + tensor.storage_offset() for tensor in named.values()]
    assert len(set(starts)) == len(named)


def test_gradients_pass_through_the_store() -> None:
    fresh = marked(2, 1.0)
    value = fresh.value.clone().requires_grad_()
    store = TokenStore.empty(1, 1, 2, 3, 4, CPU).append(replace(fresh, value=value))
    store.value.sum().backward()
    assert value.grad is not None
    assert torch.equal(value.grad, torch.ones_like(value))


def test_a_detached_state_has_no_gradient_history() -> None:
    state = stream(small_memory().train(), 2)[-1].state
    assert state.tokens.value.requires_grad
    assert not any(tensor.requires_grad for tensor in state.detach().named().values())
