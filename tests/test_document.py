"""The document that the project was created from: every sentence and call of its flow, run as it is typed there.

Here are the flow and its memory; ``build_seq_loader`` and ``NuScenesSeqDataset`` are in ``tests/data``, both ways of
transforming into the last timestep's coordinates in ``tests/memory/test_alignment.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.conftest import SMALL, awaken
from tests.models.test_temporal import clip
from torch import Tensor, nn

from remembev import TemporalPointPillar, build_model, load_config
from remembev.batch import ClipBatch
from remembev.config import Config, apply_variant

T = 3


@pytest.fixture
def cfg() -> Config:
    """The document's system: ``nuscenes`` with ``--variant gate``, at a size that a test can run."""
    whole = apply_variant(load_config("nuscenes"), "gate")
    memory = whole.MODEL.MEMORY
    assert (memory.NAME, memory.FUSION, whole.MODEL.BACKBONE_3D) == ("XMemBEVModule", "gate", None)
    assert whole.MODEL.DENSE_HEAD.USE_DIRECTION_CLASSIFIER
    sizes = [override for override in SMALL if "VOXEL_SIZE" not in override]
    sizes += ["DATA_CONFIG.POINT_CLOUD_RANGE=[-12.8, -12.8, -5, 12.8, 12.8, 3]"]
    return apply_variant(load_config("nuscenes", sizes), "gate")


@pytest.fixture
def model(cfg: Config) -> TemporalPointPillar:
    torch.manual_seed(0)
    return awaken(build_model(cfg)).eval()


@pytest.fixture
def batch_seq(cfg: Config) -> ClipBatch:
    return ClipBatch.from_mapping(clip(cfg, batch=2, frames=T))


