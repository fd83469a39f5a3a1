"""What the memory does to the features, and what it writes in training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from remembev.memory import FrameContext, MemoryStep, XMemBEVModule, gate

from .small import CHANNELS, FEATURE_GRID, mask, scene_features, small_config, small_module

# --------------------------------------------------------------------------------------------------------------- fusion


FUSIONS = ("gate", "gate_and_read", "gate_residual", "gate_residual_and_read")


def stepped(memory: XMemBEVModule, progress: float = 1.0) -> tuple[Tensor, Tensor, MemoryStep]:
    """A frame's features, the same changed by a memory of one frame, and the step of the memory that changed them."""
    before = memory.xmem.step(scene_features("a", 0), memory.initial_state(1), FrameContext()).state
    bev = scene_features("a", 1)
    torch.manual_seed(0)
    changed, _, _ = memory.step(bev, before, FrameContext(), progress)
    torch.manual_seed(0)
    return bev, changed, memory.xmem.step(bev, before, FrameContext())


def test_the_gate_multiplies_the_features_and_does_nothing_else() -> None:
    memory = small_module(FUSION="gate")
    assert {name.split(".")[0] for name, _ in memory.named_parameters()} == {"xmem"}
    bev, changed, step = stepped(memory)
    opened = F.interpolate(step.occ_logits, bev.shape[-2:], mode="bilinear").sigmoid()
    assert opened.min() < 0.3 < 0.9 < opened.max()
    assert torch.equal(changed, bev * opened)


def test_gate_and_read_is_the_product_with_the_gate_plus_the_readout() -> None:
    memory = small_module(FUSION="gate_and_read")
    bev, changed, step = stepped(memory)
    assert memory.add_read is not None
    expected = bev * gate(step.occ_logits, bev) + memory.add_read(step.readout)
    torch.testing.assert_close(changed, expected)


def test_gate_residual_adds_the_projected_product_and_its_gate() -> None:
    memory = small_module(FUSION="gate_residual_and_read")
    bev, changed, step = stepped(memory)
    opened = gate(step.occ_logits, bev)
    assert memory.add_gated is not None
    assert memory.add_read is not None
    projected = memory.add_gated.project(torch.cat((bev * opened, opened), dim=1))
    torch.testing.assert_close(changed, bev + projected + memory.add_read(step.readout))


def test_the_gate_is_brought_in_while_the_training_passes_its_ramp() -> None:
    memory = small_module(FUSION="gate", GATE_RAMP=[0.2, 0.6]).train()
    for progress, strength in ((0.0, 0.0), (0.2, 0.0), (0.3, 0.25), (0.6, 1.0), (1.0, 1.0)):
        bev, changed, step = stepped(memory, progress)
        torch.testing.assert_close(changed, bev * (1 - strength * (1 - gate(step.occ_logits, bev))))


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_at_inference_the_gate_has_its_full_strength_whatever_the_progress(progress: float) -> None:
    memory = small_module(FUSION="gate", GATE_RAMP=[0.2, 0.6]).eval()
    bev, changed, step = stepped(memory, progress)
    assert torch.equal(changed, bev * gate(step.occ_logits, bev))


def fresh_module(fusion: str) -> XMemBEVModule:
    torch.manual_seed(0)
    return XMemBEVModule(small_config(FUSION=fusion), CHANNELS, FEATURE_GRID)


def test_with_a_fresh_gate_the_training_starts_with_the_features_as_they_were() -> None:
    bev, changed, _ = stepped(fresh_module("gate").train(), progress=0.0)
    assert torch.equal(changed, bev)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("training", [True, False])
def test_a_fresh_memory_changes_the_features_little(fusion: str, training: bool) -> None:
    bev, changed, _ = stepped(fresh_module(fusion).train(training), progress=0.0)
    of_gate = 0.05 if "residual" not in fusion and not training else 0.0  # the gate is σ(3) at first
    assert (changed - bev).abs().max() <= of_gate * bev.abs().max() + 0.02


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_last_frame_s_features_have_a_gradient_to_the_first_frame_s(fusion: str) -> None:
    """From the first step on, except through a gate that has no strength yet."""
    memory = fresh_module(fusion).train()
    for progress in (0.0, 0.1):
        first = scene_features("a", 0).requires_grad_()
        _, _, state = memory.step(first, memory.initial_state(1), FrameContext(scene_masks=mask(0)), progress)
        changed, _, _ = memory.step(scene_features("a", 1), state, FrameContext(scene_masks=mask(1)), progress)
        (gradient,) = torch.autograd.grad(changed.square().sum(), first)
        assert bool(gradient.any()) == (fusion != "gate" or progress > 0)


def test_gate_and_read_learns_to_restore_features_that_the_frame_lacks() -> None:
    """Where the features are zero a gate can do nothing; what is read can."""
    memory = small_module(FUSION="gate_and_read").train()
    memory(scene_features("a", 0), ["a"], 0, FrameContext(scene_masks=mask(0)))
    dark = torch.zeros(1, CHANNELS, 8, 8)
    optimizer = torch.optim.SGD(memory.parameters(), lr=0.1)
    state = memory.load_states(["a"], 1).detach()
    for _ in range(2):
        changed, _, _ = memory.step(dark, state, FrameContext(scene_masks=mask(1)))
        optimizer.zero_grad()
        (changed - 1).square().mean().backward()
        assert memory.add_read is not None
        assert memory.add_read.project.bias.grad is not None
        assert memory.add_read.project.bias.grad.abs().min() > 0
        assert memory.xmem.project.key.bias.grad is not None
        assert memory.xmem.project.key.bias.grad.any()
        optimizer.step()
    assert changed.abs().sum() > 0


# ------------------------------------------------------------------------------------------------------ teacher forcing


def written_values(memory: XMemBEVModule, seed: int, batch: int, progress: float) -> Tensor:
    """What one step writes for a batch of equal frames, with masks that depend on the seed."""
    torch.manual_seed(7)
    bev, masks = scene_features("a", 0).expand(batch, -1, -1, -1), mask(seed).expand(batch, -1, -1, -1)
    context = FrameContext(scene_masks=masks)
    return memory.step(bev, memory.initial_state(batch), context, progress)[2].tokens.value


RISING = {"TEACHER_FORCING": {"START": 0.0, "END": 1.0}}
"""Teacher forcing whose share is the progress of the training."""


def test_with_full_teacher_forcing_the_true_masks_are_written_and_with_none_never() -> None:
    memory = small_module(**RISING).train()
    assert not torch.equal(written_values(memory, 1, 1, 1.0), written_values(memory, 2, 1, 1.0))
    assert torch.equal(written_values(memory, 1, 1, 0.0), written_values(memory, 2, 1, 0.0))


def test_in_between_each_item_is_forced_with_its_probability() -> None:
    memory = small_module(**RISING).train()
    mixed, forced, own = (written_values(memory, 1, 200, share) for share in (0.3, 1.0, 0.0))

    def like(values: Tensor) -> Tensor:
        return (mixed - values).abs().amax(dim=(1, 2, 3)) < 1e-4

    assert torch.equal(like(forced), ~like(own))
    assert 40 <= like(forced).sum() <= 80


def test_at_inference_nothing_is_forced() -> None:
    memory = small_module(**RISING).eval()
    assert torch.equal(written_values(memory, 1, 1, 1.0), written_values(memory, 2, 1, 1.0))
