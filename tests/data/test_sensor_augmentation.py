from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.schema import CorruptionConfig, SensorAugmentationConfig
from remembev.data import Clip, NuScenesIndex
from remembev.data.sampler import Draw
from remembev.data.sensor_augmentation import (
    FALLOFF_FROM,
    Sensor,
    count_points,
    draw_clip_sensor,
    draw_corruption,
    draw_mount,
    draw_sensor,
    recounted,
)
from remembev.geometry import points_in_boxes, transform_points

from .conftest import hand_config
from .handmade import VERSION
from .test_dataset import NO_AUGMENTATION, dataset_of, world_of

SECTION = "DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION"
SHIPPED = SensorAugmentationConfig()
NEUTRAL = Sensor(
    scale=1.0, gamma=1.0, constant=None, beam_step=1, beam_offset=0, azimuth_step=1, azimuth_offset=0.0, falloff=0.0,
    self_returns=0.0,
)  # fmt: skip
SAME: dict[str, object] = {
    "PROBABILITY": 1, "INTENSITY_SCALE": [1, 1], "INTENSITY_GAMMA": [1, 1], "CONSTANT_INTENSITY": 0, "BEAMS": [1],
    "AZIMUTHS": [1], "FALLOFF": [0, 0], "SELF_RETURNS": [0, 0], "HEIGHT": [0, 0], "TILT": [0, 0], "TRANSLATION": [0, 0],
    "CORRUPTION": "null",
}  # fmt: skip
"""Settings of which every sensor is like the recording one."""
EVERYTHING = (
    "DATA_CONFIG.POINT_CLOUD_RANGE=[-409.6, -409.6, -400, 409.6, 409.6, 400]",
    "DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE=[3.2, 3.2, 800]",
)
PASTING = "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING={SAMPLE_GROUPS: {car: 2, truck: 2}, LIMIT_WHOLE_SCENE: false}"
seeds = st.integers(0, 2**32 - 1)


def like_the_recording(**changes: object) -> str:
    """The override for sensors that differ from the recording one in what is given."""
    return f"{SECTION}={{{', '.join(f'{key}: {value}' for key, value in (SAME | changes).items())}}}"


def drawn_clip(root: Path, *overrides: str, item: int = 1, seed: int = 3, **keywords: object) -> Clip:
    return dataset_of(hand_config(root, *overrides), **keywords)[Draw(item, seed)]


def equal(first: Clip, second: Clip) -> bool:
    return all(
        torch.equal(value, second[key]) if isinstance(value, Tensor) else (value == second[key]).all()
        for key, value in first.items()
    )


@pytest.fixture
def turn() -> Tensor:
    """A turn of 20,000 points [N, 5] over 32 rings, up to 70 m away."""
    torch.manual_seed(0)
    azimuth, distance = 2 * math.pi * torch.rand(20_000), 1 + 69 * torch.rand(20_000)
    ring, intensity = torch.randint(32, (20_000,)).float(), torch.randint(256, (20_000,)).float()
    z = distance * torch.tan(torch.deg2rad(-30 + 4 / 3 * ring))
    return torch.stack((distance * azimuth.cos(), distance * azimuth.sin(), z, intensity, ring), dim=1)


# ---------------------------------------------------------------------------------------------------------------- scan


def test_a_sensor_like_the_recording_one_changes_nothing(turn: Tensor) -> None:
    torch.testing.assert_close(NEUTRAL.scan(turn), turn, atol=1e-4, rtol=0)


def test_a_scan_leaves_the_recorded_turn_as_it_is(turn: Tensor) -> None:
    before = turn.clone()
    replace(NEUTRAL, scale=2.0, beam_step=2, range_noise=1.0, clutter=0.5, self_returns=0.1).scan(turn)
    assert torch.equal(turn, before)