def timesteps(batch_seq: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Extract per-timestep batch; per-scene time index: local time t_s = t within this sequence."""
    for t in range(T):
        batch_dict_t = {k: v[:, t] for k, v in batch_seq.items()}
        t_s = t
        yield batch_dict_t, t_s


def test_the_frame_passes_the_stack_in_the_document_s_order(model: TemporalPointPillar, batch_seq: ClipBatch) -> None:
    """points → VFE → 3D backbone → BEV scatter → 2D BEV backbone → memory → head."""

    class Backbone3D(nn.Module):
        def forward(self, features: Tensor, coords: Tensor) -> tuple[Tensor, Tensor]:
            return features, coords

    without = [model.forward_single_timestep(*step)["spatial_features_2d"] for step in timesteps(batch_seq)]
    model.backbone_3d = Backbone3D()
    called: list[str] = []
    stages = {"vfe": model.vfe, "backbone_3d": model.backbone_3d, "backbone_2d": model.backbone_2d}
    stages |= {"memory": model.memory.xmem.features, "dense_head": model.dense_head}
    for name, module in stages.items():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    batch_dict_t, t_s = next(timesteps({k: v[:1] for k, v in batch_seq.items()}))
    output = model.forward_single_timestep(batch_dict_t, t_s)
    assert called == list(stages)
    torch.testing.assert_close(output["spatial_features_2d"], without[0][:1])


def test_the_memory_gates_the_features_that_the_head_sees(
    model: TemporalPointPillar, batch_seq: ClipBatch, cfg: Config
) -> None:
    """occ_logits ∈ ℝ^{B×1×H_m×W_m} → resize → gate = σ(occ_logits) → spatial_features_2d ⊙ gate → replace → head."""
    ungated: list[Tensor] = []
    given: list[Tensor] = []
    model.backbone_2d.register_forward_hook(lambda _, __, features: ungated.append(features))
    model.dense_head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    grid, memory_grid = cfg.feature_grid, cfg.memory_grid
    for batch_dict_t, t_s in timesteps(batch_seq):
        batch_dict_t = model.forward_single_timestep(batch_dict_t, t_s)
        occ_logits = batch_dict_t["occ_logits"]
        assert occ_logits.shape == (2, 1, memory_grid.height, memory_grid.width)
        resized = F.interpolate(occ_logits, (grid.height, grid.width), mode="bilinear")
        gate = torch.sigmoid(resized)
        assert gate.std() > 0.05
        assert torch.equal(batch_dict_t["spatial_features_2d"], ungated[-1] * gate)
        assert torch.equal(given[-1], batch_dict_t["spatial_features_2d"])


def test_the_head_gives_classes_boxes_and_directions(model: TemporalPointPillar, batch_seq: ClipBatch) -> None:
    for batch_dict_t, t_s in timesteps(batch_seq):
        for output in model.forward_single_timestep(batch_dict_t, t_s)["predictions"]:
            anchors = output.cls_preds.shape[1]
            assert output.box_preds.shape[:2] == (2, anchors)
            assert output.dir_preds.shape[:2] == (2, anchors)


def test_forward_step_as_typed_gives_occ_logits_and_carries_the_memory_across_timesteps(
    model: TemporalPointPillar, batch_seq: ClipBatch
) -> None:
    XMemBackboneWrapper = model.memory.xmem
    expected = [model.forward_single_timestep(*step)["occ_logits"] for step in timesteps(batch_seq)]
    for batch_dict_t, t_s in timesteps(batch_seq):
        frames_lidar_t = model.backbone_2d(model.to_bev(batch_dict_t["points"], batch_dict_t["num_points"]))
        scene_masks, agent_masks, valids_mask = batch_dict_t["scene_masks"], None, None
        occ_logits = XMemBackboneWrapper.forward_step(t_s, frames_lidar_t, scene_masks, agent_masks, valids_mask)
        torch.testing.assert_close(occ_logits, expected[t_s], rtol=1e-3, atol=1e-3)
        occ_logits = F.interpolate(occ_logits, frames_lidar_t.shape[-2:], mode="bilinear")
        assert torch.sigmoid(occ_logits).shape == (2, 1, *frames_lidar_t.shape[-2:])


def test_xmem_bev_module_takes_features_scene_token_and_time(model: TemporalPointPillar, batch_seq: ClipBatch) -> None:
    XMemBEVModule = model.memory
    expected = [model.forward_single_timestep(*step)["spatial_features_2d"] for step in timesteps(batch_seq)]
    for batch_dict_t, t_s in timesteps(batch_seq):
        spatial_features_2d = model.backbone_2d(model.to_bev(batch_dict_t["points"], batch_dict_t["num_points"]))
        temporal, _ = XMemBEVModule(spatial_features_2d, batch_dict_t["scene_token"], t_s)
        torch.testing.assert_close(temporal, expected[t_s], rtol=1e-3, atol=1e-3)


def test_the_gate_encodes_history(model: TemporalPointPillar, batch_seq: ClipBatch) -> None:
    """XMem carries memory across timesteps inside the same scene; the detector uses the current timestep's features."""
    last = [model.forward_single_timestep(*step) for step in timesteps(batch_seq)][-1]
    batch_dict_t, _ = list(timesteps(batch_seq))[-1]
    alone = model.forward_single_timestep(batch_dict_t, 0)
    assert not torch.allclose(last["occ_logits"], alone["occ_logits"])


def test_each_scene_s_time_may_be_its_own(model: TemporalPointPillar, batch_seq: ClipBatch) -> None:
    (first, _), (second, _), _ = timesteps(batch_seq)

    def occ_logits(t_s: int | list[int]) -> Tensor:
        model.forward_single_timestep(first, 0)
        logits: Tensor = model.forward_single_timestep(second, t_s)["occ_logits"]
        return logits

    mixed = occ_logits([1, 0])
    assert torch.equal(mixed[0], occ_logits(1)[0])
    assert torch.equal(mixed[1], occ_logits(0)[1])
    assert not torch.equal(mixed[1], occ_logits(1)[1])


def test_the_loss_of_each_frame_is_back_propagated(model: TemporalPointPillar, batch_seq: ClipBatch) -> None:
    model.train()
    for batch_dict_t, t_s in timesteps(batch_seq):
        losses = model.frame_losses(model.forward_single_timestep(batch_dict_t, t_s))
        assert {"cls_loss", "loc_loss", "dir_loss", "occ_loss"} <= losses.keys()
        torch.stack(list(losses.values())).sum().backward()


@pytest.mark.parametrize("keep_graph", [False, True])
def test_and_usually_averaged_over_the_sequence(
    model: TemporalPointPillar, batch_seq: ClipBatch, keep_graph: bool
) -> None:
    """With ``keep_graph`` the gradients go through time, as they do from the loss of a clip."""
    model.train()
    torch.manual_seed(1)
    outputs = [model.forward_single_timestep(*step, keep_graph=keep_graph) for step in timesteps(batch_seq)]
    losses = [torch.stack(list(model.frame_losses(output).values())).sum() for output in outputs]
    torch.stack(losses).mean().backward()
    written = model.get_parameter("memory.xmem.encode_value.fuse.first.weight")
    assert (written.grad is not None and bool(written.grad.any())) == keep_graph
    torch.manual_seed(1)
    torch.testing.assert_close(model.clip_losses(batch_seq)["loss"], torch.stack(losses).mean(), rtol=1e-3, atol=1e-3)
