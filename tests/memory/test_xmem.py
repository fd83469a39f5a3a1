"""What the memory does to the features, and what it writes in training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from remembev.memory import FrameContext, XMemBEVModule, gate

from .small import CHANNELS, FEATURE_GRID, mask, scene_features, small_config, small_module

# --------------------------------------------------------------------------------------------------------------- fusion


def test_gated_features_and_the_gate_are_added() -> None:
    memory = small_module()
    bev = scene_features("a", 0)
    gated, occ_logits = memory(bev, ["a"], 0)
    open_by = gate(occ_logits, bev)
    assert open_by.shape == (1, 1, 8, 8)
    assert 0 <= open_by.min() < open_by.max() <= 1
    brought_in = memory.add_gated.project(torch.cat((bev * open_by, open_by), dim=1))
    torch.testing.assert_close(gated, bev + brought_in)


@pytest.mark.parametrize("fusion", ["gate", "gate_and_read"])
def test_a_fresh_memory_changes_nothing(fusion: str) -> None:
    memory = XMemBEVModule(small_config(FUSION=fusion), CHANNELS, FEATURE_GRID)
    for t in range(4):
        assert torch.equal(memory(scene_features("a", t), ["a"], t)[0], scene_features("a", t))


def test_gate_and_read_learns_to_restore_features_that_the_frame_lacks() -> None:
    """Where the features are zero a gate can do nothing; what is read can."""
    memory = small_module(FUSION="gate_and_read").train()
    memory(scene_features("a", 0), ["a"], 0, FrameContext(scene_masks=mask(0)))
    dark = torch.zeros(1, CHANNELS, 8, 8)
    optimizer = torch.optim.SGD(memory.parameters(), lr=0.1)
    state = memory.load_states(["a"]).detach()
    for _ in range(2):
        changed, _, _ = memory.step(dark, state, FrameContext(scene_masks=mask(1)))
        optimizer.zero_grad()
        (changed - 1).square().mean().backward()
        assert memory.add_read is not None
        assert memory.add_read.project.bias.grad is not None
        assert memory.add_read.project.bias.grad.abs().min() > 0
        reached = memory.xmem.project.key.bias.grad
        optimizer.step()
    assert changed.abs().sum() > 0
    assert reached is not None
    assert reached.abs().sum() > 0, "from the second step on gradients pass the projection"


# ------------------------------------------------------------------------------------------------------ teacher forcing


def written_values(memory: XMemBEVModule, seed: int, batch: int, teacher_forcing: float) -> Tensor:
    """What one step writes for a batch of equal frames, with masks that depend on the seed."""
    torch.manual_seed(7)
    bev, masks = scene_features("a", 0).expand(batch, -1, -1, -1), mask(seed).expand(batch, -1, -1, -1)
    context = FrameContext(scene_masks=masks)
    return memory.step(bev, memory.initial_state(batch), context, teacher_forcing)[2].tokens.value


def test_with_full_teacher_forcing_the_true_masks_are_written_and_with_none_never() -> None:
    memory = small_module().train()
    assert not torch.equal(written_values(memory, 1, 1, 1.0), written_values(memory, 2, 1, 1.0))
    assert torch.equal(written_values(memory, 1, 1, 0.0), written_values(memory, 2, 1, 0.0))


def test_in_between_each_item_is_forced_with_its_probability() -> None:
    memory = small_module().train()
    mixed, forced, own = (written_values(memory, 1, 200, share) for share in (0.3, 1.0, 0.0))

    def like(values: Tensor) -> Tensor:
        return (mixed - values).abs().amax(dim=(1, 2, 3)) < 1e-4

    assert torch.equal(like(forced), ~like(own))
    assert 40 <= like(forced).sum() <= 80


def test_at_inference_nothing_is_forced() -> None:
    memory = small_module().eval()
    assert torch.equal(written_values(memory, 1, 1, 1.0), written_values(memory, 2, 1, 1.0))