@pytest.mark.parametrize(("step", "offset"), [(2, 0), (2, 1), (3, 2), (4, 1)])
def test_only_every_nth_beam_is_kept(turn: Tensor, step: int, offset: int) -> None:
    seen = replace(NEUTRAL, beam_step=step, beam_offset=offset).scan(turn)
    assert seen[:, 4].unique().tolist() == list(range(offset, 32, step))
    assert len(seen) == int((turn[:, 4] % step == offset).sum())


def test_of_a_pasted_object_the_beams_are_told_by_elevation(turn: Tensor) -> None:
    pasted = torch.cat((turn[:, :4], torch.zeros(len(turn), 1)), dim=1)
    kept = [replace(NEUTRAL, beam_step=4, beam_offset=offset).scan_objects(pasted) for offset in range(4)]
    assert sum(map(len, kept)) == len(turn)
    rings = [(torch.atan2(seen[:, 2], seen[:, :2].norm(dim=1)).rad2deg().add(30) * 3 / 4).round() for seen in kept]
    by_offset = [set(ring.unique().tolist()) for ring in rings]
    assert sum(map(len, by_offset)) <= 34  # beams at the edge of two elevations may be in both
    assert all(len(own) in (8, 9) for own in by_offset)


@pytest.mark.parametrize("step", [2, 3])
def test_only_every_nth_column_is_kept(turn: Tensor, step: int) -> None:
    seen = replace(NEUTRAL, azimuth_step=step, azimuth_offset=0.1).scan(turn)
    column = ((torch.atan2(seen[:, 1], seen[:, 0]) + 0.1).rad2deg() * 3).floor()
    assert (column % step == 0).all()
    assert len(seen) == pytest.approx(len(turn) / step, rel=0.05)


def test_points_are_lost_with_distance(turn: Tensor) -> None:
    seen = replace(NEUTRAL, falloff=0.03).scan(turn)
    distance, before = seen[:, :2].norm(dim=1), turn[:, :2].norm(dim=1)
    assert int((distance < FALLOFF_FROM).sum()) == int((before < FALLOFF_FROM).sum())
    for near in (20, 40, 60):
        kept = ((distance > near) & (distance < near + 2)).sum() / ((before > near) & (before < near + 2)).sum()
        assert float(kept) == pytest.approx(math.exp(-0.03 * (near + 1 - FALLOFF_FROM)), abs=0.08)


@given(st.floats(0.3, 3), st.floats(0.5, 2), st.lists(st.floats(0, 255, width=32), min_size=2, max_size=9))
def test_intensities_keep_their_order_and_stay_within_a_byte(scale: float, gamma: float, values: list[float]) -> None:
    points = torch.zeros(len(values), 5)
    points[:, 3] = torch.tensor(sorted(values))
    seen = replace(NEUTRAL, scale=scale, gamma=gamma).scan(points)[:, 3]
    assert seen.min() >= 0
    assert seen.max() <= 255
    assert (seen.diff() >= 0).all()


def test_intensities_are_scaled_and_bent() -> None:
    points = torch.zeros(3, 5)
    points[:, 3] = torch.tensor([0.0, 51.0, 200.0])
    seen = replace(NEUTRAL, scale=2.0, gamma=0.5).scan(points)[:, 3]
    torch.testing.assert_close(seen, torch.tensor([0.0, 255 * math.sqrt(0.4), 255.0]))


def test_a_constant_intensity_is_that_of_all_points(turn: Tensor) -> None:
    assert (replace(NEUTRAL, constant=7.0).scan(turn)[:, 3] == 7).all()


def test_self_returns_are_a_share_of_the_rows_beside_the_sensor(turn: Tensor) -> None:
    seen = replace(NEUTRAL, beam_step=2, self_returns=0.25).scan(turn)
    kept = int((turn[:, 4] % 2 == 0).sum())
    added = seen[kept:]
    assert len(added) == round(0.25 * kept)
    assert (added[:, :2].abs() <= 0.6).all()
    assert (added[:, 2].abs() <= 0.3).all()
    assert added[:, 0].min() < -0.5
    assert added[:, 0].max() > 0.5
    assert ((added[:, 3] >= 0) & (added[:, 3] <= 10)).all()


