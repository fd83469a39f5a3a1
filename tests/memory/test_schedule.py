"""When frames are written and the sensory memory is deeply updated, and what is written and forgotten."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.sizes import Seconds
from remembev.memory import MemoryState
from remembev.memory.wrapper import advance_clock

from .small import (
    FEATURE_GRID,
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


def written_at(times: list[float], every: int | Seconds) -> list[int]:
    """The frames of a stream that are written."""
    memory = small_memory(MEM_EVERY=every).eval()
    state: MemoryState | None = None
    written = []
    for t, time in enumerate(times):
        stamp = torch.tensor([time], dtype=torch.float64)
        state = run_step(memory, t, features(t), state=state, timestamp=stamp).state
        if state.tokens.age[0, -1] == 0:
            written.append(t)
    return written


def test_every_nth_frame_is_written() -> None:
    assert written_at([0.5 * t for t in range(10)], every=3) == [0, 3, 6, 9]


def test_every_frame_is_written_by_default() -> None:
    assert written_at([0.5 * t for t in range(4)], every=1) == [0, 1, 2, 3]


def test_frames_are_written_at_a_period_in_seconds() -> None:
    assert written_at([0.1 * t for t in range(22)], every=Seconds(1)) == [0, 10, 20]
    assert written_at([2.0 * t for t in range(4)], every=Seconds(1)) == [0, 1, 2, 3]


@given(st.lists(st.floats(-0.04, 0.04), min_size=21, max_size=21))
@settings(max_examples=200)
def test_with_jitter_the_frames_nearest_to_the_period_are_written(
    jitter: list[float],
) -> None:
    since, before = torch.tensor([torch.inf]), -0.5
    due_at = []
    for t, shift in enumerate(jitter):
        time = 0.5 * t + shift
        due, since = advance_clock(since, Seconds(1), torch.tensor([time - before if t else 0.0]))
        before = time
        due_at += [t] if due.item() else []
    assert due_at == list(range(0, 21, 2))


def test_a_period_that_is_no_multiple_of_the_frame_interval_holds_on_average() -> None:
    assert len(written_at([0.4 * t for t in range(51)], every=Seconds(1))) == 21


def test_after_a_long_gap_a_frame_is_written() -> None:
    assert written_at([0.0, 0.5, 1.0, 1.5, 9.0, 9.5], every=Seconds(4)) == [0, 4]


def test_the_sensory_memory_is_deeply_updated_when_a_frame_is_written() -> None:
    assert deep_updates(MEM_EVERY=3) == [0, 3, 6]


def test_the_sensory_memory_is_deeply_updated_on_a_period_of_its_own() -> None:
    assert deep_updates(MEM_EVERY=1, DEEP_UPDATE_EVERY=2) == [0, 2, 4, 6]
    assert deep_updates(MEM_EVERY=4, DEEP_UPDATE_EVERY=3) == [0, 3, 6]
    assert deep_updates(MEM_EVERY=1, DEEP_UPDATE_EVERY="1 s") == [0, 2, 4, 6]


def deep_updates(**changes: object) -> list[int]:
    """The frames whose hidden state the value encoder touched."""
    memory, shallow = small_memory(**changes).eval(), small_memory(**changes).eval()
    shallow.encode_value.deep_update.forward = lambda value, hidden: hidden  # type: ignore[method-assign]
    state: MemoryState | None = None
    touched = []
    for t in range(8):
        arguments = {"state": state, "timestamp": torch.tensor([0.5 * t], dtype=torch.float64)}
        step = run_step(memory, t, features(t), **arguments)
        without = run_step(shallow, t, features(t), **arguments)
        touched += [t] if not torch.equal(step.state.hidden, without.state.hidden) else []
        state = step.state
    return touched


def test_sizes_in_metres_and_seconds_become_cells_and_frames() -> None:
    cfg = small_config(
        STRIDE="4 m",
        MEM_EVERY="0.5 s",
        WORKING={"MIN_FRAMES": "1 s", "MAX_FRAMES": "2.5 s"},
        FOREGROUND={"TOKENS": "48 m2"},
    )
    assert cfg.stride(FEATURE_GRID) == 2
    assert (cfg.min_frames, cfg.max_frames) == (2, 5)
    assert cfg.tokens_per_frame(FEATURE_GRID.strided(2)) == 3
    memory = small_memory(STRIDE="4 m", FOREGROUND={"TOKENS": "48 m2"})
    assert memory.initial_state(1).tokens.capacity == 12 + 2 * 3


def written(memory_mask: Tensor, **foreground: object) -> tuple[set[int], set[int]]:
    """Cells of a frame that were written, and those that the mask covers."""
    memory = small_memory(FOREGROUND=foreground).train()
    state = run_step(memory, 0, features(0), memory_mask, teacher_forcing=1.0).state
    tokens = working(memory, state)
    places = tokens.position[0, :2, tokens.valid[0]].T
    row, column, _ = memory.grid.cells(places)
    return set((row * 4 + column).tolist()), set(memory_mask.flatten().nonzero()[:, 0].tolist())


def test_the_cells_of_the_mask_are_written_first() -> None:
    few = torch.zeros(1, 1, 4, 4)
    few[0, 0, 1, 2] = few[0, 0, 3, 0] = 1
    cells, covered = written(few, TOKENS=5)
    assert len(cells) == 5
    assert covered < cells
    many = torch.ones(1, 1, 4, 4)
    many[0, 0, 0] = 0
    cells, covered = written(many, TOKENS=5)
    assert len(cells) == 5
    assert cells < covered


def test_cells_below_the_least_importance_are_not_written() -> None:
    few = torch.zeros(1, 1, 4, 4)
    few[0, 0, 1, 2] = few[0, 0, 3, 0] = 1
    cells, covered = written(few, TOKENS=5, MIN=0.5)
    assert cells == covered
    cells, _ = written(torch.zeros(1, 1, 4, 4), MIN=0.5)
    assert cells == set()


def test_by_occupancy_the_cells_with_the_highest_occupancy_are_written() -> None:
    memory = small_memory(FOREGROUND={"TOKENS": 4, "BY": "occupancy"}).train()
    step = run_step(memory, 0, features(0), mask(1), teacher_forcing=1.0)
    best = step.occ_logits.flatten().topk(4).indices.sort().values
    assert torch.equal(step.state.tokens.position[..., -4:], memory.centres[..., best])


def test_tokens_farther_than_a_limit_are_forgotten() -> None:
    memory = small_memory(FORGET_BEYOND="9 m").eval()
    state = run_step(memory, 0, features(0)).state
    state = run_step(memory, 1, features(1), state=state, prev_from_frame=planar(4.0, 0.0)).state
    old = working(memory, state).slice(0, 16)
    near = old.position[0].norm(dim=0) <= 9.0
    assert 0 < near.sum() < 16
    assert torch.equal(old.valid[0], near)
    assert torch.equal(old.life[0] > 0, near), "what is forgotten is not read"


def test_tokens_older_than_a_limit_are_forgotten() -> None:
    memory = small_memory(FORGET_AFTER="1 s", WORKING={"MIN_FRAMES": 1, "MAX_FRAMES": 9}).eval()
    state: MemoryState | None = None
    for t in range(6):
        stamp = torch.tensor([0.4 * t], dtype=torch.float64)
        state = run_step(memory, t, features(t), state=state, timestamp=stamp).state
    assert state is not None
    ages = working(memory, state).age[state.tokens.valid[:, 12:]]
    assert ages.unique().tolist() == pytest.approx([0.0, 0.4, 0.8], abs=1e-5)


def test_prototypes_age_and_move_like_other_tokens() -> None:
    memory = small_memory().eval()
    state: MemoryState | None = None
    for t in range(3):
        stamp = torch.tensor([0.5 * t], dtype=torch.float64)
        state = run_step(memory, t, features(t), state=state, timestamp=stamp).state
    assert state is not None
    before = long_term(memory, state)
    assert before.count().item() == 6
    moved = run_step(memory, 3, features(3), state=state, timestamp=stamp + 0.5, prev_from_frame=planar(1.0, 0.0)).state
    after = long_term(memory, moved)
    shift = torch.tensor([[-1.0], [0.0], [0.0]])
    kept = before.valid[0]
    torch.testing.assert_close(after.position[0, :, kept], before.position[0, :, kept] + shift)
    torch.testing.assert_close(after.age[:, kept], before.age[:, kept] + 0.5)


def test_streams_with_random_prototypes_are_reproducible_and_differ_from_usage() -> None:
    def last(choose: str) -> Tensor:
        memory = small_memory(LONG_TERM={"MAX_TOKENS": 12, "PROTOTYPES": 6, "CHOOSE": choose}).eval()
        return stream(memory, 8)[-1].occ_logits

    assert torch.equal(last("random"), last("random"))
    assert not torch.equal(last("random"), last("usage"))


def test_random_prototypes_differ_between_consolidations() -> None:
    memory = small_memory(LONG_TERM={"MAX_TOKENS": 60, "PROTOTYPES": 6, "CHOOSE": "random"}).eval()
    prototypes = long_term(memory, stream(memory, 12)[-1].state)
    assert prototypes.valid.sum() == 30
    drawn = {tuple(cells) for cells in prototypes.position[0, :2, -30:].T.reshape(5, 12).tolist()}
    assert len(drawn) == 5


def test_without_timestamps_no_time_passes() -> None:
    memory = small_memory().eval()
    state = stream(memory, 3)[-1].state
    assert not state.tokens.age.any()
    assert state.timestamp.isnan().all()


def test_each_item_of_a_batch_has_its_own_clock() -> None:
    memory = small_memory(MEM_EVERY="1 s").eval()
    state = run_step(memory, 0, features(0, batch=2), timestamp=torch.tensor([0.0, 0.0]).double()).state
    state = run_step(memory, 1, features(1, batch=2), state=state, timestamp=torch.tensor([0.2, 1.0]).double()).state
    assert working(memory, state).count().tolist() == [16, 32]
    assert state.working_frames.tolist() == [1, 2]
    assert state.since_write.tolist() == pytest.approx([0.2, 0.0])
