"""States by scene, and what the memory does to the features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.memory import BEVMemory, FrameContext, NoMemory, XMemBEVModule, build_memory, gate

from .small import CHANNELS, FEATURE_GRID, mask, small_config
from .small import features as numbered


def module(**changes: object) -> XMemBEVModule:
    torch.manual_seed(0)
    made = XMemBEVModule(small_config(**changes), CHANNELS, FEATURE_GRID)
    torch.manual_seed(1)
    torch.nn.init.normal_(made.xmem.decode.occupancy.weight)
    for drawn in made.add_gated.parameters():
        torch.nn.init.normal_(drawn)
    return made.eval()


def features(scene: str, t: int) -> Tensor:
    return numbered(1000 * ord(scene) + t)


def alone(scene: str, frames: int) -> list[Tensor]:
    memory = module()
    return [memory(features(scene, t), [scene], t)[0] for t in range(frames)]


# --------------------------------------------------------------------------------------------------------------- scenes


@given(order=st.permutations("aaaabbbb"))
@settings(max_examples=15)
def test_two_scenes_interleaved_in_a_stream_give_what_they_give_alone(order: list[str]) -> None:
    expected = {scene: alone(scene, 4) for scene in "ab"}
    memory, seen = module(), {"a": 0, "b": 0}
    for scene in order:
        t = seen[scene]
        gated, _ = memory(features(scene, t), [scene], t)
        assert torch.equal(gated, expected[scene][t])
        seen[scene] += 1


def test_two_scenes_in_one_batch_give_what_they_give_alone() -> None:
    expected = {scene: alone(scene, 4) for scene in "ab"}
    memory = module()
    for t in range(4):
        gated, _ = memory(torch.cat((features("a", t), features("b", t))), ["a", "b"], t)
        assert torch.equal(gated[0], expected["a"][t][0])
        assert torch.equal(gated[1], expected["b"][t][0])


def test_scenes_may_change_places_in_the_batch() -> None:
    expected = {scene: alone(scene, 2) for scene in "ab"}
    memory = module()
    memory(torch.cat((features("a", 0), features("b", 0))), ["a", "b"], 0)
    gated, _ = memory(torch.cat((features("b", 1), features("a", 1))), ["b", "a"], 1)
    assert torch.equal(gated[0], expected["b"][1][0])
    assert torch.equal(gated[1], expected["a"][1][0])


def test_two_clips_of_one_scene_in_a_batch_do_not_share_a_memory() -> None:
    memory = module()
    for t in range(3):
        gated, _ = memory(torch.cat((features("a", t), features("b", t))), ["same", "same"], t)
    assert torch.equal(gated[0], alone("a", 3)[2][0])
    assert torch.equal(gated[1], alone("b", 3)[2][0])


def test_a_scene_that_starts_again_starts_with_an_empty_memory() -> None:
    memory = module()
    first = [memory(features("a", t), ["a"], t)[0] for t in range(3)]
    again = [memory(features("a", t), ["a"], t)[0] for t in range(3)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_at_most_max_scenes_are_kept() -> None:
    memory = module(MAX_SCENES=2)
    for scene in "abac":
        memory(features(scene, 0), [scene], 0)
    assert list(memory.states) == [("a", 0), ("c", 0)]


# --------------------------------------------------------------------------------------------------------------- fusion


def test_what_the_gate_lets_through_and_the_gate_itself_are_added() -> None:
    memory = module()
    bev = features("a", 0)
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
        assert torch.equal(memory(features("a", t), ["a"], t)[0], features("a", t))


def test_gate_and_read_learns_to_bring_back_what_the_frame_does_not_show() -> None:
    """Where the features are zero a gate can do nothing; what is read can."""
    memory = module(FUSION="gate_and_read").train()
    memory(features("a", 0), ["a"], 0, FrameContext(scene_masks=mask(0)))
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


def test_with_fusion_none_features_pass_as_they_are_and_nothing_is_remembered() -> None:
    memory = build_memory(small_config(FUSION="none"), CHANNELS, FEATURE_GRID)
    assert isinstance(memory, NoMemory)
    bev = features("a", 0)
    changed, occ_logits = memory(bev, ["a"], 0)
    assert changed is bev
    assert occ_logits is None
    assert not list(memory.parameters())
    _, _, state = memory.step(bev, memory.load_states(["a"]), FrameContext())
    assert list(state.named()) == ["frames"]
    assert state.frames.tolist() == [2]


# ------------------------------------------------------------------------------------------------------ teacher forcing


def written_values(memory: XMemBEVModule, seed: int, batch: int, teacher_forcing: float) -> Tensor:
    """What one step writes for a batch of equal frames, with masks that depend on the seed."""
    torch.manual_seed(7)
    bev, masks = features("a", 0).expand(batch, -1, -1, -1), mask(seed).expand(batch, -1, -1, -1)
    context = FrameContext(scene_masks=masks)
    return memory.step(bev, memory.initial_state(batch), context, teacher_forcing)[2].tokens.value


def test_with_full_teacher_forcing_the_true_masks_are_written_and_with_none_never() -> None:
    memory = module().train()
    assert not torch.equal(written_values(memory, 1, 1, 1.0), written_values(memory, 2, 1, 1.0))
    assert torch.equal(written_values(memory, 1, 1, 0.0), written_values(memory, 2, 1, 0.0))


def test_in_between_each_item_is_forced_with_that_probability() -> None:
    memory = module().train()
    mixed, forced, own = (written_values(memory, 1, 200, share) for share in (0.3, 1.0, 0.0))

    def like(values: Tensor) -> Tensor:
        return (mixed - values).abs().amax(dim=(1, 2, 3)) < 1e-4

    assert torch.equal(like(forced), ~like(own))
    assert 40 <= like(forced).sum() <= 80


def test_at_inference_nothing_is_forced() -> None:
    memory = module().eval()
    assert torch.equal(written_values(memory, 1, 1, 1.0), written_values(memory, 2, 1, 1.0))


# --------------------------------------------------------------------------------------------------------- which memory


@pytest.mark.parametrize("changes", [{}, {"NAME": "ConvGRUBEVModule"}, {"FUSION": "none"}, {"FUSION": "gate_and_read"}])
@pytest.mark.parametrize("training", [True, False])
def test_every_memory_takes_every_frame_of_a_batch(changes: dict[str, object], training: bool) -> None:
    memory: BEVMemory[object] = build_memory(small_config(**changes), CHANNELS, FEATURE_GRID).train(training)
    for t in range(3):
        bev = numbered(t, batch=2).requires_grad_()
        context = FrameContext(torch.eye(4).expand(2, 4, 4), torch.full((2,), 0.5 * t).double(), mask(t, batch=2))
        changed, _ = memory(bev, ["a", "b"], t, context)
        assert changed.shape == bev.shape
    changed.sum().backward()
    assert bev.grad is not None
