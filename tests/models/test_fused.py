"""A model fused for inference is the same function."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import SMALL, awaken
from tests.streaming.frames import cloud, listening_model, pose, run

from remembev import StreamingDetector, build_model, load_config
from remembev.models import TemporalPointPillar, fuse_for_inference
from remembev.streaming import ModelEngine

VARIANTS = {
    "hard voxels": ["MODEL.VFE.NAME=PillarVFE", "DATA_CONFIG.DATA_PROCESSOR.MAX_POINTS_PER_VOXEL=4"],
    "few pillars": ["MODEL.VFE.NAME=PillarVFE", "DATA_CONFIG.DATA_PROCESSOR.MAX_NUMBER_OF_VOXELS=50"],
    "dynamic": ["MODEL.VFE.NAME=DynPillarVFE"],
    "distance": ["MODEL.VFE.WITH_DISTANCE=true"],
    "no absolute place": ["MODEL.VFE.USE_ABSLOTE_XYZ=false"],
    "two layers": ["MODEL.VFE.NUM_FILTERS=[8, 8]"],
    "direction": ["MODEL.DENSE_HEAD.USE_DIRECTION_CLASSIFIER=true"],
    "no memory": ["MODEL.MEMORY.FUSION=none"],
    "gru": ["MODEL.MEMORY.NAME=ConvGRUBEVModule"],
    "gate": ["MODEL.MEMORY.FUSION=gate"],
}


def model_with_statistics(*overrides: str) -> TemporalPointPillar:
    """A small model whose normalisations have learnt something, some of them to turn their input round.

    Each query reads every token, so that rounding does not decide which are read.
    """
    torch.manual_seed(0)
    model = awaken(build_model(load_config("tiny", [*SMALL, "MODEL.MEMORY.TOP_K=1000", *overrides])).eval())
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model


@torch.no_grad()
def step(model: TemporalPointPillar) -> tuple[torch.Tensor, ...]:
    """Every prediction of the head on the second frame of a batch of two."""
    points = torch.nn.functional.pad(torch.stack([cloud(0), cloud(1)]), (0, 1))
    batch_dict = {"points": points, "num_points": torch.tensor([2000, 1500])}
    _, state = model.step(batch_dict, model.memory.initial_state(2))
    batch_dict, _ = model.step(batch_dict, state)
    outputs = [(output.cls_preds, output.box_preds, output.dir_preds) for output in batch_dict["predictions"]]
    return tuple(part for output in outputs for part in output if part is not None)


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_a_fused_model_predicts_what_the_model_predicts(overrides: list[str]) -> None:
    model = model_with_statistics(*overrides)
    for found, expected in zip(step(fuse_for_inference(model)), step(model), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_in_bfloat16_predictions_differ_by_its_rounding(overrides: list[str]) -> None:
    model = model_with_statistics(*overrides)
    for found, expected in zip(step(fuse_for_inference(model, torch.bfloat16)), step(model), strict=True):
        difference = (found.float() - expected).norm() / expected.norm()
        assert 0 < difference < 0.05


def test_no_normalisation_layer_is_left() -> None:
    fused = fuse_for_inference(model_with_statistics())
    for part in (fused.vfe, fused.backbone_2d, fused.dense_head):
        assert not [module for module in part.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]


def test_fusing_leaves_the_model_unchanged_and_trainable() -> None:
    model = model_with_statistics().train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    fuse_for_inference(model)
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_stream_in_bfloat16_finds_the_boxes_of_one_in_float32() -> None:
    model = listening_model("MODEL.MEMORY.FUSION=none")
    for head in model.dense_head.heads:  # scores that are far apart, as a trained model's
        torch.nn.init.normal_(head.conv_cls[-1].weight)
    exact = run(StreamingDetector(model), "a", 3)
    rounded = run(StreamingDetector(ModelEngine(model, dtype=torch.bfloat16)), "a", 3)
    for one, other in zip(exact, rounded, strict=True):
        distance = torch.cdist(one.boxes[:, :3], other.boxes[:, :3]) + 1e3 * (one.labels[:, None] != other.labels)
        nearest, match = distance.min(dim=1)
        matched = nearest < 0.2
        assert matched.float().mean() > 0.8
        assert (one.scores - other.scores[match])[matched].abs().max() < 0.03


def test_an_engine_keeps_the_weights_of_its_creation() -> None:
    model = listening_model()
    detector, expected = StreamingDetector(model), run(StreamingDetector(model), "a", 1)[0]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    found = detector.step(cloud(0), pose(0), 0.0, "a")
    assert torch.equal(found.boxes, expected.boxes)
