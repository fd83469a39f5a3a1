"""An imported detector gives OpenPCDet's numbers: stage by stage those of ``openpcdet_reference``, from the formulas.

Pillars, weights and anchors are the published ones, on a range a quarter as wide.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.config.openpcdet_files import ANCHORS, CLASSES, HEADS, MODEL, changed, write_openpcdet
from tests.models import openpcdet_reference as reference
from torch import Tensor

from remembev.config import Config
from remembev.config.openpcdet import load_openpcdet_config
from remembev.errors import CheckpointError
from remembev.memory import FrameContext, occupancy_loss
from remembev.models import TemporalPointPillar, build_model, load_checkpoint, load_pretrained, save_checkpoint
from remembev.models.fused import fuse_for_inference
from remembev.models.openpcdet import import_openpcdet, openpcdet_name, published_layout, read_openpcdet
from remembev.ops import voxelise

KEYFRAME = Path(__file__).parents[3] / "shared" / "data" / "nuscenes_keyframe"

CLASSES_OF_HEADS = [len(names) for names in HEADS]
LOW, HIGH = [-12.8, -12.8, -5.0], [12.8, 12.8, 3.0]
SIZE, CELLS = [0.2, 0.2, 8.0], [128, 128, 1]
MAX_POINTS, MAX_PILLARS = 20, 900
MOST_IN, MOST_OUT = 150, 65  # boxes of a class that suppression takes and gives
SINGLE_FRAMES = ["MODEL.MEMORY.FUSION=none"]
SMALL_MEMORY = [
    "MODEL.MEMORY.FEATURE_DIM=16",
    "MODEL.MEMORY.KEY_DIM=8",
    "MODEL.MEMORY.VALUE_DIM=8",
    "MODEL.MEMORY.HIDDEN_DIM=8",
]


@pytest.fixture(scope="module")
def weights() -> reference.Weights:
    return reference.random_weights(CLASSES_OF_HEADS)


def saved(path: Path, state: Any, **options: Any) -> Path:
    """A checkpoint as OpenPCDet's training writes it."""
    torch.save(
        {"epoch": 20, "it": 123, "model_state": state, "optimizer_state": None, "version": "0.6"}, path, **options
    )
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, weights: reference.Weights) -> tuple[Path, Path]:
    """A checkpoint and its YAML."""
    folder = tmp_path_factory.mktemp("openpcdet")
    model = changed(MODEL, "DATA_CONFIG.POINT_CLOUD_RANGE", LOW + HIGH)
    model = changed(
        model, "DATA_CONFIG.DATA_PROCESSOR.2.MAX_NUMBER_OF_VOXELS", {"train": MAX_PILLARS, "test": MAX_PILLARS}
    )
    for key, value in {"NMS_PRE_MAXSIZE": MOST_IN, "NMS_POST_MAXSIZE": MOST_OUT}.items():
        model = changed(model, f"MODEL.POST_PROCESSING.NMS_CONFIG.{key}", value)
    return saved(folder / "model.pth", weights), write_openpcdet(folder, model)


def configured(files: tuple[Path, Path], overrides: list[str] = SINGLE_FRAMES) -> Config:
    return load_openpcdet_config(files[1], overrides)


@pytest.fixture
def detector(files: tuple[Path, Path]) -> TemporalPointPillar:
    return import_openpcdet(files[0], configured(files))


# ---------------------------------------------------------------------------------------------------------- inputs


def made_up_points(seed: int) -> np.ndarray:
    """Points in and around the range, crowded near the middle: more than 20 in some pillars, more pillars than fit."""
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(6000, 5)) * [5, 5, 1.5, 30, 0.2] + [0, 0, -1, 50, 0.25]
    points[:400, :2] = generator.uniform(-0.3, 0.3, size=(400, 2))
    return points.astype(np.float32)


def recorded_points() -> np.ndarray:
    if not KEYFRAME.is_dir():
        pytest.skip(f"no real nuScenes key frame at {KEYFRAME}")
    points = np.fromfile(KEYFRAME / "LIDAR_TOP.pcd.bin", dtype=np.float32).reshape(-1, 5)
    points[:, 4] = 0
    return points


