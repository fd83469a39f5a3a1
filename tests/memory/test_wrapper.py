"""One step of the memory: what it depends on, what it remembers, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory import MemoryState, XMemBackboneWrapper
from remembev.memory.wrapper import combine_slots

GRID = BEVGrid(-8.0, -8.0, 8.0, 8.0, height=4, width=4)
CHANNELS = 6


def wrapper(**changes: object) -> XMemBackboneWrapper:
    torch.manual_seed(0)
    sizes = {"FEATURE_DIM": 8, "KEY_DIM": 4, "VALUE_DIM": 4, "HIDDEN_DIM": 4, "TOP_K": 5, "MAX_FRAMES": 3}
    module = XMemBackboneWrapper(MemoryConfig.model_validate({**sizes, **changes}), CHANNELS, GRID)
    torch.nn.init.normal_(module.decode.occupancy.weight)
    return module


def features(seed: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(seed))


def mask(seed: int, batch: int = 1, agents: int = 1) -> Tensor:
    return (torch.rand(batch, agents, 4, 4, generator=torch.Generator().manual_seed(seed)) > 0.5).float()


def assert_same(first: MemoryState, second: MemoryState) -> None:
    first.zip_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0) or a, second)


def test_an_untrained_gate_is_open() -> None:
    module = XMemBackboneWrapper(MemoryConfig(GATE_BIAS=3.0), CHANNELS, GRID)
    gate = module.forward_step(0, features(0)).occ_logits.sigmoid()
    assert gate.min() > 0.9


def test_the_logits_of_a_frame_do_not_change_with_its_masks_but_later_ones_do() -> None:
    module = wrapper(TEACHER_FORCING=1.0).train()
    one = module.forward_step(0, features(0), mask(1))
    other = module.forward_step(0, features(0), mask(2))
    assert torch.equal(one.occ_logits, other.occ_logits)
    one = module.forward_step(1, features(1), mask(3), state=one.state)
    other = module.forward_step(1, features(1), mask(3), state=other.state)
    assert not torch.equal(one.occ_logits, other.occ_logits)


def test_at_inference_masks_change_nothing_at_all() -> None:
    module = wrapper(TEACHER_FORCING=1.0).eval()
    one = module.forward_step(0, features(0), mask(1))
    other = module.forward_step(0, features(0))
    assert_same(one.state, other.state)


def test_memory_changes_what_the_next_frame_sees() -> None:
    module = wrapper().eval()
    first = module.forward_step(0, features(0))
    with_memory = module.forward_step(1, features(1), state=first.state)
    without = module.forward_step(0, features(1), state=first.state)
    assert not torch.allclose(with_memory.occ_logits, without.occ_logits)


def test_a_step_leaves_the_state_it_was_given_as_it_was() -> None:
    module = wrapper().eval()
    state = module.forward_step(0, features(0)).state
    before = state.map(torch.clone)
    module.forward_step(1, features(1), state=state, prev_from_frame=torch.eye(4)[None])
    assert_same(state, before)


def test_the_store_holds_at_most_its_limit_of_frames() -> None:
    module = wrapper(MAX_FRAMES=3).eval()
    state, counts, sizes = None, [], set()
    for t in range(6):
        state = module.forward_step(t, features(t), state=state).state
        counts.append(state.working.count().item() // 16)
        sizes.add(state.working.key.shape)
    assert counts == [1, 2, 3, 3, 3, 3]
    assert len(sizes) == 1


def test_a_frame_in_every_mem_every_is_written() -> None:
    module = wrapper(MEM_EVERY=3, MAX_FRAMES=5).eval()
    state, counts = None, []
    for t in range(7):
        state = module.forward_step(t, features(t), state=state).state
        counts.append(state.working.count().item() // 16)
    assert counts == [1, 1, 1, 2, 2, 2, 3]


def test_reads_are_counted_in_usage_and_life() -> None:
    module = wrapper().eval()
    state = module.forward_step(0, features(0)).state
    assert state.working.life.sum() == 0
    state = module.forward_step(1, features(1), state=state).state
    seen = state.working.life > 0
    assert seen.sum() == 16
    assert state.working.usage.sum() == pytest.approx(16.0, rel=1e-4)
    assert state.working.usage[~seen].sum() == 0


def test_gradients_reach_frame_zero_from_the_last_frame() -> None:
    module = wrapper().train()
    first = features(0).requires_grad_()
    step = module.forward_step(0, first, mask(0))
    for t in range(1, 4):
        step = module.forward_step(t, features(t), mask(t), state=step.state)
    step.occ_logits.sum().backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_every_weight_of_the_memory_learns() -> None:
    module = wrapper(TEACHER_FORCING=0.0).train()
    step, loss = None, torch.zeros(())
    for t in range(3):
        step = module.forward_step(t, features(t), mask(t), state=step.state if step else None)
        loss = loss + step.occ_logits.square().sum()
    loss.backward()
    idle = [name for name, weight in module.named_parameters() if weight.grad is None or weight.grad.abs().sum() == 0]
    assert idle == []


def test_tokens_know_where_they_are_after_the_car_moved() -> None:
    module = wrapper().eval()
    state = module.forward_step(0, features(0)).state
    moved = torch.eye(4)[None]
    moved[0, 0, 3] = 4.0
    state = module.forward_step(1, features(1), state=state, prev_from_frame=moved).state
    old, new = state.working.position[0, :, 16:32], state.working.position[0, :, 32:]
    torch.testing.assert_close(old, new - torch.tensor([[4.0], [0.0], [0.0]]))


def test_explicit_alignment_is_implicit_alignment_without_motion() -> None:
    module = wrapper().eval()
    state = module.forward_step(0, features(0)).state
    still = module.forward_step(1, features(1), state=state, prev_from_frame=torch.eye(4)[None])
    unmoved = module.forward_step(1, features(1), state=state)
    torch.testing.assert_close(still.occ_logits, unmoved.occ_logits, atol=1e-4, rtol=1e-4)


def test_agents_have_values_and_hidden_states_of_their_own_under_shared_keys() -> None:
    module = wrapper(TEACHER_FORCING=1.0).train()
    agent_masks = mask(1, agents=2)
    valids = torch.tensor([[True, True]])
    state = module.forward_step(0, features(0), mask(0), agent_masks, valids).state
    assert state.hidden.shape[1] == state.working.value.shape[1] == 2
    assert not torch.equal(state.working.value[:, 0], state.working.value[:, 1])


def test_one_agent_slot_is_the_scene_bit_for_bit() -> None:
    module = wrapper(TEACHER_FORCING=1.0).train()
    scene = module.forward_step(0, features(0), mask(1))
    slot = module.forward_step(0, features(0), mask(2), mask(1), torch.tensor([[True]]))
    assert torch.equal(scene.occ_logits, slot.occ_logits)
    assert_same(scene.state, slot.state)


def test_slots_combine_to_the_probability_that_any_agent_is_there() -> None:
    logits = torch.randn(2, 3, 4, 4)
    valids = torch.tensor([[True, True, True], [True, False, True]])
    free = (1 - logits.sigmoid() * valids[:, :, None, None]).prod(dim=1, keepdim=True)
    torch.testing.assert_close(combine_slots(logits, valids).sigmoid(), 1 - free)


def test_items_of_a_batch_do_not_see_each_other() -> None:
    module = wrapper().eval()
    both = module.forward_step(0, torch.cat((features(0), features(1))))
    both = module.forward_step(1, torch.cat((features(2), features(3))), state=both.state)
    swapped = module.forward_step(0, torch.cat((features(0), features(7))))
    swapped = module.forward_step(1, torch.cat((features(2), features(8))), state=swapped.state)
    assert torch.equal(both.occ_logits[0], swapped.occ_logits[0])
