"""Agents: their slots appear and leave, in training with the true masks, at inference with the model's own boxes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.schema import AgentsConfig
from remembev.geometry import rasterise_boxes
from remembev.memory import FrameContext, MemoryState, XMemBackboneWrapper, XMemBEVModule
from remembev.memory.objects import NO_OBJECT, FoundObjects
from remembev.memory.slots import slot_masks, update_slots
from remembev.memory.state import AgentSlots
from remembev.memory.wrapper import combine_slots

from .small import (
    CHANNELS,
    CPU,
    FEATURE_GRID,
    assert_same,
    features,
    mask,
    run_step,
    small_config,
    small_memory,
    stream,
)

CFG = AgentsConfig(MIN_SCORE=0.5, MATCH_WITHIN="2 m", MAX_MISSED=1)


# --------------------------------------------------------------------------------------- with true masks, in training


def clip(memory: XMemBackboneWrapper, present: list[list[bool]]) -> list[MemoryState]:
    """States of a training clip in whose frames these slots hold agents, masks all true."""
    states: list[MemoryState] = []
    for t, valids in enumerate(present):
        masks, state = mask(t, agents=len(valids)), states[-1] if states else None
        states.append(run_step(memory, t, features(t), None, masks, torch.tensor([valids]), state=state).state)
    return states


def test_an_agent_is_known_once_a_frame_was_written_with_it_and_no_longer_when_it_leaves() -> None:
    states = clip(small_memory(agents=2).train(), [[True, False], [True, True], [True, True], [True, False]])
    assert [state.slots.occupied[0].tolist() for state in states] == [
        [True, False],
        [True, True],
        [True, True],
        [True, False],
    ]


def test_the_scene_s_slot_is_always_occupied() -> None:
    states = clip(small_memory(agents=2).train(), [[False, True], [False, False]])
    assert [state.slots.occupied[0].tolist() for state in states] == [[True, True], [True, False]]


def test_a_new_agent_is_written_with_its_true_mask_even_without_teacher_forcing() -> None:
    memory = small_memory(agents=2).train()
    state = run_step(memory, 0, features(0), None, mask(0, agents=2), torch.tensor([[True, False]])).state

    def appear(seed: int, state: MemoryState) -> MemoryState:
        valids = torch.tensor([[True, True]])
        return run_step(
            memory, 1, features(1), None, mask(seed, agents=2), valids, state=state, teacher_forcing=0.0
        ).state

    values = [appear(seed, state).tokens.value[..., -16:] for seed in (1, 2)]
    assert not torch.equal(values[0][:, 1], values[1][:, 1])
    assert_same(appear(1, appear(3, state)), appear(2, appear(3, state)))


def test_an_agent_that_appears_between_memory_frames_is_written_with_its_mask_at_the_next() -> None:
    memory = small_memory(agents=2, MEM_EVERY=3).train()
    states = []
    for seed in (1, 2):
        state: MemoryState | None = None
        for t in range(4):
            masks = mask(seed, agents=2) if t == 3 else mask(t, agents=2)
            valids = torch.tensor([[True, t > 0]])
            state = run_step(memory, t, features(t), None, masks, valids, state=state, teacher_forcing=0.0).state
            assert state.slots.occupied[0, 1].item() is (t == 3)
            assert state.hidden[:, 1].any().item() is (t == 3)
        assert state is not None
        states.append(state)
    of_second = [state.tokens.value[:, 1, :, -16:] for state in states]
    assert not torch.equal(*of_second)


def test_an_agent_that_left_is_forgotten() -> None:
    gone = clip(small_memory(agents=3).train(), [[True, True, True]] * 3 + [[True, False, True]])[-1]
    assert not gone.tokens.value[:, 1].any()
    assert not gone.tokens.has_value[:, 1].any()
    assert not gone.hidden[:, 1].any()
    assert gone.tokens.value[:, 2].any()
    assert gone.hidden[:, 2].any()


def test_a_later_agent_in_the_slot_reads_nothing_of_the_one_before() -> None:
    """It starts as if the slot had always been free."""
    memory = small_memory(agents=2).train()
    after, fresh = (clip(memory, [[True, before]] * 3 + [[True, False], [True, True]])[-1] for before in (True, False))
    assert torch.equal(after.hidden[:, 1], fresh.hidden[:, 1])
    assert torch.equal(after.tokens.value[:, 1], fresh.tokens.value[:, 1])
    assert torch.equal(after.tokens.has_value[:, 1], fresh.tokens.has_value[:, 1])
    assert after.tokens.has_value[0, 1].nonzero()[:, 0].tolist() == list(range(after.tokens.capacity))[-16:]


def test_one_agent_slot_is_the_scene_bit_for_bit() -> None:
    memory = small_memory().train()
    scene, slot = None, None
    for t in range(5):
        scene = run_step(memory, t, features(t), mask(t), state=scene.state if scene else None)
        slot = run_step(
            memory, t, features(t), mask(9), mask(t), torch.tensor([[True]]), state=slot.state if slot else None
        )
        assert torch.equal(scene.occ_logits, slot.occ_logits)
        assert torch.equal(scene.readout, slot.readout)
        assert_same(scene.state, slot.state)


def test_empty_slots_change_nothing() -> None:
    one, several = (stream(small_memory(agents=agents).eval(), 6) for agents in (1, 3))
    for alone, among in zip(one, several, strict=True):
        torch.testing.assert_close(among.occ_logits, alone.occ_logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(among.readout, alone.readout, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(among.state.tokens.value[:, :1], alone.state.tokens.value, rtol=1e-4, atol=1e-4)


def test_agents_have_values_and_hidden_states_of_their_own_under_shared_keys() -> None:
    state = clip(small_memory(agents=2).train(), [[True, True]])[-1]
    assert state.hidden.shape[1] == state.tokens.value.shape[1] == 2
    assert state.tokens.key.dim() == 3
    assert not torch.equal(state.tokens.value[:, 0], state.tokens.value[:, 1])
    assert not torch.equal(state.hidden[:, 0], state.hidden[:, 1])


@given(st.permutations([1, 2, 3]), st.integers(0, 20))
@settings(max_examples=10)
def test_it_does_not_matter_which_agent_has_which_slot(order: list[int], seed: int) -> None:
    memory = small_memory(agents=4).train()
    shuffled = [0, *order]
    one = other = None
    for t in range(4):
        masks, valids = mask(seed + t, agents=4), torch.tensor([[True, True, t > 0, t != 2]])
        one = run_step(memory, t, features(t), None, masks, valids, state=one.state if one else None)
        other = run_step(
            memory, t, features(t), None, masks[:, shuffled], valids[:, shuffled], state=other.state if other else None
        )
        torch.testing.assert_close(one.occ_logits, other.occ_logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.state.hidden[:, shuffled], other.state.hidden, rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------- with the model's own, at inference


def box(x: float, y: float, vx: float = 0.0) -> Tensor:
    return torch.tensor([x, y, 0.0, 4.0, 2.0, 1.5, 0.3, vx, 0.0])


def follow(slots: AgentSlots, *found: tuple[Tensor, float]) -> AgentSlots:
    boxes = torch.stack([one for one, _ in found]) if found else torch.zeros(0, 9)
    return update_slots(
        slots, boxes[None], torch.tensor([[score for _, score in found]]), torch.tensor([len(found)]), CFG
    )


def holding(*boxes: Tensor | None) -> AgentSlots:
    """Slots with these boxes behind the scene's."""
    slots = AgentSlots.empty(1, 1 + len(boxes), CPU)
    alive = torch.tensor([[False, *(one is not None for one in boxes)]])
    now = torch.stack([torch.zeros(9), *(torch.zeros(9) if one is None else one for one in boxes)])
    return replace(slots, boxes=now[None], alive=alive, occupied=slots.occupied | alive)


