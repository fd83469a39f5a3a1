from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.schema import GTSamplingConfig
from remembev.data import Clip, Frame, NuScenesIndex, NuScenesSeqDataset
from remembev.data.pasting import TrackPaster, overlapping
from remembev.data.tracks import TrackDatabase, in_box_frame
from remembev.geometry import (
    pairwise_iou_bev,
    points_in_boxes,
    rasterise_boxes,
    relative_pose,
    transform_boxes,
)

from .conftest import hand_config
from .handmade import VERSION
from .test_dataset import NO_AUGMENTATION, dataset_of, world_of

NAMES = ["car", "truck", "pedestrian"]
EVERYTHING = (-409.6, -409.6, -400.0, 409.6, 409.6, 400.0)
NEAR = (-40.0, -40.0, -5.0, 40.0, 40.0, 3.0)


@pytest.fixture(scope="module")
def index(road_root: Path) -> NuScenesIndex:
    return NuScenesIndex.open(road_root, VERSION)


@pytest.fixture(scope="module")
def database(index: NuScenesIndex) -> TrackDatabase:
    return TrackDatabase.open(index, "hand_all", 2)


@pytest.fixture
def paster(index: NuScenesIndex, database: TrackDatabase) -> TrackPaster:
    """Pastes two trucks and two cars into clips of three frames that may have as many of their own."""
    sampling = GTSamplingConfig(SAMPLE_GROUPS={"truck": 2, "car": 2}, LIMIT_WHOLE_SCENE=False)
    return TrackPaster(database, index, sampling, NAMES, 3, 1, NEAR)


def empty_road(index: NuScenesIndex, numbers: Sequence[int] = (1, 2, 3)) -> list[Frame]:
    """The frames of a clip without any object."""
    return [index.load_annotations(number, []) for number in numbers]


def road_for(index: NuScenesIndex, ego: str) -> list[Frame]:
    """An empty clip whose recording car drives as those of the database do, or otherwise."""
    frames = empty_road(index)
    poses = [frame.global_from_lidar for frame in frames]
    poses = {"drives": poses, "stands": [poses[1]] * 3, "reverses": poses[::-1]}[ego]
    return [replace(frame, global_from_lidar=pose) for frame, pose in zip(frames, poses, strict=True)]


EGO = pytest.mark.parametrize("ego", ["drives", "stands", "reverses"])


def pasted_by(paster: TrackPaster, frames: Sequence[Frame], seed: int) -> list[Frame]:
    torch.manual_seed(seed)
    return paster.paste(frames)


seeds = st.integers(0, 2**32 - 1)


@EGO
def test_a_pasted_parked_object_stays_in_place(index: NuScenesIndex, paster: TrackPaster, ego: str) -> None:
    for seed in range(5):
        frames = pasted_by(paster, road_for(index, ego), seed)
        trucks = [frame.boxes[frame.labels == 1] for frame in frames]
        assert len(trucks[0]) > 0
        places = [transform_boxes(f.global_from_lidar, b.double()) for f, b in zip(frames, trucks, strict=True)]
        for place in places[1:]:
            torch.testing.assert_close(place[:, :6], places[0][:, :6], atol=2e-4, rtol=0)
            torch.testing.assert_close(place[:, 6].cos(), places[0][:, 6].cos(), atol=2e-2, rtol=0)  # sensor's tilt


@EGO
def test_a_pasted_moving_object_follows_its_velocity(index: NuScenesIndex, paster: TrackPaster, ego: str) -> None:
    moving = 0
    for seed in range(5):
        frames = pasted_by(paster, road_for(index, ego), seed)
        world = [transform_boxes(f.global_from_lidar, f.boxes.double()) for f in frames]
        for first, second in pairwise(world):
            cars = frames[0].labels == 0
            torch.testing.assert_close(first[cars, :2] + 0.5 * first[cars, 7:], second[cars, :2], atol=0.05, rtol=0)
            moving += int((first[cars, 7:].norm(dim=1) > 2).sum())
    assert moving > 0


@EGO
def test_in_the_anchor_frame_an_object_has_its_source_pose_relative_to_the_sensor(
    index: NuScenesIndex, paster: TrackPaster, ego: str
) -> None:
    known = paster.database.tables.box
    frames = pasted_by(paster, road_for(index, ego), 0)
    away = [(known - frame.boxes[:, None]).abs().amax(dim=2).amin(dim=1) for frame in frames]
    assert len(away[1]) > 0
    assert (away[1] < 1e-4).all()
    if ego == "stands":
        assert (away[0][frames[0].labels == 0] > 0.1).all()  # the cars have moved, the trucks have not


