"""The recurrent baseline: what it starts as, what it sees, how it moves."""

from __future__ import annotations

import torch

from remembev.geometry import BEVGrid
from remembev.memory import ConvGRUBEVModule, FrameContext
from remembev.memory.alignment import resample_hidden
from remembev.memory.conv_gru import ConvGRU

from .small import CHANNELS, FEATURE_GRID, features, planar, small_config


def module(*, trained: bool = True) -> ConvGRUBEVModule:
    torch.manual_seed(0)
    made = ConvGRUBEVModule(small_config(NAME="ConvGRUBEVModule"), CHANNELS, FEATURE_GRID)
    if trained:
        torch.nn.init.normal_(made.recurrent.project.weight)
    return made.eval()


def test_untrained_it_changes_the_features_little() -> None:
    memory = module(trained=False)
    for t in range(3):
        changed, occ_logits = memory(features(t), ["a"], t)
        assert 0 < (changed - features(t)).abs().max() < 0.01
        assert occ_logits is None


def test_untrained_it_passes_the_gradient_of_a_frame_to_the_frame_before() -> None:
    memory, first = module(trained=False).train(), features(0).requires_grad_()
    _, _, state = memory.step(first, memory.initial_state(1), FrameContext())
    changed, _, _ = memory.step(features(1), state, FrameContext())
    (gradient,) = torch.autograd.grad(changed.square().sum(), first)
    assert gradient.any()


def test_it_uses_the_past_of_its_scene_from_the_first_frame_on() -> None:
    memory = module()
    memory(features(0), ["a"], 0)
    after_one, _ = memory(features(1), ["a"], 1)
    memory(features(7), ["a"], 0)
    after_another, _ = memory(features(1), ["a"], 1)
    first, _ = memory(features(1), ["a"], 0)
    assert not torch.allclose(after_one, after_another)
    assert torch.equal(first, module()(features(1), ["b"], 0)[0])


def test_its_hidden_state_follows_the_ego_motion() -> None:
    memory = module()
    _, _, state = memory.step(features(0), memory.initial_state(1), FrameContext())
    motion = planar(4.0, 0.0)
    moved, _, _ = memory.step(features(1), state, FrameContext(prev_from_frame=motion))
    by_hand = type(state)(resample_hidden(state.hidden, motion, FEATURE_GRID.strided(2)))
    expected, _, _ = memory.step(features(1), by_hand, FrameContext())
    assert torch.equal(moved, expected)
    assert not torch.allclose(moved, memory.step(features(1), state, FrameContext())[0])


def test_its_unit_equals_the_formula() -> None:
    """h' = (1 − z) h + z tanh(W [x, r h]), z and r = σ(W [x, h])."""
    unit, x, h = ConvGRU(2, 3), torch.randn(1, 2, 5, 5), torch.randn(1, 3, 5, 5)
    z, r = unit.gates(torch.cat((x, h), dim=1)).sigmoid().split(3, dim=1)
    expected = (1 - z) * h + z * unit.candidate(torch.cat((x, r * h), dim=1)).tanh()
    torch.testing.assert_close(unit(x, h), expected)


def test_it_learns_through_time() -> None:
    memory = module().train()
    first = features(0).requires_grad_()
    _, _, state = memory.step(first, memory.initial_state(1), FrameContext())
    for t in range(1, 3):
        changed, _, state = memory.step(features(t), state, FrameContext(prev_from_frame=planar(0.5, 0.1)))
    changed.square().sum().backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert all(weight.grad is not None and weight.grad.any() for weight in memory.parameters())


def test_its_state_has_the_same_size_after_a_hundred_frames() -> None:
    memory = module()
    state = memory.initial_state(1)
    with torch.no_grad():
        for t in range(100):
            changed, _, state = memory.step(features(t), state, FrameContext())
    assert state.hidden.shape == memory.initial_state(1).hidden.shape == (1, 1, 4, 4, 4)
    assert state.hidden.abs().max() <= 1
    assert changed.isfinite().all()


def test_it_works_in_bfloat16_with_a_float32_state() -> None:
    memory = module().train()
    with torch.autocast("cpu", torch.bfloat16):
        _, _, state = memory.step(features(0), memory.initial_state(1), FrameContext())
        changed, _, state = memory.step(features(1), state, FrameContext(prev_from_frame=planar(0.5, 0.1)))
    assert state.hidden.dtype == torch.float32
    changed.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in memory.parameters())


def test_it_works_on_the_memory_s_grid() -> None:
    assert module().recurrent.grid == BEVGrid(-8.0, -8.0, 8.0, 8.0, height=4, width=4)