def test_the_best_boxes_take_the_free_slots_but_never_the_scene_s() -> None:
    slots = follow(holding(None, None), (box(1, 1), 0.6), (box(9, 9), 0.9), (box(5, 5), 0.8), (box(3, 3), 0.4))
    assert slots.alive[0].tolist() == [False, True, True]
    assert torch.equal(slots.boxes[0, 1:], torch.stack((box(9, 9), box(5, 5))))
    assert slots.occupied[0].tolist() == [True, False, False], "known only once a frame is written with them"


def test_a_second_box_on_an_object_takes_no_second_slot() -> None:
    slots = follow(
        holding(None, None, box(9, 9)), (box(1, 1), 0.9), (box(1, 2), 0.8), (box(9, 8), 0.8), (box(9, 9), 0.7)
    )
    assert slots.alive[0].tolist() == [False, True, False, True]
    assert torch.equal(slots.boxes[0, 1], box(1, 1))
    assert torch.equal(slots.boxes[0, 3], box(9, 9))


def test_boxes_below_the_least_score_match_slots_but_take_none() -> None:
    assert not follow(holding(None), (box(1, 1), 0.49)).alive.any()
    slots = follow(holding(box(1, 1)), (box(1.5, 1), 0.1))
    assert torch.equal(slots.boxes[0, 1], box(1.5, 1))
    assert slots.missed[0, 1] == 0


def test_each_slot_matches_its_nearest_box_and_no_box_matches_twice() -> None:
    slots = follow(holding(box(0, 0), box(1, 0)), (box(0.9, 0), 0.9), (box(-1.5, 0), 0.6), (box(8, 8), 0.6))
    assert torch.equal(slots.boxes[0, 1:], torch.stack((box(-1.5, 0), box(0.9, 0))))
    assert slots.missed[0].tolist() == [0, 0, 0]