def test_pasted_points_are_the_source_s_in_the_box_s_frame(index: NuScenesIndex, paster: TrackPaster) -> None:
    tables = paster.database.tables
    rows = torch.tensor([3, 8, 20])
    boxes = torch.randn(3, 9) * 4
    points = paster._points(rows, boxes)
    for row, box in zip(rows.tolist(), boxes, strict=True):
        source = tables.points[int(tables.point_start[row]) : int(tables.point_start[row + 1])]
        placed, points = points.split((len(source), len(points) - len(source)))
        torch.testing.assert_close(in_box_frame(placed[:, :3] - box[:3], box[6]), source[:, :3], atol=1e-5, rtol=0)
        assert torch.equal(placed[:, 3:], source[:, 3:])
    assert len(points) == 0


@pytest.mark.parametrize("seed", range(4))
def test_every_frame_has_the_points_of_its_objects_in_their_boxes(
    index: NuScenesIndex, paster: TrackPaster, seed: int
) -> None:
    for frame in pasted_by(paster, empty_road(index), seed):
        current = frame.points[frame.points[:, 4] == 0]
        inside = points_in_boxes(current, transform_size(frame.boxes, 1.001))
        assert inside.any(dim=0).all()
        assert (inside.sum(dim=1) >= 8).all()


def transform_size(boxes: Tensor, factor: float) -> Tensor:
    boxes = boxes.clone()
    boxes[:, 3:6] *= factor
    return boxes


@pytest.mark.parametrize("seed", range(8))
def test_nothing_overlaps_in_any_frame(index: NuScenesIndex, paster: TrackPaster, seed: int) -> None:
    frames = [index.load_annotations(number, NAMES) for number in (5, 6, 7)]
    for frame in pasted_by(paster, frames, seed):
        pasted = frame.track_ids >= index.num_tracks
        overlap = pairwise_iou_bev(frame.boxes[pasted], frame.boxes)
        overlap[torch.arange(len(overlap)), pasted.nonzero()[:, 0]] = 0
        assert not overlap.any()
        assert not points_in_boxes(torch.zeros(1, 3), frame.boxes[pasted]).any()


def test_pasted_objects_keep_one_fresh_track_id_in_every_frame(index: NuScenesIndex, paster: TrackPaster) -> None:
    real = [index.load_annotations(number, NAMES) for number in (1, 2, 3)]
    frames = pasted_by(paster, real, 3)
    ids = [frame.track_ids[frame.track_ids >= index.num_tracks].tolist() for frame in frames]
    assert len(ids[0]) > 1
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == len(ids[0])
    assert min(ids[0]) >= index.num_tracks
    for before, after in zip(real, frames, strict=True):
        assert torch.equal(after.boxes[: len(before.boxes)], before.boxes)
        assert torch.equal(after.track_ids[: len(before.boxes)], before.track_ids)


def test_classes_reach_their_sample_groups_when_there_is_room(index: NuScenesIndex, database: TrackDatabase) -> None:
    sampling = GTSamplingConfig(SAMPLE_GROUPS={"car": 3, "truck": 1, "bus": 2})
    paster = TrackPaster(database, index, sampling, NAMES, 2, 1, NEAR)
    counts = []
    for seed in range(20):
        labels = pasted_by(paster, empty_road(index, (1, 2)), seed)[0].labels
        counts.append([int((labels == label).sum()) for label in range(3)])
    assert max(counts) == [3, 1, 0]
    assert [sorted(column)[10] for column in zip(*counts, strict=True)] == [3, 1, 0]


def test_the_clip_s_own_objects_count_only_with_limit_whole_scene(
    index: NuScenesIndex, database: TrackDatabase
) -> None:
    frames = [index.load_annotations(number, NAMES) for number in (1, 2, 3)]  # two cars in range and a truck
    for limited, expected in ((True, {0: 1, 1: 0, 2: 0}), (False, {0: 3, 1: 1, 2: 0})):
        sampling = GTSamplingConfig(SAMPLE_GROUPS={"car": 3, "truck": 1}, LIMIT_WHOLE_SCENE=limited)
        missing = TrackPaster(database, index, sampling, NAMES, 3, 1, NEAR)._missing(frames)
        assert missing == {label: count for label, count in expected.items() if label < 2}


