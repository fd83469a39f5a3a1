"""States by scene, and what every memory has in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.memory import BEVMemory, FrameContext, NoMemory, build_memory
from remembev.structs import TensorStruct

from .small import CHANNELS, FEATURE_GRID, features, mask, scene_features, small_config, small_module


def alone(scene: str, frames: int) -> list[Tensor]:
    memory = small_module()
    return [memory(scene_features(scene, t), [scene], t)[0] for t in range(frames)]


@given(order=st.permutations("aaaabbbb"))
@settings(max_examples=15)
def test_two_scenes_interleaved_in_a_stream_give_what_they_give_alone(order: list[str]) -> None:
    expected = {scene: alone(scene, 4) for scene in "ab"}
    memory, next_frame = small_module(), {"a": 0, "b": 0}
    for scene in order:
        t = next_frame[scene]
        gated, _ = memory(scene_features(scene, t), [scene], t)
        assert torch.equal(gated, expected[scene][t])
        next_frame[scene] += 1


def test_two_scenes_in_one_batch_give_what_they_give_alone() -> None:
    expected = {scene: alone(scene, 4) for scene in "ab"}
    memory = small_module()
    for t in range(4):
        gated, _ = memory(torch.cat((scene_features("a", t), scene_features("b", t))), ["a", "b"], t)
        assert torch.equal(gated[0], expected["a"][t][0])
        assert torch.equal(gated[1], expected["b"][t][0])


def test_scenes_may_change_places_in_the_batch() -> None:
    expected = {scene: alone(scene, 2) for scene in "ab"}
    memory = small_module()
    memory(torch.cat((scene_features("a", 0), scene_features("b", 0))), ["a", "b"], 0)
    gated, _ = memory(torch.cat((scene_features("b", 1), scene_features("a", 1))), ["b", "a"], 1)
    assert torch.equal(gated[0], expected["b"][1][0])
    assert torch.equal(gated[1], expected["a"][1][0])


def test_two_clips_of_one_scene_in_a_batch_do_not_share_a_memory() -> None:
    memory = small_module()
    for t in range(3):
        gated, _ = memory(torch.cat((scene_features("a", t), scene_features("b", t))), ["same", "same"], t)
    assert torch.equal(gated[0], alone("a", 3)[2][0])
    assert torch.equal(gated[1], alone("b", 3)[2][0])


def test_a_scene_that_starts_again_starts_with_an_empty_memory() -> None:
    memory = small_module()
    first = [memory(scene_features("a", t), ["a"], t)[0] for t in range(3)]
    again = [memory(scene_features("a", t), ["a"], t)[0] for t in range(3)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_a_scene_at_its_first_frame_starts_anew_and_its_neighbour_does_not(kind: Callable[[Any], Any]) -> None:
    memory = small_module()
    for t in range(2):
        memory(torch.cat((scene_features("a", t), scene_features("c", t))), ["a", "b"], t)
    gated, _ = memory(torch.cat((scene_features("a", 2), scene_features("b", 0))), ["a", "b"], kind([2, 0]))
    assert torch.equal(gated[0], alone("a", 3)[2][0])
    assert torch.equal(gated[1], alone("b", 1)[0][0])


def test_an_unknown_scene_at_a_later_frame_starts_empty_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    memory = small_module(MAX_SCENES=1)
    gated, _ = memory(scene_features("a", 3), ["a"], 3)
    assert caplog.text.count("scene a: no memory of its earlier frames, so it starts empty") == 1
    assert torch.equal(gated, memory(scene_features("a", 3), ["a"], 0)[0])
    for t in range(3):
        memory(scene_features("b", t), ["b"], t)
    memory(scene_features("a", 4), ["a"], 4)
    assert len(caplog.records) == 1


def test_single_frames_and_first_frames_warn_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    build_memory(small_config(FUSION="none"), CHANNELS, FEATURE_GRID)(scene_features("a", 3), ["a"], 3)
    small_module()(scene_features("a", 0), ["a"], 0)
    assert caplog.records == []


@pytest.mark.parametrize("changes", [{"FUSION": "gate_and_read"}, {"NAME": "ConvGRUBEVModule"}])
@pytest.mark.parametrize("keep_graph", [False, True])
def test_stored_states_have_a_gradient_history_only_where_that_is_asked_for(
    changes: dict[str, object], keep_graph: bool
) -> None:
    memory: BEVMemory[TensorStruct] = build_memory(small_config(**changes), CHANNELS, FEATURE_GRID).train()
    for t in range(3):
        changed, _ = memory(features(t), ["a"], t, FrameContext(scene_masks=mask(t)), keep_graph=keep_graph)
        if not keep_graph:
            changed.sum().backward()
    state = memory.load_states(["a"], 3)
    assert any(tensor.requires_grad for tensor in state.named().values()) == keep_graph


def test_at_most_max_scenes_are_kept() -> None:
    memory = small_module(MAX_SCENES=2)
    for scene in "abac":
        memory(scene_features(scene, 0), [scene], 0)
    assert list(memory.states) == [("a", 0), ("c", 0)]


def test_with_fusion_none_features_are_unchanged_and_nothing_is_stored() -> None:
    memory = build_memory(small_config(FUSION="none"), CHANNELS, FEATURE_GRID)
    assert isinstance(memory, NoMemory)
    bev = scene_features("a", 0)
    changed, occ_logits = memory(bev, ["a"], 0)
    assert changed is bev
    assert occ_logits is None
    assert not list(memory.parameters())
    _, _, state = memory.step(bev, memory.load_states(["a"], 1), FrameContext())
    assert list(state.named()) == ["frames"]
    assert state.frames.tolist() == [2]


@pytest.mark.parametrize("changes", [{}, {"NAME": "ConvGRUBEVModule"}, {"FUSION": "none"}, {"FUSION": "gate_and_read"}])
@pytest.mark.parametrize("training", [True, False])
def test_every_memory_runs_and_trains_on_a_batch(changes: dict[str, object], training: bool) -> None:
    memory: BEVMemory[object] = build_memory(small_config(**changes), CHANNELS, FEATURE_GRID).train(training)
    for t in range(3):
        bev = features(t, batch=2).requires_grad_()
        context = FrameContext(torch.eye(4).expand(2, 4, 4), torch.full((2,), 0.5 * t).double(), mask(t, batch=2))
        changed, _ = memory(bev, ["a", "b"], t, context)
        assert changed.shape == bev.shape
    changed.sum().backward()
    assert bev.grad is not None