def test_a_blocked_sector_has_no_points_and_the_rest_all(turn: Tensor) -> None:
    seen = replace(NEUTRAL, blocked=(2.0, 0.8)).scan(turn)

    def within(points: Tensor) -> Tensor:
        angle = torch.atan2(points[:, 1], points[:, 0]) - 2.0
        return torch.atan2(angle.sin(), angle.cos()).abs() < 0.8

    assert not within(seen).any()
    assert len(seen) == int((~within(turn)).sum())


def test_clutter_lies_on_the_rays_before_their_surfaces(turn: Tensor) -> None:
    seen = replace(NEUTRAL, clutter=0.2).scan(turn)
    ratio = seen[:, :3].norm(dim=1) / turn[:, :3].norm(dim=1)
    cosine = torch.cosine_similarity(seen[:, :3], turn[:, :3])
    assert ratio.max() < 1 + 1e-5
    assert (cosine > 1 - 1e-5).all()
    assert float((ratio < 1 - 1e-5).float().mean()) == pytest.approx(0.2, abs=0.02)


def test_range_noise_is_in_metres_along_the_ray(turn: Tensor) -> None:
    seen = replace(NEUTRAL, range_noise=0.3).scan(turn)
    error = seen[:, :3].norm(dim=1) - turn[:, :3].norm(dim=1)
    assert float(error.std()) == pytest.approx(0.3, rel=0.05)
    assert (torch.cosine_similarity(seen[:, :3], turn[:, :3]) > 1 - 1e-5).float().mean() > 0.99


@given(seeds)
def test_every_sensor_scans_an_empty_turn(seed: int) -> None:
    torch.manual_seed(seed)
    sensor = draw_corruption(draw_sensor(SHIPPED), SHIPPED, CorruptionConfig())
    assert sensor.scan(torch.zeros(0, 5)).shape == sensor.scan_objects(torch.zeros(0, 5)).shape == (0, 5)


# --------------------------------------------------------------------------------------------------------------- draws