def test_objects_with_few_points_out_of_range_or_with_short_tracks_are_never_pasted(
    index: NuScenesIndex, database: TrackDatabase
) -> None:
    def windows(seq_len: int, stride: int = 1, **settings: object) -> dict[int, int]:
        sampling = GTSamplingConfig(SAMPLE_GROUPS={"car": 9, "pedestrian": 9}, **settings)
        found = TrackPaster(database, index, sampling, NAMES, seq_len, stride, NEAR)._windows
        return {label: len(starts) for label, starts in found.items()}

    # In each of two scenes a car in frames 0 to 4, one in 1 to 4, one 300 m away, and a pedestrian in frame 2 alone.
    assert windows(1) == {0: 18, 2: 2}
    assert windows(2) == {0: 14, 2: 0}
    assert windows(2, 3) == {0: 6, 2: 0}
    assert windows(5) == {0: 2, 2: 0}
    assert windows(1, MIN_POINTS={"car": 25}) == {0: 0, 2: 2}
    assert windows(1, MIN_POINTS={"pedestrian": 9}) == {0: 18, 2: 2}


def test_a_track_with_other_timing_is_not_pasted(index: NuScenesIndex, paster: TrackPaster) -> None:
    frames = empty_road(index)
    assert len(pasted_by(paster, frames, 0)[0].boxes) > 0
    frames[2] = replace(frames[2], timestamp=frames[2].timestamp + 0.2)
    assert len(pasted_by(paster, frames, 0)[0].boxes) == 0


def test_objects_are_not_pasted_into_the_ego_vehicle_s_path(index: NuScenesIndex, paster: TrackPaster) -> None:
    frames = empty_road(index)
    rows = torch.zeros(1, 3, dtype=torch.int64) + torch.arange(3)
    on_the_road = torch.tensor([[0.0, 4.0, -1.0, 4.0, 2.0, 1.5, 1.57, 0.0, 0.0]])
    ahead = torch.stack(
        [transform_boxes(relative_pose(f.global_from_lidar, frames[0].global_from_lidar), on_the_road.double())
         for f in frames], dim=1
    ).float()  # fmt: skip
    assert overlapping(ahead[:, 2], torch.tensor([[0.0, 0, 0, 4, 4, 2, 0]])).any()
    assert not paster._fits(rows, ahead, frames).any()
    aside = ahead + torch.tensor([9.0, 0, 0, 0, 0, 0, 0, 0, 0])
    assert paster._fits(rows, aside, frames).all()


def test_only_pasted_boxes_are_cleared_with_a_margin(index: NuScenesIndex, database: TrackDatabase) -> None:
    sampling = GTSamplingConfig(SAMPLE_GROUPS={"car": 4}, REMOVE_EXTRA_WIDTH=(0.4, 0.2, 0.6))
    paster = TrackPaster(database, index, sampling, NAMES, 3, 1, NEAR)
    real = index.load_annotations(1, NAMES)
    frame = pasted_by(paster, [real, *empty_road(index, (2, 3))], 1)[0]
    added = frame.boxes[len(real.boxes) :]
    assert len(added) > 0
    wider = added + torch.tensor([0, 0, 0, 0.4, 0.2, 0.6, 0, 0, 0])
    assert torch.equal(paster.clearance(frame), wider)


@given(seeds, st.integers(0, 12), st.integers(0, 12))
def test_boxes_overlap_where_they_share_area(seed: int, first: int, second: int) -> None:
    torch.manual_seed(seed)
    boxes = torch.cat((torch.randn(first + second, 3) * 5, torch.rand(first + second, 3) * 6 + 0.1), dim=1)
    boxes = torch.cat((boxes, torch.randn(first + second, 1) * 3), dim=1)
    expected = pairwise_iou_bev(boxes[:first], boxes[first:]) > 0
    assert torch.equal(overlapping(boxes[:first], boxes[first:]), expected)


# ------------------------------------------------------------------------------------------------------------ the clips


def clip_with(root: Path, *overrides: str, seed: int = 0, item: int = 1, sampling: bool = True) -> Clip:
    cfg = hand_config(
        root, *overrides, *["DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING={SAMPLE_GROUPS: {truck: 3, car: 4}}"] * sampling
    )
    dataset = dataset_of(cfg)
    torch.manual_seed(seed)
    return dataset[item]


def is_pasted(clip: Clip, index: NuScenesIndex) -> Tensor:
    return clip["gt_track_ids"] >= index.num_tracks