def boxes_near_anchors(seed: int) -> tuple[Tensor, Tensor]:
    """Boxes [M, 9] of all classes, none larger than its anchors, and labels [M]; a velocity is unknown."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(CLASSES)).repeat(2)
    noise = torch.rand(len(labels), 9, generator=generator)
    sizes = torch.tensor([ANCHORS[name][0] for name in CLASSES]).repeat(2, 1)
    bottoms = torch.tensor([ANCHORS[name][1] for name in CLASSES]).repeat(2)
    boxes = torch.zeros(len(labels), 9)
    boxes[:, :2] = noise[:, :2] * 26 - 13
    boxes[:, 2] = bottoms + sizes[:, 2] / 2 + noise[:, 2] - 0.5
    boxes[:, 3:6] = sizes * (0.8 + 0.17 * noise[:, 3:6])
    boxes[:, 6] = (noise[:, 6] - 0.5) * 8
    boxes[:, 7:] = (noise[:, 7:] - 0.5) * 10
    boxes[3, 7:] = math.nan
    return boxes, labels


def batch_of(clouds: list[np.ndarray]) -> dict[str, Any]:
    """Clouds as a frame of a batch."""
    points = torch.zeros(len(clouds), max(map(len, clouds)), 5)
    for row, cloud in zip(points, clouds, strict=True):
        row[: len(cloud)] = torch.from_numpy(cloud)
    return {
        "points": points,
        "num_points": torch.tensor([len(cloud) for cloud in clouds]),
        "scene_token": np.array([f"scene {number}" for number in range(len(clouds))]),
    }


# --------------------------------------------------------------------------------------------------------- both of them


@dataclass
class Stages:
    """What comes out of each stage."""

    pillars: Tensor  # [P, 64]
    bev: Tensor  # [B, 64, 128, 128]
    features: Tensor  # [B, 384, 32, 32]
    shared: Tensor  # [B, 64, 32, 32]
    logits: list[Tensor]  # a head: [B, N, K]
    codes: list[Tensor]  # a head: [B, N, 10]
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def each(self) -> dict[str, Tensor]:
        named = {"pillars": self.pillars, "bev": self.bev, "features": self.features, "shared": self.shared}
        named |= {f"logits of head {number}": value for number, value in enumerate(self.logits)}
        return named | {f"codes of head {number}": value for number, value in enumerate(self.codes)}


def by_formulas(weights: reference.Weights, clouds: list[np.ndarray], training: bool = False) -> Stages:
    statistics: dict[str, Tensor] | None = {} if training else None
    parts = [reference.voxelise(cloud, LOW, SIZE, CELLS, MAX_POINTS, MAX_PILLARS) for cloud in clouds]
    points, count, cells = (torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True))
    sample = torch.cat([torch.full((len(part[0]),), number) for number, part in enumerate(parts)])
    pillars = reference.encode_pillars(weights, points, count, cells, LOW, SIZE, statistics)
    bev = reference.scatter(pillars, sample, cells, len(clouds), CELLS[1], CELLS[0])
    features = reference.backbone(weights, bev, statistics)
    shared = reference.shared_conv(weights, features, statistics)
    heads = [reference.head(weights, number, shared, statistics) for number in range(len(HEADS))]
    logits, codes = zip(*heads, strict=True)
    return Stages(pillars, bev, features, shared, list(logits), list(codes), statistics or {})


def by_model(model: TemporalPointPillar, batch: dict[str, Any]) -> tuple[Stages, dict[str, Any]]:
    """The stages of a step, and the step's own result."""
    activations: dict[str, Any] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            activations[name] = (inputs[0], output)

        return hook

    modules = {"vfe": model.vfe, "backbone": model.backbone_2d, "shared": model.dense_head.shared_conv}
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    batch_dict, _ = model.step(batch, model.memory.initial_state(len(batch["points"])))
    for handle in handles:
        handle.remove()
    outputs = batch_dict["predictions"]
    stages = Stages(
        pillars=activations["vfe"][1][0],
        bev=activations["backbone"][0],
        features=activations["backbone"][1],
        shared=activations["shared"][1],
        logits=[output.cls_preds for output in outputs],
        codes=[output.box_preds for output in outputs],
    )
    return stages, batch_dict


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in units of the largest value."""
    assert ours.shape == theirs.shape
    ours, theirs = ours.detach(), theirs.detach()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))


def anchors_of_head(number: int) -> Tensor:
    sizes = [ANCHORS[name][0] for name in HEADS[number]]
    bottoms = [ANCHORS[name][1] for name in HEADS[number]]
    return reference.anchors(sizes, bottoms, LOW, HIGH, CELLS[1] // 4, CELLS[0] // 4)


# ---------------------------------------------------------------------------------------------------------- layout


def test_the_layout_is_the_published_one_to_the_last_tensor_and_number(tmp_path: Path) -> None:
    shapes = reference.published_shapes(CLASSES_OF_HEADS)
    counted = {name: math.prod(shape) for name, shape in shapes.items() if not _is_buffer(name)}
    assert (len(shapes), sum(counted.values())) == (421, 6_078_636)
    with torch.device("meta"):
        model = build_model(load_openpcdet_config(write_openpcdet(tmp_path)))
    assert {name: tuple(tensor.shape) for name, tensor in published_layout(model).items()} == shapes


def _is_buffer(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked", "head_label_indices", "global_step"))


def test_every_tensor_has_its_place_in_the_imported_detector(
    detector: TemporalPointPillar, weights: reference.Weights
) -> None:
    placed = published_layout(detector)
    assert placed.keys() == weights.keys()
    for name, tensor in weights.items():
        if name != "global_step":
            assert torch.equal(placed[name], tensor), name


# ---------------------------------------------------------------------------------------------------------- inference


def clouds_of(kind: str) -> list[np.ndarray]:
    return [made_up_points(0), made_up_points(1)[:3000]] if kind == "made up" else [recorded_points()]


@pytest.mark.parametrize("kind", ["made up", "recorded"])
def test_pillars_hold_the_first_points_of_the_first_cells_to_the_last_bit(
    kind: str, detector: TemporalPointPillar
) -> None:
    data = detector.cfg.DATA_CONFIG
    batch = batch_of(clouds_of(kind))
    ours = voxelise(batch["points"], batch["num_points"], data.pillar_grid, (-5.0, 3.0), MAX_POINTS, MAX_PILLARS)
    parts = [reference.voxelise(cloud, LOW, SIZE, CELLS, MAX_POINTS, MAX_PILLARS) for cloud in clouds_of(kind)]
    points, count, cells = (torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True))
    assert max(len(part[0]) for part in parts) == MAX_PILLARS
    assert count.max() == MAX_POINTS
    assert torch.equal(ours.points, points)
    assert torch.equal(ours.num_points, count)
    assert torch.equal(ours.coords[:, 1:], cells[:, 1:])


@pytest.mark.parametrize("kind", ["made up", "recorded"])
@torch.no_grad()
def test_every_stage_gives_the_numbers_of_the_formulas(
    kind: str, detector: TemporalPointPillar, weights: reference.Weights
) -> None:
    clouds = clouds_of(kind)
    ours, _ = by_model(detector, batch_of(clouds))
    theirs = by_formulas(weights, clouds)
    off = {name: difference(value, theirs.each()[name]) for name, value in ours.each().items()}
    assert {name: value for name, value in off.items() if value > 1e-5} == {}


@torch.no_grad()
def test_a_fused_detector_gives_the_numbers_of_the_formulas(
    detector: TemporalPointPillar, weights: reference.Weights
) -> None:
    fused, clouds = fuse_for_inference(detector), clouds_of("made up")
    found, _ = fused.step(batch_of(clouds), fused.memory.initial_state(2))
    theirs = by_formulas(weights, clouds)
    for output, logits, codes in zip(found["predictions"], theirs.logits, theirs.codes, strict=True):
        assert difference(output.cls_preds, logits) < 1e-5
        assert difference(output.box_preds, codes) < 1e-5


@torch.no_grad()
def test_padded_rows_are_where_the_formulas_have_them(
    detector: TemporalPointPillar, weights: reference.Weights
) -> None:
    norm = "vfe.pfn_layers.0.norm"
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-3).sqrt()
    of_padding = (weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale).relu()
    lone_point = np.array([[3.05, 3.05, -1, 20, 0]], dtype=np.float32)
    ours, _ = by_model(detector, batch_of([lone_point]))
    assert (of_padding > 0).sum() > 10
    assert (ours.pillars[0] >= of_padding - 1e-6).all()
    assert ((ours.pillars[0] - of_padding).abs() < 1e-6).any()


def test_anchors_are_where_the_formulas_have_them(detector: TemporalPointPillar) -> None:
    for number, head in enumerate(detector.dense_head.heads):
        ours = head.anchors.boxes(torch.arange(len(head.anchors)))
        theirs = anchors_of_head(number)
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-5


@torch.no_grad()
def test_the_same_predictions_give_the_boxes_of_the_formulas(detector: TemporalPointPillar) -> None:
    stages, batch_dict = by_model(detector, batch_of([made_up_points(0)]))
    found = detector.detect(batch_dict)[0]
    number_of_class = 0
    for number, names in enumerate(HEADS):
        boxes = reference.decode(stages.codes[number][0].double(), anchors_of_head(number))
        scores = stages.logits[number][0].double().sigmoid()
        for class_index in range(len(names)):
            rows = reference.suppress(
                boxes, scores[:, class_index], min_score=0.1, max_overlap=0.2, most_in=MOST_IN, most_out=MOST_OUT
            )
            ours = found[found.labels == number_of_class]
            assert len(ours) == len(rows)
            assert difference(ours.boxes, boxes[rows]) < 1e-5
            assert difference(ours.scores, scores[rows, class_index]) < 1e-6
            number_of_class += 1
    found_of_class = torch.bincount(found.labels)
    assert found_of_class.max() == MOST_OUT
    assert 0 < found_of_class.min() < MOST_OUT
    assert max(int((logits.sigmoid() >= 0.1).sum(dim=1).max()) for logits in stages.logits) > MOST_IN


# ---------------------------------------------------------------------------------------------------------- training


def matches_of(boxes: Tensor, labels: Tensor) -> list[Tensor]:
    """What the anchors of each head answer for, by the formulas."""
    matches = []
    for number, names in enumerate(HEADS):
        at, parts = anchors_of_head(number), []
        for anchors, name in zip(at.chunk(len(names)), names, strict=True):
            rows = (labels == CLASSES.index(name)).nonzero()[:, 0]
            _, _, matched, unmatched = ANCHORS[name]
            match = reference.assign(anchors, boxes[rows].double(), matched, unmatched)
            parts.append(torch.where(match >= 0, rows[match.clamp(min=0)] if len(rows) else match, match))
        matches.append(torch.cat(parts))
    return matches


def test_targets_are_those_of_the_formulas(detector: TemporalPointPillar) -> None:
    boxes, labels = boxes_near_anchors(seed=0)
    matches = matches_of(boxes, labels)
    assert torch.cat(matches).unique()[:3].tolist() == [-2, -1, 0]
    for head, match in zip(detector.dense_head.heads, matches, strict=True):
        targets = head.assign(boxes[None], labels[None])
        assert torch.equal(targets.anchor, (match >= 0).nonzero()[:, 0])
        assert torch.equal(targets.boxes.nan_to_num(99), boxes[match[match >= 0]].nan_to_num(99))
        assert torch.equal(targets.labels[0] == -1, match == -1)
        expected = head.class_ids[targets.labels[0, targets.anchor]]
        assert torch.equal(expected, labels[match[match >= 0]])


def made_up_batch() -> dict[str, Tensor]:
    """Two frames of 20 boxes each, box 4 without a point, padded."""
    boxes, labels = zip(*(boxes_near_anchors(seed) for seed in range(2)), strict=True)
    batch = {
        **batch_of(clouds_of("made up")),
        "gt_boxes": torch.cat((torch.stack(boxes), torch.zeros(2, 3, 9)), dim=1),
        "gt_labels": torch.cat((torch.stack(labels), torch.full((2, 3), -1)), dim=1),
        "gt_num_points": torch.full((2, 23), 5),
        "gt_seconds_unseen": torch.zeros(2, 23),
    }
    batch["gt_num_points"][:, 4] = 0
    batch["gt_seconds_unseen"][:, 4] = torch.inf
    return batch


def losses_by_formulas(stages: Stages) -> tuple[Tensor, Tensor]:
    """Losses of ``made_up_batch``."""
    known = torch.arange(20) != 4
    truths = [tuple(part[known] for part in boxes_near_anchors(seed)) for seed in range(2)]
    return reference.losses(
        list(zip(stages.logits, stages.codes, strict=True)),
        [anchors_of_head(number) for number in range(len(HEADS))],
        [matches_of(boxes, labels) for boxes, labels in truths],
        [boxes.to(stages.pillars.dtype) for boxes, _ in truths],
        [labels for _, labels in truths],
    )


def test_a_training_step_has_the_outputs_losses_and_statistics_of_the_formulas(
    detector: TemporalPointPillar, weights: reference.Weights
) -> None:
    ours, batch_dict = by_model(detector.train(), made_up_batch())
    our_losses = detector.frame_losses(batch_dict)
    theirs = by_formulas(weights, clouds_of("made up"), training=True)
    cls_loss, loc_loss = losses_by_formulas(theirs)
    off = {name: difference(value, theirs.each()[name]) for name, value in ours.each().items()}
    off |= {"cls_loss": difference(our_losses["cls_loss"], cls_loss)}
    off |= {"loc_loss": difference(our_losses["loc_loss"], loc_loss)}
    placed = published_layout(detector)
    off |= {name: difference(placed[name], value) for name, value in theirs.statistics.items()}
    assert {name: value for name, value in off.items() if value > 3e-5} == {}
    assert {name for name in weights if "running" in name or "tracked" in name} == theirs.statistics.keys()


def test_a_training_step_has_the_gradients_of_the_formulas(
    detector: TemporalPointPillar, weights: reference.Weights
) -> None:
    """In float64: rounding to float32 puts some of the ReLUs on their other side, for either of the two."""
    batch = made_up_batch()
    batch["points"] = batch["points"].double()
    _, batch_dict = by_model(detector.train().double(), batch)
    torch.stack(list(detector.frame_losses(batch_dict).values())).sum().backward()
    leaves = {
        name: tensor.double().requires_grad_() if not _is_buffer(name) else tensor for name, tensor in weights.items()
    }
    clouds = [cloud.astype(np.float64) for cloud in clouds_of("made up")]
    cls_loss, loc_loss = losses_by_formulas(by_formulas(leaves, clouds, training=True))
    (cls_loss + loc_loss).backward()
    gradients = published_gradients(detector)
    learnt = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    assert gradients.keys() == learnt.keys() == {name for name in weights if not _is_buffer(name)}
    off = {name: difference(gradient, learnt[name]) for name, gradient in gradients.items()}
    assert {name: value for name, value in off.items() if value > 1e-5} == {}


def published_gradients(model: TemporalPointPillar) -> dict[str, Tensor]:
    return {openpcdet_name(name): weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


# ---------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(("fusion", "tolerance"), [("gate", 0.0), ("gate_and_read", 0.02)])
@torch.no_grad()
def test_the_training_of_a_memory_starts_with_the_imported_detector_as_it_was(
    fusion: str, tolerance: float, files: tuple[Path, Path], detector: TemporalPointPillar
) -> None:
    with_memory = import_openpcdet(files[0], configured(files, [*SMALL_MEMORY, f"MODEL.MEMORY.FUSION={fusion}"]))
    with_memory.memory.train()
    state = with_memory.memory.initial_state(1)
    for t in range(3):
        batch = batch_of([made_up_points(t)])
        ours, state = with_memory.step(batch, state, progress=0.0)
        alone, _ = detector.step(batch, detector.memory.initial_state(1))
        for one, other in zip(ours["predictions"], alone["predictions"], strict=True):
            torch.testing.assert_close(one.cls_preds, other.cls_preds, rtol=0, atol=tolerance)
            torch.testing.assert_close(one.box_preds, other.box_preds, rtol=0, atol=tolerance)
    assert state.tokens.valid.any()


def test_the_memory_learns_from_there(files: tuple[Path, Path]) -> None:
    """What brings the readout in moves at once, and two steps later everything that it and the gate are fed by."""
    model = import_openpcdet(files[0], configured(files, [*SMALL_MEMORY, "DATA_CONFIG.SEQ_LEN=2"])).train()
    grid = model.cfg.memory_grid
    torch.manual_seed(0)
    features = torch.randn(2, 384, model.cfg.feature_grid.height, model.cfg.feature_grid.width)
    masks = torch.zeros(1, 1, grid.height, grid.width)
    masks[..., 4:9, 4:9] = 1
    memory = model.memory
    optimizer = torch.optim.AdamW(memory.parameters(), lr=1e-3)
    moved, losses = [], []
    for _ in range(12):
        state, total = memory.initial_state(1), torch.zeros(())
        for t in range(2):
            context = FrameContext(scene_masks=masks)
            changed, occ_logits, state = memory.step(features[t : t + 1], state, context)
            occupancy = occupancy_loss(occ_logits, masks, model.cfg.MODEL.MEMORY.OCC_LOSS, 0.0)
            total = total + (occupancy + (changed - features[t] - 1).abs().mean()) / 2
        optimizer.zero_grad()
        total.backward()
        moved.append(
            {name for name, weight in memory.named_parameters() if weight.grad is not None and weight.grad.any()}
        )
        losses.append(total.item())
        optimizer.step()
    assert {"add_read.project.weight", "xmem.decode.occupancy.weight"} <= moved[0]
    parts = {name.split(".")[1] for name, _ in memory.named_parameters()} - {"presence"}  # no box was found to judge
    assert {name.split(".")[1] for name in moved[2]} == parts
    assert losses[-1] < 0.9 * losses[0]


def test_an_import_is_reproducible_and_keeps_the_random_state(files: tuple[Path, Path]) -> None:
    cfg = configured(files, SMALL_MEMORY)
    before = torch.get_rng_state()
    first, second = import_openpcdet(files[0], cfg).state_dict(), import_openpcdet(files[0], cfg).state_dict()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert torch.equal(before, torch.get_rng_state())


def test_an_imported_detector_keeps_its_channel_order_in_checkpoints(
    files: tuple[Path, Path], detector: TemporalPointPillar, tmp_path: Path
) -> None:
    path = tmp_path / "imported.safetensors"
    save_checkpoint(path, detector)
    other = build_model(configured(files, SMALL_MEMORY))
    load_pretrained(other, path)
    for model in (load_checkpoint(path), other):
        for head, imported in zip(model.dense_head.heads, detector.dense_head.heads, strict=True):
            assert torch.equal(head.box_channels, torch.arange(len(head.box_channels)))
            assert torch.equal(head.conv_cls[0].weight, imported.conv_cls[0].weight)


# ---------------------------------------------------------------------------------------------------------- errors


def message(path: Path, cfg: Config) -> str:
    with pytest.raises(CheckpointError) as raised:
        import_openpcdet(path, cfg)
    assert str(path) in str(raised.value)
    return str(raised.value)


def test_both_of_torchs_file_formats_are_read(
    files: tuple[Path, Path], weights: reference.Weights, tmp_path: Path
) -> None:
    old = saved(tmp_path / "old.pth", weights, _use_new_zipfile_serialization=False)
    read = read_openpcdet(old)
    assert all(torch.equal(read[name], weight) for name, weight in weights.items())


def test_weights_missing_left_over_and_misshapen_are_named_by_openpcdets_names(
    files: tuple[Path, Path], weights: reference.Weights, tmp_path: Path
) -> None:
    changed_weights = dict(weights)
    changed_weights["backbone_2d.blocks.3.1.weight"] = changed_weights.pop("backbone_2d.blocks.2.16.weight")
    changed_weights["global_step"] = torch.zeros(2, dtype=torch.int64)
    said = message(saved(tmp_path / "other.pth", changed_weights), configured(files))
    assert "backbone_2d.blocks.2.16.weight is missing" in said
    assert "backbone_2d.blocks.3.1.weight is not in the model" in said
    assert "global_step is [2], the model's is [1]" in said


def test_labels_of_other_classes_are_named(
    files: tuple[Path, Path], weights: reference.Weights, tmp_path: Path
) -> None:
    name = "dense_head.rpn_heads.1.head_label_indices"
    said = message(saved(tmp_path / "other.pth", {**weights, name: torch.tensor([3, 2])}), configured(files))
    assert f"{name} is [3, 2], by CLASS_NAMES it is [2, 3]" in said


class Dangerous:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def test_files_that_are_no_checkpoints_are_errors_and_no_code_in_them_runs(
    files: tuple[Path, Path], weights: reference.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = files[0].read_bytes()
    old = saved(tmp_path / "old.pth", weights, _use_new_zipfile_serialization=False).read_bytes()
    contents = {
        "text": b"not weights\n",
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "cut_old": old[: len(old) // 2],
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.pth"
        path.write_bytes(content)
        assert "or truncated" in message(path, configured(files)), name
    assert "no such file" in message(tmp_path / "absent.pth", configured(files))
    said = message(saved(tmp_path / "objects.pth", {"a": Dangerous()}), configured(files))
    assert re.search(r"contains \w+\.mkdir; only tensors, numbers and strings are loaded", said)
    assert not (tmp_path / "unpickled").exists()
    torch.save(weights, tmp_path / "bare.pth")
    assert "no key model_state" in message(tmp_path / "bare.pth", configured(files))
    assert "model_state[epoch] is not a tensor" in message(saved(tmp_path / "n.pth", {"epoch": 3}), configured(files))