@given(seeds)
def test_a_drawn_sensor_is_within_its_ranges(seed: int) -> None:
    torch.manual_seed(seed)
    sensor = draw_sensor(SHIPPED)
    ranges = {
        "scale": SHIPPED.INTENSITY_SCALE, "gamma": SHIPPED.INTENSITY_GAMMA, "falloff": SHIPPED.FALLOFF,
        "self_returns": SHIPPED.SELF_RETURNS, "beam_offset": (0, sensor.beam_step - 1),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        assert low - 1e-9 <= getattr(sensor, name) <= high + 1e-9
    assert sensor.beam_step in SHIPPED.BEAMS
    assert sensor.azimuth_step in SHIPPED.AZIMUTHS
    assert sensor.constant is None or 0 <= sensor.constant <= 255


def test_scale_and_gamma_are_as_often_below_one_as_above_in_the_logarithm() -> None:
    torch.manual_seed(0)
    drawn = [draw_sensor(SensorAugmentationConfig(INTENSITY_SCALE=(0.25, 4.0))).scale for _ in range(400)]
    assert 160 < sum(scale < 1 for scale in drawn) < 240
    assert min(drawn) < 0.3
    assert max(drawn) > 3.4


def test_the_beams_are_drawn_as_often_as_they_are_listed() -> None:
    torch.manual_seed(0)
    steps = [draw_sensor(SHIPPED).beam_step for _ in range(400)]
    assert [steps.count(step) / 400 for step in (1, 2, 4)] == pytest.approx([0.5, 0.25, 0.25], abs=0.07)


def test_some_constant_intensities_are_zero_and_some_are_not() -> None:
    torch.manual_seed(0)
    always = SensorAugmentationConfig(CONSTANT_INTENSITY=1.0)
    drawn = [draw_sensor(always).constant for _ in range(100)]
    assert 30 < drawn.count(0.0) < 70
    assert len(set(drawn)) > 30


@given(seeds)
def test_a_mount_is_a_rigid_motion_within_its_ranges(seed: int) -> None:
    torch.manual_seed(seed)
    mount = draw_mount(SHIPPED)
    rotation, shift = mount[:3, :3], mount[:3, 3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double(), atol=1e-12, rtol=0)
    assert torch.linalg.det(rotation) > 0
    assert math.acos(min(1.0, float(rotation[2, 2]))) <= math.hypot(0.02, 0.02) + 1e-9
    assert (shift.abs() <= torch.tensor([1.0, 1.0, 0.4])).all()


def test_the_tilts_turn_about_x_and_about_y() -> None:
    torch.manual_seed(0)
    tilts = torch.stack([draw_mount(SHIPPED)[:2, 2] for _ in range(100)])
    assert (tilts.amin(dim=0) < -0.015).all()
    assert (tilts.amax(dim=0) > 0.015).all()


@given(seeds, st.integers(1, 6))
def test_a_corruption_is_of_frames_in_a_row_and_the_others_share_a_sensor(seed: int, num_frames: int) -> None:
    torch.manual_seed(seed)
    corruption = CorruptionConfig(PROBABILITY=1.0, FRAMES=(1, 3))
    drawn = draw_clip_sensor(SensorAugmentationConfig(PROBABILITY=1.0, CORRUPTION=corruption), num_frames)
    assert drawn is not None
    assert len(drawn.sensors) == num_frames
    changes = [t for t in range(1, num_frames) if drawn.sensors[t] != drawn.sensors[t - 1]]
    assert len(changes) <= 2
    if len(changes) == 2:
        assert drawn.sensors[0] == drawn.sensors[-1]
        assert changes[1] - changes[0] <= 3


def test_a_clip_is_seen_by_its_own_sensor_as_often_as_configured() -> None:
    torch.manual_seed(0)
    own = sum(draw_clip_sensor(SensorAugmentationConfig(PROBABILITY=0.3), 4) is None for _ in range(400))
    assert own / 400 == pytest.approx(0.7, abs=0.07)


def test_every_kind_of_corruption_occurs_and_changes_the_sensor() -> None:
    torch.manual_seed(0)
    kinds = {"blocked", "clutter", "range_noise"}
    seen: set[frozenset[str]] = set()
    for _ in range(60):
        corrupted = draw_corruption(NEUTRAL, SHIPPED, CorruptionConfig())
        seen.add(frozenset(f.name for f in fields(Sensor) if getattr(corrupted, f.name) != getattr(NEUTRAL, f.name)))
    assert {frozenset({kind}) for kind in kinds} <= seen
    assert any(not changed & kinds for changed in seen)  # another sensor


# --------------------------------------------------------------------------------------------------------------- clips


@pytest.mark.parametrize("overrides", [(), (PASTING,)], ids=["plain", "pasting"])
@pytest.mark.parametrize("alignment", ["explicit", "implicit"])
def test_clips_of_their_own_sensor_are_as_without_the_section(
    road_root: Path, alignment: str, overrides: tuple[str, ...]
) -> None:
    overrides = (*overrides, f"DATA_CONFIG.ALIGNMENT={alignment}")
    for seed in range(4):
        plain = drawn_clip(road_root, *overrides, seed=seed)
        assert equal(drawn_clip(road_root, *overrides, f"{SECTION}={{PROBABILITY: 0}}", seed=seed), plain)


def test_an_augmented_clip_has_the_flip_rotation_and_scale_that_it_has_without(hand_root: Path) -> None:
    clip, plain = drawn_clip(hand_root, like_the_recording(), *EVERYTHING), drawn_clip(hand_root, *EVERYTHING)
    assert torch.equal(clip["gt_boxes"], plain["gt_boxes"])
    assert torch.equal(clip["points"][..., :3], plain["points"][..., :3])


def test_validation_is_never_augmented(road_root: Path) -> None:
    always = f"{SECTION}={{PROBABILITY: 1}}"
    assert equal(drawn_clip(road_root, always, training=False), drawn_clip(road_root, training=False))


@pytest.mark.parametrize("sweeps", [0, 9])
@pytest.mark.parametrize("overrides", [(), (PASTING,)], ids=["plain", "pasting"])
def test_a_seed_repeats_a_clip_and_another_differs(road_root: Path, overrides: tuple[str, ...], sweeps: int) -> None:
    settings = (*overrides, f"{SECTION}={{PROBABILITY: 1}}", f"DATA_CONFIG.NUM_SWEEPS={sweeps}")
    first, again, other = (drawn_clip(road_root, *settings, seed=seed) for seed in (5, 5, 6))
    assert equal(first, again)
    assert not torch.equal(first["points"], other["points"])


def test_a_single_frame_is_augmented_too(hand_root: Path) -> None:
    clip = drawn_clip(hand_root, like_the_recording(CONSTANT_INTENSITY=1), seq_len=1)
    assert len(clip["points"][0, :, 3].unique()) == 1


@pytest.mark.parametrize("sweeps", [0, 9])
def test_one_sensor_sees_all_frames_and_sweeps_and_pasted_objects(road_root: Path, sweeps: int) -> None:
    settings = (PASTING, f"DATA_CONFIG.NUM_SWEEPS={sweeps}", *EVERYTHING)
    plain = drawn_clip(road_root, *settings)
    clip = drawn_clip(road_root, *settings, like_the_recording(CONSTANT_INTENSITY=1))
    assert (clip["gt_track_ids"] >= 12).any()  # pasted; 2 scenes of 6 objects
    assert clip["num_points"].tolist() == plain["num_points"].tolist()
    real = torch.arange(clip["points"].shape[1]) < clip["num_points"][:, None]
    assert len(clip["points"][real][:, 3].unique()) == 1
    assert len(plain["points"][real][:, 3].unique()) > 100


def test_the_beams_of_a_clip_are_dropped_by_the_ring_of_its_files(hand_root: Path) -> None:
    """In the handmade files the intensity is the number of a landmark, whose ring is the remainder by 32."""
    clip = drawn_clip(hand_root, *EVERYTHING, *NO_AUGMENTATION, like_the_recording(BEAMS=[4]))
    kept = {round(value) % 4 for value in clip["points"][0, : clip["num_points"][0], 3].tolist()}
    assert len(kept) == 1


@pytest.mark.parametrize("overrides", [(), (PASTING,)], ids=["plain", "pasting"])
@pytest.mark.parametrize("seed", range(3))
def test_another_mount_moves_points_boxes_and_poses_alike(
    road_root: Path, seed: int, overrides: tuple[str, ...]
) -> None:
    mount = like_the_recording(HEIGHT=[-0.4, 0.4], TILT=[-0.02, 0.02], TRANSLATION=[-1, 1])
    settings = ("DATA_CONFIG.NUM_SWEEPS=0", *EVERYTHING, *NO_AUGMENTATION, *overrides)
    plain, clip = (drawn_clip(road_root, *settings, extra, seed=seed) for extra in (f"{SECTION}=null", mount))
    eye = torch.eye(4, dtype=torch.float64)
    (points, boxes), (moved_points, moved_boxes) = world_of(plain, eye), world_of(clip, eye)
    source, target = torch.cat(points), torch.cat(moved_points)
    motion = torch.linalg.lstsq(torch.cat((source, torch.ones(len(source), 1).double()), dim=1), target).solution.T
    assert (motion[:, :3] - eye[:3, :3]).abs().max() > 1e-3
    torch.testing.assert_close(motion[:, :3] @ motion[:, :3].T, eye[:3, :3], atol=1e-4, rtol=0)
    pose = torch.cat((motion, eye[3:]))
    torch.testing.assert_close(transform_points(pose, source), target, atol=1e-3, rtol=0)
    for before, after in zip(boxes, moved_boxes, strict=True):
        torch.testing.assert_close(transform_points(pose, before[:, :3]), after[:, :3], atol=1e-3, rtol=0)
        torch.testing.assert_close(before[:, 3:6], after[:, 3:6], atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_both_alignments_see_the_same_world_through_another_sensor(hand_root: Path, seed: int) -> None:
    always = f"{SECTION}={{PROBABILITY: 1}}"
    explicit, implicit = (
        world_of(
            drawn_clip(hand_root, f"DATA_CONFIG.ALIGNMENT={alignment}", always, *EVERYTHING, seed=seed),
            torch.eye(4, dtype=torch.float64),
        )
        for alignment in ("explicit", "implicit")
    )
    for first, second in zip(explicit[0], implicit[0], strict=True):
        torch.testing.assert_close(first, second, atol=2e-3, rtol=0)
    for first, second in zip(explicit[1], implicit[1], strict=True):
        torch.testing.assert_close(first[:, :3], second[:, :3], atol=2e-3, rtol=0)


# --------------------------------------------------------------------------------------------------------- corruptions


@pytest.mark.parametrize("sweeps", [0, 9])
def test_a_corruption_touches_only_its_frames_and_neither_boxes_nor_poses(road_root: Path, sweeps: int) -> None:
    settings = ("DATA_CONFIG.SEQ_LEN=4", f"DATA_CONFIG.NUM_SWEEPS={sweeps}", *EVERYTHING)
    often = like_the_recording(CORRUPTION="{PROBABILITY: 1, FRAMES: [1, 1]}")
    corrupted_frames = set()
    for seed in range(8):
        plain = drawn_clip(road_root, *settings, like_the_recording(), seed=seed)
        clip = drawn_clip(road_root, *settings, often, seed=seed)
        differ = [
            t
            for t in range(4)
            if clip["num_points"][t] != plain["num_points"][t]
            or not torch.equal(clip["points"][t, : clip["num_points"][t]], plain["points"][t, : clip["num_points"][t]])
        ]
        assert len(differ) <= 1
        corrupted_frames |= set(differ)
        for key in ("gt_boxes", "gt_labels", "last_from_frame", "prev_from_frame"):
            assert torch.equal(clip[key], plain[key])
        others = [t for t in range(4) if t not in differ]
        assert torch.equal(clip["gt_num_points"][others], plain["gt_num_points"][others])
    assert len(corrupted_frames) > 1


def test_objects_in_a_blocked_sector_are_hidden_and_remembered(road_root: Path) -> None:
    """With nearly all azimuths blocked: an object seen before is unseen for as long, and still in the masks."""
    often = like_the_recording(CORRUPTION="{PROBABILITY: 1, FRAMES: [1, 1], BLOCKED: [0.99, 0.99]}")
    hidden = 0
    for seed in range(30):
        clip = drawn_clip(road_root, "DATA_CONFIG.NUM_SWEEPS=0", *NO_AUGMENTATION, often, seed=seed)
        blocked = (clip["num_points"] < 10).nonzero()[:, 0].tolist()
        for t in (t for t in blocked if t > 0):
            real = clip["gt_labels"][t] >= 0
            known = real & clip["gt_seconds_unseen"][t].isfinite()
            assert (clip["gt_num_points"][t][real] == 0).sum() >= real.sum() - 1
            assert clip["gt_seconds_unseen"][t][known & (clip["gt_num_points"][t] == 0)] == pytest.approx(0.5)
            assert clip["scene_masks"][t].any()
            hidden += int(known.sum())
    assert hidden > 0


# -------------------------------------------------------------------------------------------------------------- counts


def test_a_box_whose_points_are_gone_counts_none_and_is_in_no_mask(road_root: Path) -> None:
    """Objects farther than the distance from which points are lost lose them all."""
    gone = like_the_recording(FALLOFF=[1000, 1000])
    settings = ("DATA_CONFIG.NUM_SWEEPS=9", *NO_AUGMENTATION, "DATA_CONFIG.SEQ_LEN=1")
    clip, plain = (drawn_clip(road_root, *settings, extra) for extra in (gone, f"{SECTION}=null"))
    real = clip["gt_labels"] >= 0
    far = real & ((clip["gt_boxes"][..., :2].norm(dim=-1) - clip["gt_boxes"][..., 3] / 2) > FALLOFF_FROM + 1)
    near = real & (clip["gt_boxes"][..., :2].norm(dim=-1) < FALLOFF_FROM - 3)
    assert far.any()
    assert (plain["gt_num_points"][real] == 7).all()
    assert not clip["gt_num_points"][far].any()
    assert (clip["gt_num_points"][near] == 7).all()
    assert clip["gt_seconds_unseen"][far].isinf().all()
    assert plain["scene_masks"].sum() > clip["scene_masks"].sum()


def test_a_key_frame_before_the_clip_is_history_only_if_the_sensor_saw_it(road_root: Path) -> None:
    """With sweeps that reach back to it; the objects of the handmade scenes are seen in it by the recording sensor."""
    settings = ("DATA_CONFIG.NUM_SWEEPS=9", *NO_AUGMENTATION, "DATA_CONFIG.SEQ_LEN=1")
    dataset = dataset_of(hand_config(road_root, *settings))
    frame = dataset.index.load_annotations(1, dataset.class_names)
    kept = dataset._load_earlier(1, NEUTRAL)
    lost = dataset._load_earlier(1, replace(NEUTRAL, beam_step=1000, beam_offset=999))
    assert torch.equal(kept.num_points, frame.num_points)
    assert frame.num_points.any()
    assert not lost.num_points.any()


@settings(max_examples=20)
@given(seeds)
def test_counts_are_those_of_the_clip_s_points_and_never_more_than_before(road_root: Path, seed: int) -> None:
    overrides = (f"{SECTION}={{PROBABILITY: 1}}", PASTING, "DATA_CONFIG.NUM_SWEEPS=1")
    clip = drawn_clip(road_root, *overrides, seed=seed)
    for t, count in enumerate(clip["num_points"].tolist()):
        points, real = clip["points"][t, :count], clip["gt_labels"][t] >= 0
        inside = count_points(points[points[:, 4] == 0], clip["gt_boxes"][t, real])
        assert torch.equal(clip["gt_num_points"][t, real], inside.clamp(max=7))


def test_clutter_in_a_box_does_not_make_it_visible(road_root: Path) -> None:
    index = NuScenesIndex.open(road_root, VERSION)
    frame = index.load_annotations(2)
    hidden = replace(frame, num_points=frame.num_points * 0)
    assert not recounted(hidden, hidden.boxes[:, :5].float()).num_points.any()


@given(seeds)
def test_points_are_counted_as_containment_tells_in_every_box(seed: int) -> None:
    torch.manual_seed(seed)
    points = 20 * torch.rand(300, 5) - 10
    boxes = torch.cat((20 * torch.rand(12, 3) - 10, 8 * torch.rand(12, 3), 7 * torch.rand(12, 3)), dim=1)
    assert torch.equal(count_points(points, boxes), points_in_boxes(points, boxes).sum(dim=1))


def test_points_are_counted_in_each_of_the_boxes_they_are_in() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 4, 2, 2, 0, 0, 0], [1.0, 0, 0, 4, 2, 2, 0, 0, 0], [50.0, 0, 0, 1, 1, 1, 0, 0, 0]])
    points = torch.tensor([[0.0, 0, 0], [-1.5, 0, 0], [2.5, 0, 0], [2.5, 0, 5], [9, 9, 9]])
    assert count_points(points, boxes).tolist() == [2, 2, 0]
    assert count_points(points, boxes[:0]).tolist() == []
