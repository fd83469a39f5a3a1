"""Remembered objects: moved on, replaced by what a frame shows, forgotten, and judged by a learnt presence."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.schema import MotionConfig, ObjectsConfig
from remembev.geometry import BEVGrid, make_pose, pairwise_iou_bev, transform_boxes
from remembev.memory.motion import MotionModel
from remembev.memory.objects import (
    NO_OBJECT,
    FoundObjects,
    ObjectMemory,
    Presence,
    are_same,
    merge_found,
    move_objects,
)
from remembev.models.losses import presence_loss

CFG = ObjectsConfig(MAX_OBJECTS=6)
GRID = BEVGrid(-40.0, -40.0, 40.0, 40.0, height=16, width=16)
CAR, TRUCK = 0, 1
MOTION = MotionModel(("car", "truck"), CFG.MOTION, CFG.CLASS_MOTION, noise=CFG.POSITION_NOISE)
EMPTY = ObjectMemory.empty(1, CFG.MAX_OBJECTS, torch.device("cpu"))


def box(x: float = 0.0, y: float = 0.0, vx: float = 0.0, vy: float = 0.0, yaw: float = 0.0) -> list[float]:
    return [x, y, 0.0, 4.0, 2.0, 1.5, yaw, vx, vy]


def person(x: float) -> list[float]:
    return [x, 0.0, 0.0, 0.6, 0.6, 1.7, 0.0, 0.0, 0.0]


def found(*boxes: list[float], score: float = 0.8, label: int = CAR) -> FoundObjects:
    rows = torch.tensor(boxes).view(1, -1, 9)
    return FoundObjects(rows, torch.full(rows.shape[:2], score), torch.full(rows.shape[:2], label))


def remember(*boxes: list[float], score: float = 0.8, label: int = CAR) -> ObjectMemory:
    return merge_found(EMPTY, found(*boxes, score=score, label=label), GRID, CFG, MOTION)[1]


def real(objects: FoundObjects | ObjectMemory) -> Tensor:
    return objects.boxes[objects.labels != NO_OBJECT]


def test_what_a_frame_shows_is_remembered_with_its_score() -> None:
    objects = remember(box(5), score=0.7)
    assert real(objects).tolist() == [pytest.approx(box(5))]
    assert objects.best[objects.valid].tolist() == [pytest.approx(0.7)]
    assert objects.age[objects.valid].tolist() == [0]


def test_a_box_of_a_low_score_is_returned_but_not_remembered() -> None:
    merged, objects = merge_found(EMPTY, found(box(5), score=0.05), GRID, CFG, MOTION)
    assert len(real(merged)) == 1
    assert len(real(objects)) == 0


def test_an_object_that_a_frame_does_not_show_is_returned_with_the_score_of_its_presence() -> None:
    objects = replace(remember(box(5), score=0.8), presence=torch.zeros(1, CFG.MAX_OBJECTS))
    merged, after = merge_found(objects, found(), GRID, CFG, MOTION)
    assert merged.scores[merged.labels != NO_OBJECT].tolist() == [pytest.approx(0.5)]
    assert after.best[after.valid].tolist() == [pytest.approx(0.8)]


def test_a_box_replaces_the_object_that_it_overlaps_and_keeps_the_best_score() -> None:
    merged, objects = merge_found(remember(box(5), score=0.9), found(box(5.5), score=0.4), GRID, CFG, MOTION)
    assert real(merged)[:, 0].tolist() == [5.5]
    assert real(objects)[:, 0].tolist() == [pytest.approx(5.25)]  # two sightings, as sure as each other
    assert objects.best[objects.valid].tolist() == [pytest.approx(0.9)]


def test_a_box_of_a_low_score_does_not_show_an_object_that_has_a_better_one() -> None:
    hidden = remember(box(5), score=0.6)
    merged, after = merge_found(hidden, found(box(5.3), score=0.15), GRID, CFG, MOTION)
    assert merged.scores[merged.labels != NO_OBJECT].tolist() == [pytest.approx(0.6), pytest.approx(0.15)]
    assert real(after)[:, 0].tolist() == [pytest.approx(5.0)]
    faded = replace(hidden, presence=torch.full((1, CFG.MAX_OBJECTS), -3.0))
    merged, after = merge_found(faded, found(box(5.3), score=0.15), GRID, CFG, MOTION)
    assert merged.scores[merged.labels != NO_OBJECT].tolist() == [pytest.approx(0.15)]
    assert len(real(after)) == 0  # nor is such a box remembered


def test_a_box_gets_the_velocity_of_the_object_that_it_shows() -> None:
    objects = remember(box(0))
    for number in range(1, 5):
        objects = move_objects(objects, None, torch.tensor([0.5]), MOTION)
        merged, objects = merge_found(objects, found(box(3.0 * number)), GRID, CFG, MOTION)
        assert len(real(merged)) == 1
        assert real(merged)[0, 0] == 3.0 * number
    assert real(merged)[0, 7:].tolist() == pytest.approx([6, 0], abs=0.5)
    gone = merge_found(move_objects(objects, None, torch.tensor([0.5]), MOTION), found(), GRID, CFG, MOTION)[0]
    assert real(gone)[0, :2].tolist() == pytest.approx([15, 0], abs=0.5)


def test_a_new_object_has_the_velocity_that_it_was_found_with() -> None:
    merged, objects = merge_found(EMPTY, found(box(5, 0, 2, 1)), GRID, CFG, MOTION)
    assert real(merged)[0, 7:].tolist() == [2, 1]
    assert real(objects)[0, 7:].tolist() == [2, 1]


def test_what_stands_still_is_remembered_where_it_was_found() -> None:
    still = MotionModel(("car", "truck"), MotionConfig(STILL=True), {}, noise=0.4)
    merged, objects = merge_found(remember(box(5)), found(box(5.5, 0, 2, 0)), GRID, CFG, still)
    assert real(merged)[0, 7:].tolist() == [2, 0]
    moved = move_objects(objects, None, torch.tensor([1.0]), still)
    assert real(moved)[0, 0] == 5.5


def test_an_object_of_another_class_stays() -> None:
    merged, objects = merge_found(remember(box(5), label=TRUCK), found(box(5)), GRID, CFG, MOTION)
    assert sorted(merged.labels[merged.labels != NO_OBJECT].tolist()) == [CAR, TRUCK]
    assert objects.valid.sum() == 2


def test_small_boxes_are_the_same_if_their_centres_are_near() -> None:
    assert len(real(merge_found(remember(person(5)), found(person(5.7)), GRID, CFG, MOTION)[0])) == 1
    assert len(real(merge_found(remember(person(5)), found(person(6.2)), GRID, CFG, MOTION)[0])) == 2


def test_an_object_is_forgotten_after_a_time() -> None:
    objects = remember(box(5))
    for _ in range(8):
        objects = merge_found(move_objects(objects, None, torch.tensor([0.5]), MOTION), found(), GRID, CFG, MOTION)[1]
    assert len(real(objects)) == 0


def test_an_object_off_the_grid_is_remembered_but_not_returned() -> None:
    merged, objects = merge_found(remember(box(45)), found(), GRID, CFG, MOTION)
    assert len(real(merged)) == 0
    assert len(real(objects)) == 1


def test_the_best_stay_where_places_are_short() -> None:
    boxes = [box(4 * x) for x in range(8)]
    crowd = replace(found(*boxes), scores=torch.linspace(0.2, 0.9, 8)[None])
    _, objects = merge_found(EMPTY, crowd, GRID, CFG, MOTION)
    assert objects.best[0].tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])


@settings(max_examples=25, deadline=None)
@given(
    yaw=st.floats(-math.pi, math.pi),
    shift=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    velocity=st.tuples(st.floats(-10, 10), st.floats(-10, 10)),
    elapsed=st.floats(0, 1),
)
def test_objects_move_by_their_velocity_whatever_the_ego_does(
    yaw: float, shift: tuple[float, float], velocity: tuple[float, float], elapsed: float
) -> None:
    prev_from_frame = make_pose((*shift, 0.0), (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)))[None].float()
    objects = move_objects(remember(box(3, 4, *velocity)), prev_from_frame, torch.tensor([elapsed]), MOTION)
    back = transform_boxes(prev_from_frame, objects.boxes)[0, 0]
    assert back[:2].tolist() == pytest.approx([3 + velocity[0] * elapsed, 4 + velocity[1] * elapsed], abs=1e-4)
    assert back[7:].tolist() == pytest.approx(velocity, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_a_frame_shows_agrees_with_its_plain_twin(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([20, 20, 1, 3, 3, 1, 3, 1, 1])
    boxes = torch.rand(2, 10, 9, generator=generator) * spread + 1
    labels = torch.randint(0, 2, (2, 10), generator=generator)
    objects = replace(ObjectMemory.empty(1, 10, torch.device("cpu")), boxes=boxes[0, None], labels=labels[0, None])
    objects = replace(objects, presence=torch.randn(1, 10, generator=generator))
    shown = FoundObjects(boxes[1, None], 0.4 * torch.rand(1, 10, generator=generator), labels[1, None])
    same = are_same(objects, shown, CFG)[0]
    assert torch.equal(same, plain_same(objects, shown))
    merged, _ = merge_found(objects, shown, GRID, CFG, MOTION)
    assert (merged.labels != NO_OBJECT).sum() == 10 + int((~same.any(dim=0)).sum())


def plain_same(memory: ObjectMemory, shown: FoundObjects) -> Tensor:
    """``are_same`` of one scene, pair by pair."""
    (objects,), (found,) = memory.boxes, shown.boxes
    may_show = (shown.labels[0, :, None] == memory.labels) & (
        (shown.scores[0, :, None] >= CFG.MIN_SCORE) | (shown.scores[0, :, None] >= memory.scores)
    )
    same = (pairwise_iou_bev(found, objects) > CFG.SAME_ABOVE) & may_show
    free_found, free_objects = ~same.any(dim=1), ~same.any(dim=0)
    candidates = {}
    for f in range(len(found)):
        for o in range(len(objects)):
            distance = float((found[f, :2] - objects[o, :2]).norm())
            is_free = free_found[f] and free_objects[o] and may_show[f, o]
            if is_free and distance <= min(float(objects[o, 3]), 2 * CFG.SAME_WITHIN):
                candidates[f, o] = distance
    for (f, o), distance in candidates.items():
        rivals = [other for pair, other in candidates.items() if (pair[0] == f) != (pair[1] == o)]
        same[f, o] = all(distance <= other for other in rivals)
    return same


def test_scenes_of_a_batch_do_not_mix() -> None:
    both = ObjectMemory.stack([remember(box(5)), remember(box(9))])
    one = merge_found(both, FoundObjects.stack([found(box(5.2)), found(box(20))]), GRID, CFG, MOTION)[0]
    alone = [
        merge_found(remember(box(5)), found(box(5.2)), GRID, CFG, MOTION)[0],
        merge_found(remember(box(9)), found(box(20)), GRID, CFG, MOTION)[0],
    ]
    for name in ("boxes", "scores", "labels"):
        assert torch.equal(getattr(one, name), torch.cat([getattr(item, name) for item in alone]))


def presence() -> Presence:
    torch.manual_seed(0)
    return Presence(channels=4, classes=2, cfg=CFG)


def test_an_untrained_presence_is_the_score_of_a_coasting_track() -> None:
    seen = merge_found(remember(box(5), box(20), score=0.8), found(box(5), score=0.3), GRID, CFG, MOTION)[1]
    objects = move_objects(seen, None, torch.tensor([0.5]), MOTION)
    objects = move_objects(objects, None, torch.tensor([0.25]), MOTION)
    visibility = torch.zeros(1, 3, 16, 16)
    visibility[:, 0, :, 12:] = 0.6  # from x = 20 m on most rays end beyond their cell
    visibility[:, 2, :, 12:] = 0.3
    logits = presence()(torch.randn(1, 4, 16, 16), visibility, objects, GRID)
    assert logits.shape == (1, CFG.MAX_OBJECTS)
    expected = {5: 0.8 * 0.85 * 0.95**1.5, 20: 0.8 * 0.85 * 0.95**1.5 * 0.5}
    x = objects.boxes[objects.valid][:, 0].round().int().tolist()
    assert sorted(x) == sorted(expected)
    assert logits[objects.valid].sigmoid().tolist() == pytest.approx([expected[each] for each in x])


def test_the_presence_of_an_object_depends_on_its_place_alone() -> None:
    network = presence()
    torch.nn.init.normal_(network.logit.weight)
    maps, objects = torch.zeros(1, 4, 16, 16), remember(box(-20, -20), box(20, 20))
    changed = maps.clone()
    changed[:, :, 8:, 8:] = 1
    before, after = (network(each, torch.zeros(1, 3, 16, 16), objects, GRID)[0, :2] for each in (maps, changed))
    assert ((before != after).tolist()) == [False, True]


def test_the_presence_learns_who_is_still_there() -> None:
    network = presence()
    objects = remember(box(-20, -20), box(20, 20))
    features = torch.zeros(1, 4, 16, 16)
    features[:, 0, 8:, 8:] = 1  # what tells the two places apart
    truth = torch.tensor([[box(20, 20)]])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(100):
        logits = network(features, torch.zeros(1, 3, 16, 16), objects, GRID)
        judged = replace(objects, presence=logits)
        known = torch.ones(1, 1, dtype=torch.bool)
        loss = presence_loss(judged, found(), truth, torch.tensor([[CAR]]), known, CFG)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert logits[0, :2].sigmoid().round().tolist() == [0, 1]


def test_an_object_near_one_that_can_not_be_known_does_not_count() -> None:
    objects = replace(remember(box(5)), presence=torch.full((1, CFG.MAX_OBJECTS), 3.0))
    truth, labels = torch.tensor([[box(5)]]), torch.tensor([[CAR]])
    unknown, known = (
        presence_loss(objects, found(), truth, labels, torch.tensor([[flag]]), CFG) for flag in (False, True)
    )
    assert unknown == 0
    assert known > 0


def test_an_object_that_another_box_already_shows_is_not_there_for_the_loss() -> None:
    objects = replace(remember(person(10)), presence=torch.full((1, CFG.MAX_OBJECTS), -3.0))
    truth, labels, known = torch.tensor([[person(10.8)]]), torch.tensor([[CAR]]), torch.tensor([[True]])
    shown = presence_loss(objects, found(person(11.5)), truth, labels, known, CFG)
    hidden = presence_loss(objects, found(), truth, labels, known, CFG)
    assert shown < 0.1 * hidden


def test_a_box_near_an_object_that_it_does_not_overlap_is_the_same_if_each_is_the_other_s_nearest() -> None:
    merged, _ = merge_found(remember(box(5)), found(box(5, 3)), GRID, CFG, MOTION)
    assert len(real(merged)) == 1
    merged, _ = merge_found(remember(box(5)), found(box(5, 3), box(5, 2.5)), GRID, CFG, MOTION)
    assert len(real(merged)) == 2
    merged, _ = merge_found(remember(box(5)), found(box(5, 4.5)), GRID, CFG, MOTION)
    assert len(real(merged)) == 2