def test_a_box_too_far_away_does_not_match() -> None:
    slots = follow(holding(box(0, 0)), (box(2.1, 0), 0.9))
    assert torch.equal(slots.boxes[0, 1], box(0, 0))
    assert slots.missed[0, 1] == 1
    assert slots.alive[0, 1]


def test_a_slot_missed_too_often_is_freed_and_reused_only_after_its_memory_is_cleared() -> None:
    slots = holding(box(0, 0))
    newcomer = (box(8, 8), 0.9)
    slots = follow(slots, newcomer)
    assert slots.alive[0, 1]
    slots = follow(slots, newcomer)
    assert not slots.alive[0, 1], "missed twice: free, but not for a newcomer of the same frame"
    slots = follow(slots, newcomer)
    assert not slots.alive[0, 1], "its memory is still there"
    slots = follow(replace(slots, occupied=torch.tensor([[True, False]])), newcomer)
    assert slots.alive[0, 1]
    assert torch.equal(slots.boxes[0, 1], box(8, 8))
    assert slots.missed[0, 1] == 0


def test_a_match_resets_the_count_of_missed_frames() -> None:
    slots = follow(follow(follow(holding(box(0, 0))), (box(0.5, 0), 0.9)))
    assert slots.missed[0, 1] == 1
    assert slots.alive[0, 1]


def test_each_item_of_a_batch_follows_its_own_boxes() -> None:
    slots = AgentSlots.stack([holding(box(0, 0)), holding(None)])
    boxes, scores = box(5, 5).expand(2, 1, 9), torch.tensor([[0.9], [0.9]])
    found = update_slots(slots, boxes, scores, torch.tensor([0, 1]), CFG)
    assert found.missed[:, 1].tolist() == [1, 0]
    assert found.alive[:, 1].tolist() == [True, True]
    assert torch.equal(found.boxes[1, 1], box(5, 5))


def follow_one_by_one(slots: AgentSlots, boxes: Tensor, scores: Tensor) -> AgentSlots:
    """What ``update_slots`` does for a single scene, in loops over what there is."""
    now, missed = slots.boxes[0].clone(), slots.missed[0] + 1
    pairs = [(float((now[s, :2] - boxes[b, :2]).norm()), s, b) for s in range(len(now)) for b in range(len(boxes))]
    found: dict[int, int] = {}
    for distance, slot, number in sorted(pairs):
        if slots.alive[0, slot] and distance <= 2.0 and slot not in found and number not in found.values():
            found[slot], missed[slot] = number, 0
    alive = slots.alive[0] & (missed <= CFG.MAX_MISSED)
    taken = [boxes[number] for number in found.values()] + list(now[alive])
    free = [slot for slot in range(len(now)) if not slots.alive[0, slot] and not slots.occupied[0, slot]]
    newcomers = iter(free)
    for number in scores.argsort(descending=True, stable=True).tolist():
        if scores[number] >= CFG.MIN_SCORE and all((boxes[number, :2] - other[:2]).norm() > 2.0 for other in taken):
            slot = next(newcomers, None)
            if slot is None:
                break
            found[slot] = number
            taken.append(boxes[number])
    for slot, number in found.items():
        now[slot], alive[slot] = boxes[number], True
    missed = missed * alive
    missed[free] = 0
    return replace(slots, boxes=now[None], alive=alive[None], missed=missed[None])


@given(st.integers(0, 2**20), st.integers(1, 6), st.lists(st.integers(0, 9), min_size=1, max_size=3))
def test_a_padded_batch_equals_a_loop_over_scenes(seed: int, agents: int, counts: list[int]) -> None:
    draw = torch.Generator().manual_seed(seed)
    boxes, scores = torch.rand(len(counts), max(counts), 9, generator=draw) * 8, torch.rand(9, generator=draw)
    scores = scores[: max(counts)].sort(descending=True).values.expand(len(counts), -1)
    known, is_agent = torch.rand(2, len(counts), agents, generator=draw) < 0.6, torch.arange(agents) > 0
    slots = AgentSlots(
        occupied=known[0] | ~is_agent,
        boxes=torch.rand(len(counts), agents, 9, generator=draw) * 8,
        alive=known[1] & is_agent,
        missed=torch.randint(0, 2, (len(counts), agents), generator=draw),
    )
    expected = [
        follow_one_by_one(one, boxes[i, :count], scores[i, :count])
        for i, (one, count) in enumerate(zip(slots.split(), counts, strict=True))
    ]
    followed = update_slots(slots, boxes, scores, torch.tensor(counts), CFG)
    for name, tensor in AgentSlots.stack(expected).named().items():
        assert torch.equal(followed.named()[name], tensor), name


