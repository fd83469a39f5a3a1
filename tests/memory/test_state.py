"""The token store and the state: capacity, order, batches."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remembev.memory import MemoryState, TokenStore

CPU = torch.device("cpu")


def tokens(batch: int, count: int, mark: float) -> TokenStore:
    empty = TokenStore.empty(batch, 1, 2, 3, count, CPU)
    return empty.map(lambda tensor: torch.ones_like(tensor) if tensor.dtype == torch.bool else tensor + mark)


@given(capacity_in_frames=st.integers(1, 4), writes=st.integers(0, 7), count=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_store_keeps_the_newest_frames_in_order_and_never_grows(
    capacity_in_frames: int, writes: int, count: int
) -> None:
    store = TokenStore.empty(1, 1, 2, 3, capacity_in_frames * count, CPU)
    for frame in range(writes):
        store = store.append(tokens(1, count, frame), torch.tensor([True]))
    kept = list(range(writes))[-capacity_in_frames:]
    assert store.capacity == capacity_in_frames * count
    assert store.count().item() == len(kept) * count
    assert store.key[0, 0][store.valid[0]].tolist() == [frame for frame in kept for _ in range(count)]


def test_an_item_that_does_not_write_keeps_its_tokens() -> None:
    store = TokenStore.empty(2, 1, 2, 3, 4, CPU).append(tokens(2, 2, 5.0), torch.tensor([True, False]))
    assert store.count().tolist() == [2, 0]
    assert store.value[1].abs().sum() == 0


def test_a_batch_of_states_splits_and_stacks_back() -> None:
    state = MemoryState(
        hidden=torch.randn(3, 1, 2, 4, 4),
        working=TokenStore.empty(3, 1, 2, 3, 4, CPU).append(tokens(3, 2, 5.0), torch.tensor([True, False, True])),
        frames=torch.arange(3),
    )
    again = MemoryState.stack(state.split())
    assert torch.equal(again.hidden, state.hidden)
    assert torch.equal(again.working.valid, state.working.valid)
    assert again.frames.tolist() == [0, 1, 2]


def test_gradients_pass_through_what_is_stored() -> None:
    fresh = tokens(1, 2, 1.0)
    value = fresh.value.clone().requires_grad_()
    store = TokenStore.empty(1, 1, 2, 3, 4, CPU).append(
        TokenStore(**{**vars(fresh), "value": value}), torch.tensor([True])
    )
    store.value.sum().backward()
    assert value.grad is not None
    assert torch.equal(value.grad, torch.ones_like(value))
