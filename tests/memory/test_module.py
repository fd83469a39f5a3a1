"""States by scene: none sees another's, none is stale, and there is a limit."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory import XMemBEVModule

GRID = BEVGrid(-8.0, -8.0, 8.0, 8.0, height=4, width=4)
CHANNELS = 6


def module(**changes: object) -> XMemBEVModule:
    torch.manual_seed(0)
    sizes = {"FEATURE_DIM": 8, "KEY_DIM": 4, "VALUE_DIM": 4, "HIDDEN_DIM": 4, "TOP_K": 5, "MAX_FRAMES": 3}
    made = XMemBEVModule(MemoryConfig.model_validate({**sizes, **changes}), CHANNELS, GRID)
    torch.nn.init.normal_(made.xmem.decode.occupancy.weight)
    return made.eval()


def features(scene: str, t: int) -> Tensor:
    return torch.randn(1, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1000 * ord(scene) + t))


def alone(scene: str, frames: int) -> list[Tensor]:
    memory = module()
    return [memory(features(scene, t), [scene], t)[0] for t in range(frames)]


def test_the_gate_multiplies_the_features() -> None:
    memory = module()
    bev = features("a", 0)
    gated, occ_logits = memory(bev, ["a"], 0)
    gate = memory.gate(occ_logits, bev)
    assert gate.shape == (1, 1, 8, 8)
    assert gate.min() >= 0
    assert gate.max() <= 1
    assert torch.equal(gated, bev * gate)


@given(order=st.permutations("aaaabbbb"))
@settings(max_examples=15, deadline=None)
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


def test_the_scene_used_longest_ago_is_forgotten_first() -> None:
    memory = module(MAX_SCENES=2)
    for scene in "aba":
        memory(features(scene, 0), [scene], 0)
    memory(features("c", 0), ["c"], 0)
    assert len(memory.memories) == 2
    assert "a" in memory.memories
    assert "b" not in memory.memories


def test_forgetting_one_scene_leaves_the_others() -> None:
    memory = module()
    for scene in "ab":
        memory(features(scene, 0), [scene], 0)
    memory.memories.forget("a")
    assert "a" not in memory.memories
    assert "b" in memory.memories
