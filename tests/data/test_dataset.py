from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from remembev.config import Config
from remembev.data import Clip, Frame, NuScenesIndex, NuScenesSeqDataset
from remembev.data.frame import seconds_unseen
from remembev.errors import DataError
from remembev.geometry import BEVGrid, transform_boxes, transform_points

from .conftest import hand_config
from .handmade import START_US, VERSION, write_handmade

NO_AUGMENTATION = (
    "DATA_CONFIG.DATA_AUGMENTOR.FLIP=[]",
    "DATA_CONFIG.DATA_AUGMENTOR.ROTATION=[0, 0]",
    "DATA_CONFIG.DATA_AUGMENTOR.SCALING=[1, 1]",
)


def dataset_of(cfg: Config, **keywords: object) -> NuScenesSeqDataset:
    return NuScenesSeqDataset(cfg.DATA_CONFIG, cfg.CLASS_NAMES, mask_grid=cfg.memory_grid, **keywords)


def world_of(clip: Clip, global_from_last: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Points and boxes of every frame in the world, by way of the clip's relative poses."""
    points, boxes = [], []
    for t in range(len(clip["timestamp"])):
        pose = global_from_last @ clip["last_from_frame"][t].double()
        points.append(transform_points(pose, clip["points"][t, : clip["num_points"][t], :3].double()))
        boxes.append(transform_boxes(pose, clip["gt_boxes"][t, clip["gt_labels"][t] >= 0].double()))
    return points, boxes


def test_an_item_has_the_tensors_of_the_design(hand_cfg: Config) -> None:
    clip = dataset_of(hand_cfg)[0]
    points, boxes = clip["points"].shape[1], clip["gt_boxes"].shape[1]
    mask = hand_cfg.memory_grid.height, hand_cfg.memory_grid.width
    shapes = {
        "points": (3, points, 5), "num_points": (3,), "gt_boxes": (3, boxes, 9), "gt_labels": (3, boxes),
        "gt_track_ids": (3, boxes), "gt_num_points": (3, boxes), "gt_visibility": (3, boxes),
        "gt_seconds_unseen": (3, boxes),
        "last_from_frame": (3, 4, 4), "prev_from_frame": (3, 4, 4), "timestamp": (3,), "scene_token": (3,),
        "sample_token": (3,), "scene_masks": (3, 1, *mask), "agent_masks": (3, 3, *mask), "valids_mask": (3, 3),
    }  # fmt: skip
    assert {key: tuple(value.shape) for key, value in clip.items()} == shapes
    integer = ("num_points", "gt_labels", "gt_track_ids", "gt_num_points", "gt_visibility")
    assert all(clip[key].dtype == torch.int64 for key in integer)
    single = (
        "points",
        "gt_boxes",
        "gt_seconds_unseen",
        "last_from_frame",
        "prev_from_frame",
        "scene_masks",
        "agent_masks",
    )
    assert all(clip[key].dtype == torch.float32 for key in single)
    assert clip["timestamp"].dtype == torch.float64
    assert clip["valids_mask"].dtype == torch.bool
    assert all(value.isfinite().all() for key, value in clip.items() if key in (*integer, *single[:2], *single[3:]))
    assert clip["sample_token"].tolist() == ["sample-0-0", "sample-0-1", "sample-0-2"]
    assert clip["scene_token"].tolist() == ["scene-token-0"] * 3
    assert clip["points"].shape[1] == clip["num_points"].max()


def test_one_slot_means_no_agent_masks(hand_root: Path) -> None:
    clip = dataset_of(hand_config(hand_root, "DATA_CONFIG.AGENT_SLOTS=1"))[0]
    assert "scene_masks" in clip
    assert not {"agent_masks", "valids_mask"} & set(clip)


@pytest.mark.parametrize(("seq_len", "stride", "clips"), [(3, 1, 6), (2, 3, 4), (5, 1, 2), (1, 1, 10), (3, 2, 2)])
def test_clips_start_at_every_frame_from_which_they_fit_and_never_cross_a_scene(
    hand_cfg: Config, seq_len: int, stride: int, clips: int
) -> None:
    dataset = dataset_of(hand_cfg, seq_len=seq_len, stride=stride)
    assert len(dataset) == clips
    for clip in (dataset[item] for item in range(len(dataset))):
        assert len(clip["timestamp"]) == seq_len
        assert len(set(clip["scene_token"].tolist())) == 1
        torch.testing.assert_close(clip["timestamp"].diff(), torch.full((seq_len - 1,), 0.5 * stride).double())


def test_timestamps_are_exact_to_a_microsecond(hand_cfg: Config) -> None:
    time = dataset_of(hand_cfg, seq_len=2)[4]["timestamp"]
    assert (time * 1e6).round().long().tolist() == [START_US + 100_000_000, START_US + 100_500_000]


@pytest.mark.parametrize("training", [False, True])
def test_training_takes_its_split_and_testing_the_other(hand_cfg: Config, training: bool) -> None:
    dataset = dataset_of(hand_cfg, training=training)
    scenes = {str(dataset[item]["scene_token"][0]) for item in range(len(dataset))}
    assert scenes == ({"scene-token-0", "scene-token-1"} if training else {"scene-token-1"})


def test_only_training_augments(hand_cfg: Config) -> None:
    for training in (False, True):
        dataset = dataset_of(hand_cfg, training=training)
        assert torch.equal(dataset[0]["points"], dataset[0]["points"]) is not training


def test_a_seed_repeats_an_item_and_the_next_draw_differs(hand_cfg: Config) -> None:
    dataset = dataset_of(hand_cfg)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append([dataset[0]["gt_boxes"], dataset[0]["gt_boxes"]])
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert not torch.equal(draws[0][0], draws[2][0])


@pytest.mark.parametrize("training", [True, False])
def test_shuffling_changes_the_order_of_the_points_and_nothing_else(hand_root: Path, training: bool) -> None:
    plain = dataset_of(hand_config(hand_root, *NO_AUGMENTATION), training=training)[0]
    changes = [f"DATA_CONFIG.DATA_PROCESSOR.SHUFFLE_POINTS.{mode}=true" for mode in ("train", "test")]
    dataset = dataset_of(hand_config(hand_root, *NO_AUGMENTATION, *changes), training=training)
    first, second = dataset[0], dataset[0]
    assert torch.equal(first["points"], second["points"]) == (not training)
    assert not torch.equal(first["points"], plain["points"])
    for key in ("num_points", "gt_boxes", "scene_masks"):
        assert torch.equal(first[key], plain[key])
    for shuffled, ordered in zip(first["points"], plain["points"], strict=True):
        assert sorted(shuffled.tolist()) == sorted(ordered.tolist())


def test_explicit_and_implicit_alignment_give_the_same_world(hand_root: Path, index: NuScenesIndex) -> None:
    wide = "DATA_CONFIG.POINT_CLOUD_RANGE=[-409.6, -409.6, -400, 409.6, 409.6, 400]"
    voxel = "DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE=[3.2, 3.2, 800]"
    worlds = {}
    for alignment in ("explicit", "implicit"):
        cfg = hand_config(hand_root, f"DATA_CONFIG.ALIGNMENT={alignment}", wide, voxel)
        dataset = dataset_of(cfg, training=False)
        last = index.load_frame(dataset.clips[1][-1])
        worlds[alignment] = world_of(dataset[1], last.global_from_lidar)
    for explicit, implicit in zip(worlds["explicit"][0], worlds["implicit"][0], strict=True):
        torch.testing.assert_close(explicit, implicit, atol=1e-4, rtol=0)
    for t, (explicit, implicit) in enumerate(zip(worlds["explicit"][1], worlds["implicit"][1], strict=True)):
        stored = index.load_frame(dataset.clips[1][t])
        truth = transform_boxes(stored.global_from_lidar, stored.boxes.double())
        assert len(explicit) == len(implicit) == len(truth)
        torch.testing.assert_close(explicit, truth, atol=1e-3, rtol=0)
        torch.testing.assert_close(implicit, truth, atol=1e-3, rtol=0)


def test_relative_poses_are_the_identity_after_explicit_alignment(hand_root: Path) -> None:
    clip = dataset_of(hand_config(hand_root, "DATA_CONFIG.ALIGNMENT=explicit"))[0]
    identity = torch.eye(4).expand(3, 4, 4)
    torch.testing.assert_close(clip["last_from_frame"], identity, atol=1e-7, rtol=0)
    torch.testing.assert_close(clip["prev_from_frame"], identity, atol=1e-7, rtol=0)


def test_explicit_alignment_keeps_the_last_frame_as_it_is(hand_root: Path) -> None:
    clips = [
        dataset_of(hand_config(hand_root, f"DATA_CONFIG.ALIGNMENT={alignment}"), training=False)[0]
        for alignment in ("explicit", "implicit")
    ]
    explicit, implicit = (clip["points"][-1, : clip["num_points"][-1]] for clip in clips)
    torch.testing.assert_close(explicit, implicit, atol=1e-5, rtol=0)
    torch.testing.assert_close(clips[0]["scene_masks"][-1], clips[1]["scene_masks"][-1])


def test_a_parked_object_covers_the_same_cells_in_every_frame_once_aligned(hand_root: Path) -> None:
    torch.manual_seed(1)
    cfg = hand_config(hand_root, "DATA_CONFIG.ALIGNMENT=explicit")
    dataset = NuScenesSeqDataset(cfg.DATA_CONFIG, ["truck"], mask_grid=cfg.memory_grid)
    masks = dataset[0]["scene_masks"]
    assert masks[0].sum() > 3
    assert (masks != masks[:1]).sum() <= 1


def test_relative_poses_chain_the_frames(hand_cfg: Config) -> None:
    clip = dataset_of(hand_cfg)[0]
    last_from_frame, prev_from_frame = clip["last_from_frame"], clip["prev_from_frame"]
    torch.testing.assert_close(prev_from_frame[0], torch.eye(4))
    torch.testing.assert_close(last_from_frame[-1], torch.eye(4))
    for t in (1, 2):
        torch.testing.assert_close(last_from_frame[t - 1] @ prev_from_frame[t], last_from_frame[t], atol=1e-5, rtol=0)
    assert (last_from_frame[0, :2, 3].norm() - 6.0).abs() < 0.5


@pytest.mark.parametrize("alignment", ["explicit", "implicit"])
def test_an_augmented_clip_is_one_similarity_away_from_the_world(
    hand_root: Path, index: NuScenesIndex, alignment: str
) -> None:
    cfg = hand_config(hand_root, f"DATA_CONFIG.ALIGNMENT={alignment}")
    plain_cfg = hand_config(hand_root, f"DATA_CONFIG.ALIGNMENT={alignment}", *NO_AUGMENTATION)
    torch.manual_seed(5)
    clip, plain = dataset_of(cfg)[1], dataset_of(plain_cfg)[1]
    eye = torch.eye(4, dtype=torch.float64)
    in_last, plain_in_last = world_of(clip, eye)[1], world_of(plain, eye)[1]
    parked = 1  # the truck
    places = torch.stack([boxes[clip["gt_labels"][t, : len(boxes)] == parked][0] for t, boxes in enumerate(in_last)])
    torch.testing.assert_close(places, places[-1:].expand_as(places), atol=1e-3, rtol=0)
    scale = in_last[0][0, 3] / plain_in_last[0][0, 3]
    for augmented, original in zip(in_last, plain_in_last, strict=True):
        speed, plain_speed = augmented[:, 7:].norm(dim=1), original[:, 7:].norm(dim=1)
        torch.testing.assert_close(speed, plain_speed * scale, atol=1e-3, rtol=0)
        between = torch.cdist(augmented[:, :2], augmented[:, :2])
        torch.testing.assert_close(between, torch.cdist(original[:, :2], original[:, :2]) * scale, atol=2e-3, rtol=0)


def test_points_and_boxes_outside_the_range_are_dropped(hand_root: Path) -> None:
    half = "DATA_CONFIG.POINT_CLOUD_RANGE=[-12.8, -12.8, -2.0, 12.8, 12.8, 0.5]"
    voxel = "DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE=[0.4, 0.4, 2.5]"
    clip = dataset_of(hand_config(hand_root, half, voxel), training=False)[0]
    low, high = torch.tensor([-12.8, -12.8, -2.0]), torch.tensor([12.8, 12.8, 0.5])
    for t in range(3):
        points = clip["points"][t, : clip["num_points"][t], :3]
        assert len(points) > 0
        assert ((points >= low) & (points < high)).all()
        boxes = clip["gt_boxes"][t, clip["gt_labels"][t] >= 0]
        assert len(boxes) > 0
        assert (boxes[:, :2].abs() <= 12.8).all()


def test_padding_is_zero_with_label_and_track_minus_one(hand_cfg: Config) -> None:
    clip = dataset_of(hand_cfg, training=False, seq_len=4)[0]
    padded = clip["gt_labels"] == -1
    assert padded.sum() > 0
    assert (clip["gt_track_ids"][padded] == -1).all()
    assert not clip["gt_boxes"][padded].any()
    for t, count in enumerate(clip["num_points"]):
        assert not clip["points"][t, count:].any()
        assert clip["points"][t, count - 1, :3].any()


def test_a_track_keeps_its_id_and_slot_through_the_clip(hand_cfg: Config) -> None:
    clip = dataset_of(hand_cfg, training=False)[0]
    grid: BEVGrid = hand_cfg.memory_grid
    slot_of: dict[int, set[int]] = {}
    for t in range(3):
        for box, track in zip(clip["gt_boxes"][t], clip["gt_track_ids"][t].tolist(), strict=True):
            row, column, _ = grid.cells(box[:2])
            slots = clip["agent_masks"][t, :, row, column].nonzero()[:, 0].tolist() if track >= 0 else []
            for slot in slots:
                slot_of.setdefault(track, set()).add(slot)
                assert clip["valids_mask"][t, slot]
    assert all(len(slots) == 1 for slots in slot_of.values())
    assert sorted(slot for slots in slot_of.values() for slot in slots) == [0, 0, 1, 2]


def test_scenes_shorter_than_a_clip_are_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_handmade(tmp_path / "root", (5, 2, 3))
    with caplog.at_level(logging.WARNING):
        dataset = dataset_of(hand_config(root), seq_len=2, stride=2)
    assert len(dataset) == 4
    assert "hand-1" in caplog.text
    assert "hand-2" not in caplog.text


def test_a_clip_longer_than_every_scene_is_an_error_with_the_numbers(hand_cfg: Config) -> None:
    with pytest.raises(DataError, match=r"3 key frames, 3 apart, needs 7 .* 2 in split 'hand_all' has 5"):
        dataset_of(hand_cfg, stride=3)


def narrow(root: Path, reach: int, *overrides: str) -> Config:
    """A range of so many metres around a car that drives 3 m a key frame."""
    return hand_config(
        root,
        f"DATA_CONFIG.POINT_CLOUD_RANGE=[-{reach}, -{reach}, -5, {reach}, {reach}, 3]",
        f"DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE=[{reach / 16}, {reach / 16}, 8]",
        "DATA_CONFIG.ALIGNMENT=explicit",
        "DATA_CONFIG.SEQ_LEN=5",
        *overrides,
    )


@pytest.mark.parametrize(("reach", "frames"), [(4, 2), (8, 3), (10, 4)])
def test_explicit_clips_are_capped_where_a_frame_would_leave_the_range(
    hand_root: Path, caplog: pytest.LogCaptureFixture, reach: int, frames: int
) -> None:
    dataset = dataset_of(narrow(hand_root, reach), training=False)
    assert dataset.seq_len == frames
    assert len(dataset) == 6 - frames
    assert all(clip["points"].shape[0] == frames for clip in (dataset[item] for item in range(len(dataset))))
    assert f"5 key frames; their length is capped at {frames}" in caplog.text
    assert len(caplog.records) == 1


def test_the_warning_states_the_share_of_points_that_the_first_frame_would_lose(
    hand_root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NuScenesSeqDataset, "_range_centres", lambda dataset: torch.zeros(len(dataset), 5, 3))
    cfg = narrow(hand_root, 8, *NO_AUGMENTATION)
    dataset = dataset_of(cfg, training=False, logger=logging.getLogger("of.the.caller"))
    own = dataset_of(narrow(hand_root, 8, "DATA_CONFIG.ALIGNMENT=implicit"), training=False, seq_len=5)
    left, whole = (int(clips[0]["num_points"][0]) for clips in (dataset, own))
    assert 0 < left < whole / 2
    assert f"moves up to {100 * (1 - left / whole):.0f} % of a frame's points" in caplog.text
    assert caplog.records[0].name == "of.the.caller"


def test_clips_that_stay_in_range_are_neither_capped_nor_warned_about(
    hand_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert dataset_of(narrow(hand_root, 80)).seq_len == 5
    assert dataset_of(narrow(hand_root, 4, "DATA_CONFIG.ALIGNMENT=implicit")).seq_len == 5
    assert not caplog.records


def test_a_clip_of_no_frames_is_an_error(hand_cfg: Config) -> None:
    with pytest.raises(DataError, match=r"seq_len \(0\) and stride"):
        dataset_of(hand_cfg, seq_len=0)


def test_the_call_of_the_design_works(hand_root: Path, hand_cfg: Config) -> None:
    dataset = NuScenesSeqDataset(
        dataset_cfg=hand_cfg.DATA_CONFIG, class_names=hand_cfg.CLASS_NAMES, training=True, root_path=None,
        logger=logging.getLogger(), seq_len=2, stride=1, nusc_version=VERSION, nusc_dataroot=hand_root,
    )  # fmt: skip
    assert dataset[0]["scene_masks"].shape[-2:] == (
        hand_cfg.DATA_CONFIG.pillar_grid.height,
        hand_cfg.DATA_CONFIG.pillar_grid.width,
    )


def test_root_path_overrides_the_configuration(tmp_path: Path, hand_cfg: Config) -> None:
    root = write_handmade(tmp_path / "root", (4,))
    assert len(dataset_of(hand_cfg, root_path=root)) == 2


def test_boxes_are_of_the_class_names_in_their_order(hand_cfg: Config) -> None:
    dataset = NuScenesSeqDataset(hand_cfg.DATA_CONFIG, ["truck", "car"], training=False)
    clip = dataset[0]
    assert set(clip["gt_labels"].unique().tolist()) <= {-1, 0, 1}
    trucks = clip["gt_boxes"][clip["gt_labels"] == 0]
    np.testing.assert_allclose(trucks[:, 3], 7.0)


def test_seconds_unseen_count_from_the_last_point(hand_root: Path) -> None:
    dataset = dataset_of(hand_config(hand_root))
    first, second, third = (dataset.index.load_annotations(number) for number in dataset.clips[0])
    gone = [
        replace(first, num_points=first.num_points.clamp(min=1)),
        replace(second, num_points=second.num_points * 0),
        replace(third, num_points=third.num_points * 0),
    ]
    unseen = seconds_unseen(gone)
    assert not unseen[0].any()
    for frame, seconds in zip(gone[1:], unseen[1:], strict=True):
        known = torch.isin(frame.track_ids, first.track_ids)
        assert known.any()
        assert seconds[known].tolist() == pytest.approx([frame.timestamp - first.timestamp] * int(known.sum()))
        assert seconds[~known].isinf().all()
    assert not any(
        seconds.isfinite().any() for seconds in seconds_unseen(gone, points=1 + int(gone[0].num_points.max()))
    )


def test_an_object_is_seen_in_a_frame_that_has_enough_of_its_points(hand_root: Path) -> None:
    everything, most = (
        dataset_of(hand_config(hand_root, f"DATA_CONFIG.MIN_POINTS_SEEN={points}", *NO_AUGMENTATION))[0]
        for points in (1, 10_000)
    )
    real = everything["gt_labels"] >= 0
    assert everything["gt_seconds_unseen"][real].isfinite().any()
    assert most["gt_seconds_unseen"][real].isinf().all()


@pytest.mark.parametrize("objects", ["all", "seen"])
def test_masks_are_the_union_of_the_boxes_or_of_those_that_were_seen(
    hand_root: Path, monkeypatch: pytest.MonkeyPatch, objects: str
) -> None:
    dataset = dataset_of(hand_config(hand_root, f"DATA_CONFIG.MASK_OBJECTS={objects}", *NO_AUGMENTATION))
    everything = dataset[0]["scene_masks"]
    load = dataset.index.load_annotations

    def never_seen(number: int, class_names: Sequence[str]) -> Frame:
        frame = load(number, class_names)
        return replace(frame, num_points=frame.num_points * 0)

    monkeypatch.setattr(dataset.index, "load_annotations", never_seen)
    clip = dataset[0]
    assert everything.any()
    assert torch.equal(clip["scene_masks"], everything if objects == "all" else torch.zeros_like(everything))
    assert clip["gt_seconds_unseen"][clip["gt_labels"] >= 0].isinf().all()


def test_sweeps_extend_the_history_before_a_clip(hand_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point of the key frame before counts where the sweeps of the first frame reach it, else not."""
    alone, stacked = (dataset_of(hand_config(hand_root, f"DATA_CONFIG.NUM_SWEEPS={n}")) for n in (0, 9))
    assert len(alone.index.frames_before(alone.clips[1][0], 0.075)) == 0
    assert list(stacked.index.frames_before(stacked.clips[1][0], 0.525)) == [stacked.clips[1][0] - 1]
    assert len(stacked.index.frames_before(stacked.clips[0][0], 0.525)) == 0
    for dataset, known in ((alone, False), (stacked, True)):
        first, load = dataset.clips[1][0], dataset.index.load_annotations

        def hidden_from_first(number: int, names: Sequence[str], first: int = first, load: Any = load) -> Frame:
            frame = load(number, names)
            return frame if number < first else replace(frame, num_points=frame.num_points * 0)

        monkeypatch.setattr(dataset.index, "load_annotations", hidden_from_first)
        clip = dataset[1]
        assert clip["gt_seconds_unseen"][0][clip["gt_labels"][0] >= 0].isfinite().any() == known