def test_without_sampling_the_clip_is_untouched(road_root: Path, index: NuScenesIndex) -> None:
    plain = clip_with(road_root, *NO_AUGMENTATION, sampling=False)
    full = clip_with(road_root, *NO_AUGMENTATION)
    pasted = is_pasted(full, index)
    assert pasted.any()
    for t in range(3):
        real = (full["gt_labels"][t] >= 0) & ~pasted[t]
        assert torch.equal(full["gt_boxes"][t, real], plain["gt_boxes"][t, plain["gt_labels"][t] >= 0])
    assert not is_pasted(plain, index).any()
    none = "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING={SAMPLE_GROUPS: {truck: 1, car: 2}}"  # it has as many
    satisfied = clip_with(road_root, *NO_AUGMENTATION, none, sampling=False)
    assert all((satisfied[key] == plain[key]).all() for key in plain)


def test_only_training_pastes(road_root: Path, index: NuScenesIndex) -> None:
    cfg = hand_config(road_root, "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING={SAMPLE_GROUPS: {truck: 5}}")
    assert NuScenesSeqDataset(cfg.DATA_CONFIG, cfg.CLASS_NAMES, training=False).paster is None


@pytest.mark.parametrize("alignment", ["explicit", "implicit"])
@pytest.mark.parametrize("seed", [0, 1])
def test_augmented_clips_hold_pasted_objects_with_their_points(
    road_root: Path, index: NuScenesIndex, alignment: str, seed: int
) -> None:
    clip = clip_with(road_root, f"DATA_CONFIG.ALIGNMENT={alignment}", seed=seed)
    pasted = is_pasted(clip, index)
    assert pasted.any()
    for t in range(3):
        points = clip["points"][t, : clip["num_points"][t]]
        inside = points_in_boxes(points, transform_size(clip["gt_boxes"][t, pasted[t]], 1.05))
        assert (inside.sum(dim=1) >= 8).all()
        assert (points[inside.any(dim=0), 3] >= 1000).float().mean() > 0.9  # a landmark or two lay in the margin


@pytest.mark.parametrize("seed", range(3))
def test_explicit_and_implicit_alignment_paste_the_same_into_the_same_world(
    road_root: Path, index: NuScenesIndex, seed: int
) -> None:
    wide = f"DATA_CONFIG.POINT_CLOUD_RANGE={list(EVERYTHING)}"
    voxel = "DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE=[3.2, 3.2, 800]"
    worlds = {}
    for alignment in ("explicit", "implicit"):
        clip = clip_with(
            road_root, f"DATA_CONFIG.ALIGNMENT={alignment}", wide, voxel, *NO_AUGMENTATION, seed=seed
        )  # fmt: skip
        last = index.load_annotations(3).global_from_lidar
        worlds[alignment] = (clip, *world_of(clip, last))
    (explicit, points, boxes), (implicit, other_points, other_boxes) = worlds["explicit"], worlds["implicit"]
    assert is_pasted(explicit, index).any()
    for key in ("gt_labels", "gt_track_ids", "gt_num_points", "gt_visibility", "num_points"):
        assert torch.equal(explicit[key], implicit[key])
    for ours, theirs in zip(boxes, other_boxes, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)
    for ours, theirs in zip(points, other_points, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_masks_and_slots_cover_the_pasted_objects(road_root: Path, index: NuScenesIndex) -> None:
    clip = clip_with(road_root, "DATA_CONFIG.AGENT_SLOTS=12")
    cfg = hand_config(road_root)
    slots: dict[int, set[int]] = {}
    for t in range(3):
        for box, track in zip(clip["gt_boxes"][t], clip["gt_track_ids"][t].tolist(), strict=True):
            if track < index.num_tracks:
                continue
            covered = rasterise_boxes(box[None], cfg.memory_grid)[0]
            assert clip["scene_masks"][t, 0][covered].all()
            holding = [slot for slot in range(12) if clip["agent_masks"][t, slot][covered].all()]
            slots[track] = slots.get(track, set(holding)) & set(holding)
            assert all(clip["valids_mask"][t, slot] for slot in holding)
    assert slots
    assert all(slots.values())


def test_a_seed_repeats_what_is_pasted(road_root: Path) -> None:
    first, second, third = (clip_with(road_root, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first["points"], second["points"])
    assert first["points"].shape != third["points"].shape or not torch.equal(first["points"], third["points"])