@given(
    slots=st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)) | st.none(), min_size=1, max_size=4),
    found=st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([0.2, 0.6, 0.9])), max_size=6),
)
def test_no_slot_is_lost_and_no_box_is_in_two_slots(
    slots: list[tuple[int, int] | None], found: list[tuple[int, int, float]]
) -> None:
    before = holding(*(None if place is None else box(*place) for place in slots))
    numbered = [(torch.cat((box(x, y)[:8], torch.tensor([number + 1.0]))), s) for number, (x, y, s) in enumerate(found)]
    after = follow(before, *numbered)
    assert (before.alive & ~after.alive).sum() == 0, "MAX_MISSED is 1"
    taken = after.boxes[0, 1:, 8][after.alive[0, 1:]]
    taken = taken[taken > 0].tolist()
    assert len(taken) == len(set(taken))
    matched = [slot for slot in range(1, len(slots) + 1) if before.alive[0, slot] and after.missed[0, slot] == 0]
    for slot in matched:
        assert (after.boxes[0, slot, :2] - before.boxes[0, slot, :2]).norm() <= 2
    left = sum(score >= 0.5 for _, _, score in found)
    free = slots.count(None)
    assert (after.alive & ~before.alive).sum() <= min(left, free)
    assert torch.equal(after.occupied, before.occupied)


def test_a_slot_s_mask_is_what_its_box_covers() -> None:
    grid = FEATURE_GRID.strided(2)
    masks = slot_masks(holding(box(2, 2), None, box(-5, 5)), grid)
    assert torch.equal(masks[0, 1], rasterise_boxes(box(2, 2)[None], grid)[0].float())
    assert torch.equal(masks[0, 3], rasterise_boxes(box(-5, 5)[None], grid)[0].float())
    assert not masks[0, 0].any()
    assert not masks[0, 2].any()


def module(agents: int, **changes: object) -> XMemBEVModule:
    torch.manual_seed(0)
    made = XMemBEVModule(
        small_config(AGENTS={"MIN_SCORE": 0.5, "MAX_MISSED": 0}, **changes), CHANNELS, FEATURE_GRID, agents
    )
    torch.nn.init.normal_(made.xmem.decode.occupancy.weight)
    return made.eval()


def test_at_inference_a_detected_agent_enters_and_leaves_the_gate() -> None:
    """Detected in frame 0, written in frame 1, part of the gate from frame 2 on, missed in 3, forgotten in 4."""
    memory, without = module(agents=2), module(agents=2)
    state, alone = memory.initial_state(1), memory.initial_state(1)
    differs, occupied, knows = [], [], []
    for t in range(6):
        scene = run_step(memory.xmem, t, features(t), state=state)
        other = run_step(without.xmem, t, features(t), state=alone)
        differs.append(not torch.equal(scene.occ_logits, other.occ_logits))
        occupied.append(scene.state.slots.occupied[0, 1].item())
        knows.append(scene.state.tokens.has_value[0, 1].any().item())
        label = torch.tensor([[0 if t < 3 else NO_OBJECT]])
        _, state = memory.remember(scene.state, FoundObjects(box(2, 2)[None, None], torch.tensor([[0.9]]), label))
        alone = other.state
    assert differs == [False, False, True, True, True, True]
    assert occupied == knows == [False, True, True, True, False, False]


def test_a_scene_with_agents_gives_the_same_in_a_batch_as_alone() -> None:
    memory = module(agents=3)
    together, alone = memory.initial_state(2), memory.initial_state(1)
    boxes = torch.stack((box(2, 2, 1.0), box(-4, 3), box(0, 0), box(0, 0))).view(2, 2, 9)
    found = FoundObjects(boxes, torch.tensor([[0.9, 0.8], [0.7, 0.0]]), torch.tensor([[0, 0], [0, NO_OBJECT]]))
    for t in range(4):
        inputs = torch.cat((features(t), features(10 + t)))
        changed, _, together = memory.step(inputs, together, _context(2, t))
        _, together = memory.remember(together, found)
        expected, _, alone = memory.step(inputs[:1], alone, _context(1, t))
        _, alone = memory.remember(alone, found.split()[0])
        assert torch.equal(changed[:1], expected)
    assert_same(together.split()[0], alone)


def _context(batch: int, t: int) -> FrameContext:
    return FrameContext(timestamp=torch.full((batch,), 0.5 * t, dtype=torch.float64))


@pytest.mark.parametrize("occupied", [[True, False, False], [True, True, False]])
def test_an_unoccupied_slot_has_no_part_in_the_occupancy(occupied: list[bool]) -> None:
    logits = torch.randn(1, 3, 4, 4)
    changed = torch.where(torch.tensor(occupied)[None, :, None, None], logits, 50.0)
    assert torch.equal(
        combine_slots(logits, torch.tensor([occupied])), combine_slots(changed, torch.tensor([occupied]))
    )
