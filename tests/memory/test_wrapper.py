"""One step of the memory: what it depends on, what it remembers, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import assert_has_gradients
from torch import Tensor

from remembev.memory import MemoryState, MemoryStep, TokenStore, XMemBackboneWrapper
from remembev.memory.wrapper import combine_readouts, combine_slots

from .small import (
    CHANNELS,
    FEATURE_GRID,
    assert_same,
    features,
    long_term,
    mask,
    planar,
    run_step,
    small_config,
    small_memory,
    stream,
    working,
)


def test_an_untrained_gate_is_open() -> None:
    memory = XMemBackboneWrapper(small_config(GATE_BIAS=3.0), CHANNELS, FEATURE_GRID)
    assert run_step(memory, 0, features(0)).occ_logits.sigmoid().min() > 0.9


def test_the_readout_has_the_sensory_memory_updated_by_the_frame() -> None:
    memory = small_memory(MEM_EVERY=2).eval()
    first, second = stream(memory, 2)  # of which the second is not written, so that nothing else changes its state
    assert torch.equal(second.readout[:, -memory.cfg.HIDDEN_DIM :], second.state.hidden[:, 0])
    assert not torch.equal(second.state.hidden, first.state.hidden)


def as_the_document_has_it(memory: XMemBackboneWrapper, t: int, keep_graph: bool = False) -> Tensor:
    return memory.forward_step(t, features(t), mask(t), None, None, keep_graph=keep_graph)


def test_without_a_state_the_memory_is_kept_from_call_to_call_and_begins_anew_at_zero() -> None:
    memory = small_memory().eval()
    expected = [step.occ_logits for step in stream(memory, 4)]
    for _ in range(2):
        for t in range(4):
            assert torch.equal(as_the_document_has_it(memory, t), expected[t])


def test_a_step_with_a_state_leaves_the_kept_memory_alone() -> None:
    memory = small_memory().eval()
    expected = [step.occ_logits for step in stream(memory, 3)]
    for t in range(3):
        assert torch.equal(as_the_document_has_it(memory, t), expected[t])
        memory.forward_step(t, features(9), state=memory.initial_state(1))


def test_a_later_frame_without_any_memory_is_an_error_that_says_what_to_do() -> None:
    memory = small_memory().eval()
    for t in (3, [0, 3]):
        with pytest.raises(ValueError, match="t > 0, but there is no memory of an earlier frame; begin with t = 0"):
            memory.forward_step(t, features(3, batch=2))
    memory.forward_step(0, features(0))
    with pytest.raises(ValueError, match=r"frames_lidar_t: expected \[1, 6, 8, 8\], got \[2, 6, 8, 8\]"):
        memory.forward_step(1, features(1, batch=2))
    with pytest.raises(ValueError, match=r"state\.hidden: expected \[2, 1, 4, 4, 4\], got \[1, 1, 4, 4, 4\]"):
        memory.forward_step([0, 1], features(1, batch=2))
    with pytest.raises(ValueError, match="t: expected one number or 2, one for each item of the batch, got 3"):
        memory.forward_step([0, 0, 0], features(1, batch=2))


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_an_item_at_its_first_frame_begins_anew_and_its_neighbour_does_not(kind: Callable[[Any], Any]) -> None:
    memory = small_memory().eval()
    both = [torch.cat((features(t), features(10 + t))) for t in range(3)]
    alone = [step.occ_logits for step in stream(memory, 3)]
    memory.forward_step(0, both[0])
    memory.forward_step(kind([1, 1]), both[1])
    occ_logits = memory.forward_step(kind([2, 0]), both[2])
    torch.testing.assert_close(occ_logits[:1], alone[2])
    torch.testing.assert_close(occ_logits[1:], memory.forward_step(0, features(12)))
    state = memory.forward_step(0, both[0], state=memory.initial_state(2)).state
    step = memory.forward_step(kind([0, 1]), both[1], state=state)
    torch.testing.assert_close(step.occ_logits[:1], memory.forward_step(0, features(1)))
    assert not torch.allclose(step.occ_logits[1:], memory.forward_step(0, features(11)))


def test_the_loss_of_every_frame_can_be_back_propagated_at_once() -> None:
    memory = small_memory().train()
    for t in range(4):
        memory.zero_grad()
        as_the_document_has_it(memory, t).square().mean().backward()
        read = (memory.project.key, memory.project.selection) if t > 0 else ()  # at 0 there are no tokens to read
        for part in (memory.features, memory.decode.fuse, memory.decode.occupancy, *read):
            assert_has_gradients(part)
        kept = memory._kept
        assert kept is not None
        assert not any(tensor.requires_grad for tensor in kept.named().values())


def test_the_kept_memory_has_a_gradient_to_earlier_frames_where_that_is_asked_for() -> None:
    for keep_graph in (True, False):
        memory, first = small_memory().train(), features(0).requires_grad_()
        memory.forward_step(0, first, mask(0), keep_graph=keep_graph)
        losses = [as_the_document_has_it(memory, t, keep_graph).square().mean() for t in range(1, 4)]
        torch.stack(losses).mean().backward()
        assert (first.grad is not None and bool(first.grad.any())) == keep_graph


def test_the_logits_of_a_frame_do_not_change_with_its_masks_but_later_ones_do() -> None:
    memory = small_memory().train()
    one, other = (run_step(memory, 0, features(0), mask(seed)) for seed in (1, 2))
    assert torch.equal(one.occ_logits, other.occ_logits)
    one, other = (run_step(memory, 1, features(1), mask(3), state=step.state) for step in (one, other))
    assert not torch.equal(one.occ_logits, other.occ_logits)


@given(t=st.integers(0, 4), seed=st.integers(0, 100))
@settings(max_examples=20)
def test_masks_and_agents_of_a_frame_do_not_change_its_outputs(t: int, seed: int) -> None:
    memory = small_memory(agents=3).train()
    state = _clip(memory, t) if t > 0 else None
    generator = torch.Generator().manual_seed(seed)
    steps = []
    for _ in range(2):
        masks = torch.rand(1, 3, 4, 4, generator=generator).round()
        valids = torch.rand(1, 3, generator=generator) > 0.5
        steps.append(run_step(memory, t, features(t), None, masks, valids, state=state))
    assert torch.equal(steps[0].occ_logits, steps[1].occ_logits)
    assert torch.equal(steps[0].readout, steps[1].readout)


def _clip(memory: XMemBackboneWrapper, frames: int) -> MemoryState:
    """The state after a clip with an agent in the second slot from the first frame on, and one in the third later."""
    state: MemoryState | None = None
    for t in range(frames):
        valids = torch.tensor([[True, True, t >= 2]])
        state = run_step(memory, t, features(t), None, mask(t, agents=3), valids, state=state).state
    assert state is not None
    return state


def test_at_inference_masks_change_nothing_at_all() -> None:
    memory = small_memory().eval()
    one, other = run_step(memory, 0, features(0), mask(1)), run_step(memory, 0, features(0))
    assert_same(one.state, other.state)


def test_memory_changes_the_next_frame_s_occupancy() -> None:
    memory = small_memory().eval()
    first = run_step(memory, 0, features(0))
    with_memory = run_step(memory, 1, features(1), state=first.state)
    without = run_step(memory, 0, features(1), state=first.state)
    assert not torch.allclose(with_memory.occ_logits, without.occ_logits)


def test_a_step_does_not_change_its_input_state() -> None:
    memory = small_memory(agents=2).eval()
    state = stream(memory, 4)[-1].state
    before = state.map(torch.clone)
    run_step(memory, 4, features(4), state=state, prev_from_frame=planar(1.0, 0.5, 0.1))
    assert_same(state, before)


def test_the_working_memory_has_min_to_max_frames_and_the_rest_is_consolidated() -> None:
    memory = small_memory(WORKING={"MIN_FRAMES": 2, "MAX_FRAMES": 5}).eval()
    steps = stream(memory, 13)
    assert [working(memory, step.state).count().item() // 16 for step in steps] == [
        1,
        2,
        3,
        4,
        2,
        3,
        4,
        2,
        3,
        4,
        2,
        3,
        4,
    ]
    assert [long_term(memory, step.state).count().item() for step in steps] == [0] * 4 + [6] * 3 + [12] * 6


@given(
    frames=st.integers(1, 9),
    least=st.integers(1, 3),
    more=st.integers(1, 3),
    room=st.integers(0, 20),
    prototypes=st.integers(1, 20),
    every=st.integers(1, 3),
    top=st.integers(1, 16) | st.none(),
)
@settings(max_examples=25)
def test_the_shapes_of_a_state_never_change(
    frames: int, least: int, more: int, room: int, prototypes: int, every: int, top: int | None
) -> None:
    memory = small_memory(
        WORKING={"MIN_FRAMES": least, "MAX_FRAMES": least + more},
        LONG_TERM={"MAX_TOKENS": room, "PROTOTYPES": min(prototypes, room) or 1},
        MEM_EVERY=every,
        FOREGROUND={"TOKENS": top},
    ).eval()
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in memory.initial_state(1).named().items()}
    for step in stream(memory, frames, prev_from_frame=planar(0.5, 0.0), timestamp=torch.zeros(1).double()):
        assert {name: (tensor.shape, tensor.dtype) for name, tensor in step.state.named().items()} == expected
        assert step.occ_logits.isfinite().all()


def test_reads_are_counted_in_usage_and_life() -> None:
    memory = small_memory().eval()
    state = run_step(memory, 0, features(0)).state
    assert not state.tokens.life.any()
    tokens = run_step(memory, 1, features(1), state=state).state.tokens
    read = tokens.life > 0
    assert read.sum() == 16
    assert tokens.usage.sum() == pytest.approx(16.0, rel=1e-4)
    assert not tokens.usage[~read].any()


def test_an_empty_memory_reads_a_learnt_value() -> None:
    memory, read = small_memory().eval(), []
    torch.nn.init.normal_(memory.empty_readout)
    memory.decode.register_forward_pre_hook(lambda _, inputs: read.append(inputs[1]))
    run_step(memory, 0, features(0))
    assert torch.equal(read[0], memory.empty_readout.detach()[None, None, :, None].expand(1, 1, -1, 16))


def test_gradients_reach_frame_zero_from_the_last_frame() -> None:
    memory = small_memory().train()
    first = features(0).requires_grad_()
    step = run_step(memory, 0, first, mask(0))
    for t in range(1, 4):
        step = run_step(memory, t, features(t), mask(t), state=step.state)
    step.occ_logits.sum().backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_gradients_reach_frame_zero_through_a_consolidation() -> None:
    """The sensory memory is cleared after every frame, and what is written is the truth: nothing else leads back."""
    memory = small_memory().train()
    first = features(0).requires_grad_()
    state = run_step(memory, 0, first, mask(0)).state
    of_first = state.tokens.key[..., -16:]
    for t in range(1, 4):
        state = run_step(memory, t, features(t), mask(t), state=state, teacher_forcing=1.0).state
        state = replace(state, hidden=torch.zeros_like(state.hidden))
    prototypes, recent = long_term(memory, state), working(memory, state)
    assert torch.isin(prototypes.key, of_first).any()
    assert not torch.isin(recent.key, of_first).any()

    def gradient(prototypes: TokenStore) -> Tensor:
        step = run_step(memory, 4, features(4), mask(4), state=replace(state, tokens=prototypes.cat(recent)))
        return torch.autograd.grad(step.occ_logits.sum(), first, retain_graph=True)[0]

    assert gradient(prototypes).any()
    assert not gradient(prototypes.detach()).any()


def test_a_frame_that_repeats_itself_leaves_no_difference_but_one_that_vanishes_does() -> None:
    memory = small_memory(SENSORY="difference").eval()
    sensed = memory.cfg.FEATURE_DIM
    step = None
    for _ in range(6):
        step = run_step(memory, 1, features(0), state=step.state if step else None)
        torch.testing.assert_close(step.readout[:, sensed:], torch.zeros(1, memory.cfg.HIDDEN_DIM, 4, 4))
        assert step.state.hidden.any()
    assert run_step(memory, 1, features(1), state=step.state).readout[:, sensed:].any()


@pytest.mark.parametrize(
    "changes", [{}, {"READ": {"DISTANCE": "5 m", "AGE": "2 s"}}, {"SENSORY": "difference", "VALUE_DIM": 16}]
)
def test_every_weight_of_the_memory_learns(changes: dict[str, object]) -> None:
    memory = small_memory(**changes).train()
    step, loss = None, torch.zeros(())
    for t in range(4):
        step = run_step(
            memory,
            t,
            features(t),
            mask(t),
            state=step.state if step else None,
            prev_from_frame=planar(0.4, 0.1),
            timestamp=torch.tensor([0.5 * t]).double(),
            teacher_forcing=0.0,
        )
        loss = loss + step.occ_logits.square().sum()
    loss.backward()
    weights = dict(memory.named_parameters())
    assert ("log_distance" in weights) is ("log_age" in weights) is ("READ" in changes)
    assert [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()] == []


def test_an_empty_memory_gives_no_nan() -> None:
    """No cell is ever worth writing: every read is of nothing, and so is every consolidation."""
    memory = small_memory(agents=2, FOREGROUND={"MIN": 0.5}, READ={"DISTANCE": "5 m", "AGE": "2 s"}).train()
    step: MemoryStep | None = None
    loss = torch.zeros(())
    for t in range(7):
        step = run_step(memory,
            t, features(t), None, torch.zeros(1, 2, 4, 4), torch.tensor([[True, t % 3 == 1]]),
            state=step.state if step else None, prev_from_frame=planar(1.0, 0.0), teacher_forcing=1.0,
        )  # fmt: skip
        loss = loss + step.occ_logits.square().sum() + step.readout.square().sum()
    assert step is not None
    assert not step.state.tokens.valid.any()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in memory.parameters())


def test_the_memory_works_in_bfloat16_with_a_float32_state() -> None:
    memory = small_memory(agents=2, READ={"DISTANCE": "5 m", "AGE": "2 s"}).train()
    state, exact = None, None
    for t in range(6):
        arguments = {"prev_from_frame": planar(0.5, 0.2, 0.1), "timestamp": torch.tensor([0.5 * t]).double()}
        masks = (None, mask(t, agents=2), torch.tensor([[True, t > 1]]))
        with torch.autocast("cpu", torch.bfloat16):
            step = run_step(memory, t, features(t), *masks, state=state, **arguments)
        plain = run_step(memory, t, features(t), *masks, state=exact, **arguments)
        state, exact = step.state, plain.state
        assert step.occ_logits.dtype == step.readout.dtype == torch.float32
        torch.testing.assert_close(step.occ_logits, plain.occ_logits, rtol=0.1, atol=0.5)
    assert state is not None
    assert exact is not None
    for (name, one), other in zip(state.named().items(), exact.named().values(), strict=True):
        assert one.dtype == other.dtype, name
        assert one.isfinite().all(), name
    step.occ_logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in memory.parameters())


def test_items_of_a_batch_do_not_see_each_other() -> None:
    memory = small_memory().eval()

    def second_frame(other: int) -> Tensor:
        both = run_step(memory, 0, torch.cat((features(0), features(other))))
        return run_step(memory, 1, torch.cat((features(2), features(other + 1))), state=both.state).occ_logits

    assert torch.equal(second_frame(1)[0], second_frame(7)[0])


def test_slots_combine_to_the_probability_that_any_agent_is_there() -> None:
    logits = torch.randn(2, 3, 4, 4)
    occupied = torch.tensor([[True, True, True], [True, False, True]])
    free = (1 - logits.sigmoid() * occupied[:, :, None, None]).prod(dim=1, keepdim=True)
    torch.testing.assert_close(combine_slots(logits, occupied).sigmoid(), 1 - free)


def test_combined_logits_are_finite_however_sure_the_slots_are() -> None:
    logits = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4]).view(1, 1, 1, 5).expand(1, 3, 1, 5).clone().requires_grad_()
    combined = combine_slots(logits, torch.ones(1, 3, dtype=torch.bool))
    assert combined.isfinite().all()
    assert combined.diff().min() >= 0
    combined.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_readouts_are_weighted_by_the_slots_claims_on_a_cell() -> None:
    readout, logits = torch.randn(1, 3, 4, 2, 2), torch.randn(1, 3, 2, 2)
    occupied = torch.tensor([[True, True, False]])
    share = logits.sigmoid()[:, :2] / logits.sigmoid()[:, :2].sum(dim=1, keepdim=True)
    expected = (readout[:, :2] * share[:, :, None]).sum(dim=1)
    torch.testing.assert_close(combine_readouts(readout, logits, occupied), expected)
