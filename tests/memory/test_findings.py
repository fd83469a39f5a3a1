"""Findings: what was found is rasterised, written into values, and moves the tokens."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.geometry import BEVGrid
from remembev.memory import FrameContext, XMemBackboneWrapper
from remembev.memory.alignment import align_state
from remembev.memory.findings import BOX_CHANNELS, found_velocity, rasterise_findings, teach
from remembev.memory.objects import NO_OBJECT, FoundObjects

from .small import CPU, assert_same, features, mask, planar, run_step, small_memory, small_module, working

GRID = BEVGrid(-8.0, -4.0, 8.0, 4.0, height=4, width=8)
CLASSES = 2
BUS = [1.0, 1.0, -0.5, 7.0, 2.5, 3.0, 0.0, 10.0, 0.0]


def found(*boxes: list[float], scores: list[float] | None = None, labels: list[int] | None = None) -> FoundObjects:
    rows = torch.tensor(boxes).view(1, -1, 9)
    return FoundObjects(rows, torch.tensor([scores or [0.8] * len(boxes)]), torch.tensor([labels or [0] * len(boxes)]))


def cell_by_cell(objects: FoundObjects) -> Tensor:
    """The map, one cell and one box at a time."""
    batch = len(objects.boxes)
    result = torch.zeros(batch, CLASSES + BOX_CHANNELS, GRID.height, GRID.width)
    centres = GRID.centres().tolist()
    for item in range(batch):
        for row in range(GRID.height):
            for column in range(GRID.width):
                cx, cy = centres[row][column]
                best = 0.0
                for k, (x, y, z, length, width, height, yaw, vx, vy) in enumerate(objects.boxes[item].tolist()):
                    label, score = int(objects.labels[item, k]), float(objects.scores[item, k])
                    along = (cx - x) * math.cos(yaw) + (cy - y) * math.sin(yaw)
                    across = (cy - y) * math.cos(yaw) - (cx - x) * math.sin(yaw)
                    holds = abs(x - cx) < GRID.cell_x / 2 and abs(y - cy) < GRID.cell_y / 2
                    covers = abs(along) <= length / 2 and abs(across) <= width / 2
                    if label == NO_OBJECT or not (covers or holds):
                        continue
                    cell = result[item, :, row, column]
                    cell[label] = max(float(cell[label]), score)
                    if score > best:
                        best = score
                        offset = [(x - cx) / GRID.cell_x, (y - cy) / GRID.cell_y, z]
                        sizes = [math.log(length), math.log(width), math.log(height)]
                        cell[CLASSES:] = torch.tensor([*offset, *sizes, math.sin(yaw), math.cos(yaw), vx / 5, vy / 5])
    return result


@given(seed=st.integers(0, 1000), batch=st.integers(1, 2), count=st.integers(0, 6))
@settings(max_examples=30)
def test_the_map_is_that_of_a_loop_over_cells_and_boxes(seed: int, batch: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    low = torch.tensor([-10.0, -6.0, -2.0, 0.3, 0.3, 0.5, -4.0, -9.0, -9.0])
    high = torch.tensor([10.0, 6.0, 1.0, 9.0, 3.0, 4.0, 4.0, 9.0, 9.0])
    boxes = low + (high - low) * torch.rand(batch, count, 9, generator=generator)
    scores = torch.rand(batch, count, generator=generator)
    labels = torch.randint(-1, CLASSES, (batch, count), generator=generator)
    objects = FoundObjects(boxes, scores * (labels >= 0), labels)
    torch.testing.assert_close(rasterise_findings(objects, CLASSES, GRID), cell_by_cell(objects))


def test_a_cell_has_the_scores_of_all_classes_and_the_parameters_of_the_best_box() -> None:
    small = [1.0, 1.0, 0.0, 0.5, 0.5, 1.7, 0.0, 0.0, 1.0]
    findings = rasterise_findings(found(BUS, small, scores=[0.4, 0.9], labels=[0, 1]), CLASSES, GRID)
    assert findings[0, :2, 2, 4].tolist() == [pytest.approx(0.4), pytest.approx(0.9)]
    assert findings[0, -2:, 2, 4].tolist() == [0, pytest.approx(0.2)]
    assert findings[0, -2:, 2, 5].tolist() == [2, 0]
    assert findings[0, 0].gt(0).sum() == 3, "the bus covers three cells of 2 m"


def test_the_velocity_of_a_cell_is_that_of_its_box() -> None:
    velocity = found_velocity(rasterise_findings(found(BUS), CLASSES, GRID)).view(3, 4, 8)
    assert velocity[:, 2, 4].tolist() == [10, 0, 0]
    assert velocity[:, 0, 0].tolist() == [0, 0, 0]


def test_what_is_true_replaces_what_was_found_in_the_items_that_are_taught() -> None:
    both = FoundObjects.stack([found(BUS), found(BUS)])
    moved = both.boxes.clone()
    moved[..., 0] = -5
    true_objects = replace(both, boxes=moved, scores=torch.ones(2, 1))
    taught = rasterise_findings(teach(both, true_objects, torch.tensor([True, False])), CLASSES, GRID)
    alone = [rasterise_findings(one, CLASSES, GRID) for one in (true_objects, both)]
    assert torch.equal(taught[:1], alone[0][:1])
    assert torch.equal(taught[1:], alone[1][1:])


def memory(**changes: object) -> XMemBackboneWrapper:
    return small_memory(WRITE="findings", **changes).eval()


CAR = [2.0, 2.0, 0.0, 4.0, 2.0, 1.5, 0.3, 6.0, -2.0]


def test_what_was_found_is_written_and_reaches_later_frames_only() -> None:
    made = memory()
    step, frame = made.read(features(0), made.initial_state(1), FrameContext())
    with_car, without = (made.write(step.state, frame, one) for one in (found(CAR), None))
    assert_same(made.write(step.state, frame, FoundObjects.empty(1, CPU)), without)
    here = working(made, with_car).velocity
    assert here is not None
    assert here[0, :, -6].tolist() == pytest.approx([6, -2, 0])
    assert here.ne(0).any(dim=1).sum() == 1
    changed, same = (run_step(made, 1, features(1), state=state).occ_logits for state in (with_car, without))
    assert not torch.equal(changed, same)


def test_without_findings_tokens_have_no_velocity_and_what_was_found_is_not_written() -> None:
    made = small_memory().eval()
    step, frame = made.read(features(0), made.initial_state(1), FrameContext())
    state = made.write(step.state, frame, found(CAR))
    assert_same(state, made.write(step.state, frame))
    assert state.tokens.velocity is None


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_in_training_true_boxes_are_written_with_the_probability_of_teacher_forcing(share: float) -> None:
    made = memory().train()
    other = found([-6.0, -6.0, *CAR[2:]])
    context = FrameContext(scene_masks=mask(0), true_objects=found(CAR, scores=[1.0]))
    step, frame = made.read(features(0), made.initial_state(1), context)
    velocity = made.write(step.state, frame, other, share).tokens.velocity
    assert velocity is not None
    assert bool(velocity[0, 0, -6] != 0) == (share == 1)
    logits = made.read(features(0), made.initial_state(1), FrameContext(scene_masks=mask(0)))[0].occ_logits
    assert torch.equal(step.occ_logits, logits), "the gate of a frame doesn't know its boxes"


def test_a_token_moves_by_its_velocity_and_by_the_motion_of_the_car() -> None:
    made = memory()
    step, frame = made.read(features(0), made.initial_state(1), FrameContext())
    state = made.write(step.state, frame, found(CAR))
    moved = align_state(state, planar(1.0, 0.0, math.pi / 2), torch.tensor([0.5]), made.grid).tokens
    start, now = state.tokens.position[0, :, -6], moved.position[0, :, -6]
    assert start.tolist() == [2, 2, 0]
    assert now.tolist() == pytest.approx([1.0, -4.0, 0.0], abs=1e-5)  # at (5, 1) before the car drove and turned left
    assert moved.velocity is not None
    assert moved.velocity[0, :, -6].tolist() == pytest.approx([-2.0, -6.0, 0.0], abs=1e-5)


def test_prototypes_keep_their_velocities() -> None:
    made = memory()
    state = made.initial_state(1)
    for t in range(4):
        step, frame = made.read(features(t), state, FrameContext())
        state = made.write(step.state, frame, found([0.0, 0.0, 0.0, 40.0, 40.0, 1.5, 0.0, 6.0, -2.0]))
    prototypes = state.tokens.slice(0, made.cfg.LONG_TERM.MAX_TOKENS)
    assert prototypes.velocity is not None
    assert prototypes.valid.any()
    assert prototypes.velocity[0, 0][prototypes.valid[0]].tolist() == pytest.approx([6.0] * int(prototypes.count()))


def test_a_query_whose_tokens_are_all_out_of_reach_reads_nothing() -> None:
    made = small_memory(READ={"DISTANCE": "1 m", "NOTHING": True}).eval()
    state = run_step(made, 0, features(0)).state
    keys = made.project(made.features(features(1)))
    empty = made.empty_readout[:, None].expand(4, 16)
    far = replace(state.tokens, position=state.tokens.position + 50)
    torch.testing.assert_close(made._read_tokens(keys, far)[0][0, 0], empty, atol=1e-4, rtol=0)
    assert (made._read_tokens(keys, state.tokens)[0][0, 0] - empty).abs().amax() > 0.1
    plain = small_memory(READ={"DISTANCE": "1 m"}).eval()
    assert (plain._read_tokens(keys, far)[0][0, 0] - empty).abs().amax() > 0.1


def test_a_scene_gives_the_same_in_a_batch_as_alone() -> None:
    module = small_module(WRITE="findings", READ={"NOTHING": True})
    together, alone = module.initial_state(2), module.initial_state(1)
    both = FoundObjects.stack([found(CAR), found([-2.0, *CAR[1:]])])
    for t in range(4):
        inputs = torch.cat((features(t), features(10 + t)))
        read, single = module.read(inputs, together, FrameContext()), module.read(inputs[:1], alone, FrameContext())
        assert torch.equal(read.features[:1], single.features)
        together, alone = module.write(read, both), module.write(single, both.split()[0])
    assert_same(together.split()[0], alone)
