"""The model on clips: what flows through it, back through time, and what must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import assert_has_gradients, awaken
from torch import Tensor

from remembev.config import Config, load_config
from remembev.memory import gate
from remembev.models import TemporalPointPillar, build_model, fuse_for_inference
from remembev.models.temporal import FrameOutput


def clip(cfg: Config, batch: int = 1, frames: int = 3, seed: int = 0, points: int = 600) -> dict[str, Any]:
    """A batch of random clips with a few cars in them."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, frames, *shape, generator=generator)

    size = torch.tensor([4.6, 2.0, 1.7]).expand(batch, frames, 4, 3)
    centre = torch.cat((uniform(4, 2) * 60 - 30, uniform(4, 1) - 1.5), dim=-1)
    boxes = torch.cat((centre, size, uniform(4, 3)), dim=-1)
    grid = cfg.memory_grid
    xyz = (uniform(points, 3) - 0.5) * torch.tensor([80.0, 80.0, 3.0])
    return {
        "points": torch.cat((xyz, uniform(points, 1) * 255, torch.zeros(batch, frames, points, 1)), dim=-1),
        "num_points": torch.full((batch, frames), points),
        "gt_boxes": boxes,
        "gt_labels": torch.zeros(batch, frames, 4, dtype=torch.int64),
        "gt_num_points": torch.ones(batch, frames, 4, dtype=torch.int64),
        "gt_seconds_unseen": torch.zeros(batch, frames, 4),
        "prev_from_frame": torch.eye(4).expand(batch, frames, 4, 4),
        "scene_token": np.array([[f"scene {seed} {item}"] * frames for item in range(batch)]),
        "scene_masks": (uniform(1, grid.height, grid.width) > 0.8).float(),
    }


def model(cfg: Config) -> TemporalPointPillar:
    torch.manual_seed(0)
    return awaken(build_model(cfg))


def stream(made: TemporalPointPillar, batch_seq: dict[str, Any], **options: Any) -> list[FrameOutput]:
    made.memory.states.clear()
    frames = [{k: v[:, t] for k, v in batch_seq.items()} for t in range(batch_seq["points"].shape[1])]
    return [made.forward_single_timestep(frame, t, **options) for t, frame in enumerate(frames)]


def joined(*clips: dict[str, Any]) -> dict[str, Any]:
    batch = {key: torch.cat([one[key] for one in clips]) for key in clips[0] if key != "scene_token"}
    return {**batch, "scene_token": np.concatenate([one["scene_token"] for one in clips])}


def test_a_frame_s_output_has_the_keys_of_its_input_and_of_the_outputs(small_cfg: Config) -> None:
    for fusion in ("gate", "none"):
        batch_seq = clip(small_cfg)
        output = stream(model(small_cfg.with_changes({"MODEL.MEMORY.FUSION": fusion})).eval(), batch_seq)[1]
        found = set() if fusion == "none" else {"detections", "objects", "found"}
        assert set(output) == {*batch_seq, "spatial_features_2d", "occ_logits", "predictions", *found}
        assert output["spatial_features_2d"] is output.spatial_features_2d
        assert (output["occ_logits"] is None) == (fusion == "none")
        assert torch.equal(output["points"], batch_seq["points"][:, 1])


def test_the_losses_of_a_clip_are_the_means_over_its_frames(small_cfg: Config) -> None:
    made, batch_seq = model(small_cfg).train(), clip(small_cfg)
    torch.manual_seed(1)
    losses = made(batch_seq)
    made = model(small_cfg).train()
    torch.manual_seed(1)
    frames = [made.frame_losses(frame) for frame in stream(made, batch_seq)]
    for name in frames[0]:
        torch.testing.assert_close(losses[name], torch.stack([frame[name] for frame in frames]).mean())
    torch.testing.assert_close(losses["loss"], sum(losses[name] for name in frames[0]))


@pytest.mark.parametrize("change", [{}, {"NAME": "ConvGRUBEVModule"}, {"FUSION": "gate_residual"}])
def test_the_last_frame_s_detection_loss_reaches_the_points_of_frame_zero_in_the_first_training_step(
    small_cfg: Config, change: dict[str, str]
) -> None:
    cfg = small_cfg.with_changes({f"MODEL.MEMORY.{key}": value for key, value in change.items()})
    torch.manual_seed(0)
    fresh, batch_seq = build_model(cfg).train(), clip(cfg)
    batch_seq["points"].requires_grad_()
    last = stream(fresh, batch_seq, progress=0.0, keep_graph=True)[-1]
    losses = fresh.frame_losses(last, progress=0.0)
    losses.pop("occ_loss", None)
    sum(losses.values()).backward()
    gradient = batch_seq["points"].grad
    assert gradient is not None
    assert gradient[:, 0].any()


@pytest.mark.parametrize(("fusion", "share"), [("gate", 0.0), ("gate_and_read", 0.005)])
def test_a_detector_that_is_given_a_memory_starts_its_training_as_what_it_was(
    small_cfg: Config, fusion: str, share: float
) -> None:
    torch.manual_seed(0)
    without = build_model(small_cfg.with_changes({"MODEL.MEMORY.FUSION": "none"})).train()
    given = build_model(small_cfg.with_changes({"MODEL.MEMORY.FUSION": fusion})).train()
    given.load_state_dict(without.state_dict(), strict=False)
    batch_seq = clip(small_cfg)
    outputs = (stream(made, batch_seq, progress=0.0) for made in (without, given))
    for one, other in zip(*outputs, strict=True):
        for alone, remembering in zip(one.predictions, other.predictions, strict=True):
            for name in ("cls_preds", "box_preds"):
                before, now = getattr(alone, name), getattr(remembering, name)
                assert (now - before).norm() <= share * before.norm()


def test_the_gate_multiplies_what_the_head_sees_at_inference(small_cfg: Config) -> None:
    made = model(small_cfg.with_changes({"MODEL.MEMORY.FUSION": "gate"})).eval()
    ungated: list[Tensor] = []
    made.backbone_2d.register_forward_hook(lambda _, __, features: ungated.append(features))
    outputs = stream(made, clip(small_cfg))
    for features, output in zip(ungated, outputs, strict=True):
        assert output.occ_logits is not None
        assert torch.equal(output.spatial_features_2d, features * gate(output.occ_logits, features))


@pytest.mark.parametrize("alignment", ["implicit", "explicit"])
def test_the_memory_asks_what_rays_pass_through_where_it_knows_the_sensor_s_place(
    small_cfg: Config, alignment: str
) -> None:
    made = model(small_cfg.with_changes({"DATA_CONFIG.ALIGNMENT": alignment})).train()
    assert (made.memory.visibility_grid is None) == (alignment == "explicit")
    assert made(clip(small_cfg))["loss"].isfinite()


@pytest.mark.parametrize("fusion", ["gate", "gate_and_read"])
def test_the_loss_of_every_frame_can_be_back_propagated_and_stepped_on_at_once(small_cfg: Config, fusion: str) -> None:
    made, batch_seq = model(small_cfg.with_changes({"MODEL.MEMORY.FUSION": fusion})).train(), clip(small_cfg, frames=4)
    optimizer = torch.optim.SGD(made.parameters(), lr=1e-4)
    for t in range(4):
        output = made.forward_single_timestep({k: v[:, t] for k, v in batch_seq.items()}, t)
        optimizer.zero_grad()
        sum(made.frame_losses(output).values()).backward()
        read = (made.memory.xmem.project.key,) if t > 0 else ()  # at 0 there are no tokens to read
        for part in (made.vfe, made.backbone_2d, made.memory.xmem.features, made.memory.xmem.decode.fuse, *read):
            assert_has_gradients(part)
        stored = [made.memory.states.get(key) for key in made.memory.states]
        assert len(stored) == 1
        assert not any(tensor.requires_grad for state in stored for tensor in state.named().values())
        optimizer.step()


def with_findings(cfg: Config) -> Config:
    changes: dict[str, object] = {"MODEL.MEMORY.WRITE": "findings", "MODEL.MEMORY.READ.NOTHING": True}
    return cfg.with_changes({**changes, "MODEL.POST_PROCESSING.SCORE_THRESH": 0.005})


def test_a_later_frame_s_loss_trains_how_findings_are_encoded(small_cfg: Config) -> None:
    cfg = with_findings(small_cfg)
    features = cfg.MODEL.MEMORY.FEATURE_DIM
    for frames in (1, 2):
        made, loss = back_propagated(cfg, clip(cfg, frames=frames))
        assert loss.isfinite()
        gradient = gradients(made).get("memory.xmem.encode_value.fuse.first.weight")
        assert (gradient is None) == (frames == 1), "what is written is read by later frames alone"
    assert gradient is not None
    assert gradient[:, features : features + len(cfg.CLASS_NAMES)].abs().max() > 0


def test_with_findings_a_stream_gives_the_boxes_of_the_clip(small_cfg: Config) -> None:
    cfg = with_findings(small_cfg)
    made, batch_seq = model(cfg).eval(), clip(cfg)
    clip_detections = made.clip_detections(batch_seq)
    streamed = [made.detect(output) for output in stream(made, batch_seq)]
    for expected, detections in zip(clip_detections, streamed, strict=True):
        assert len(expected[0]) > 0
        assert torch.equal(detections[0].boxes, expected[0].boxes)


@pytest.mark.parametrize("keep_graph", [True, False])
def test_the_mean_over_a_clip_s_frames_has_the_clip_s_gradients_where_the_graph_is_kept(
    small_cfg: Config, keep_graph: bool
) -> None:
    batch_seq = clip(small_cfg)
    exact, _ = back_propagated(small_cfg, batch_seq)
    made = model(small_cfg).train()
    torch.manual_seed(1)
    outputs = stream(made, batch_seq, keep_graph=keep_graph)
    torch.stack([sum(made.frame_losses(output).values()) for output in outputs]).mean().backward()
    name = "memory.xmem.encode_value.fuse.first.weight"
    if keep_graph:
        torch.testing.assert_close(gradients(made), gradients(exact), rtol=1e-4, atol=1e-5)
    else:
        assert name not in gradients(made), "what is written is read by later frames alone"


def test_a_scene_at_its_first_frame_starts_anew_and_its_neighbour_does_not(small_cfg: Config) -> None:
    made, batch_seq = model(small_cfg).eval(), joined(clip(small_cfg, seed=1), clip(small_cfg, seed=2))
    frame = {k: v[:, 0] for k, v in batch_seq.items()}
    first = made.forward_single_timestep(frame, 0)["occ_logits"]
    second = made.forward_single_timestep(frame, 1)["occ_logits"]
    made.forward_single_timestep(frame, 0)
    mixed = made.forward_single_timestep(frame, [0, 1])["occ_logits"]
    assert torch.equal(mixed[0], first[0])
    assert torch.equal(mixed[1], second[1])
    assert not torch.equal(first[1], second[1])


class Doubled(torch.nn.Module):
    """A 3D backbone that doubles the pillars' features and moves them by a row."""

    def forward(self, features: Tensor, coords: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * features, (coords + torch.tensor([0, 1, 0])).clamp(max=63)


@torch.no_grad()
def test_a_3d_backbone_works_on_the_pillars_before_they_are_scattered(small_cfg: Config) -> None:
    made, batch_seq = model(small_cfg).eval(), clip(small_cfg)
    assert made.backbone_3d is None
    points, count = batch_seq["points"][:, 0], batch_seq["num_points"][:, 0]
    plain = made.to_bev(points, count)
    made.backbone_3d = Doubled()
    assert torch.equal(made.to_bev(points, count)[:, :, 1:63], 2 * plain[:, :, :62])
    fused = fuse_for_inference(made)
    torch.testing.assert_close(fused.to_bev(points, count), made.to_bev(points, count))


def test_every_weight_learns_from_a_clip(small_cfg: Config) -> None:
    made = model(small_cfg).train()
    made(clip(small_cfg, frames=4))["loss"].backward()
    idle = [name for name, weight in made.named_parameters() if weight.grad is None]
    assert idle == []


def test_the_gate_of_a_frame_does_not_change_with_the_masks_boxes_and_labels_of_that_frame(small_cfg: Config) -> None:
    forcing = "MODEL.MEMORY.TEACHER_FORCING"
    cfg = small_cfg.with_changes({f"{forcing}.START": 1.0, f"{forcing}.END": 1.0})
    batch_seq = clip(cfg)
    changed = {key: value.clone() if isinstance(value, Tensor) else value for key, value in batch_seq.items()}
    changed["scene_masks"][:, 1] = 1 - changed["scene_masks"][:, 1]
    changed["gt_boxes"][:, 1] += 3.0
    changed["gt_labels"][:, 1] = 4
    one, other = stream(model(cfg).train(), batch_seq), stream(model(cfg).train(), changed)
    for t in (0, 1):
        assert torch.equal(one[t]["occ_logits"], other[t]["occ_logits"])
        assert torch.equal(one[t]["spatial_features_2d"], other[t]["spatial_features_2d"])
    assert not torch.equal(one[2]["occ_logits"], other[2]["occ_logits"])


def test_two_scenes_in_one_batch_give_bit_for_bit_what_they_give_alone(small_cfg: Config) -> None:
    first, second = clip(small_cfg, seed=1), clip(small_cfg, seed=2)
    made = model(small_cfg).eval()
    with torch.no_grad():
        alone = [made(first), made(second)]
        together = made(joined(first, second))
    for t in range(3):
        for item in range(2):
            assert len(together[t][item]) == len(alone[item][t][0])
            assert torch.equal(together[t][item].boxes, alone[item][t][0].boxes)
            assert torch.equal(together[t][item].scores, alone[item][t][0].scores)


def test_a_clip_neither_reads_nor_stores_states_of_scenes(small_cfg: Config) -> None:
    made = model(small_cfg).eval()
    batch_seq = clip(small_cfg)
    with torch.no_grad():
        first = stream(made, batch_seq)[-1]["occ_logits"]
        made(clip(small_cfg, seed=5))
        assert len(made.memory.states) == 1
        again = stream(made, batch_seq)[-1]["occ_logits"]
    assert torch.equal(first, again)


@pytest.mark.parametrize("autocast", [False, True])
def test_losses_are_finite_with_and_without_bf16(small_cfg: Config, autocast: bool) -> None:
    made = model(small_cfg).train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        losses = made(clip(small_cfg))
    losses["loss"].backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(weight.grad.isfinite().all() for weight in made.parameters() if weight.grad is not None)


def back_propagated(
    cfg: Config, batch_seq: dict[str, Any], autocast: bool = False, **options: Any
) -> tuple[TemporalPointPillar, Tensor]:
    """A fresh model once a clip went through it and back, and the loss of the clip."""
    made, loss = model(cfg).train(), torch.zeros(())
    torch.manual_seed(1)
    chunks = made.chunk_losses(batch_seq, **options)
    while True:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            share = next(chunks, None)
        if share is None:
            return made, loss
        share["loss"].backward()
        loss += share["loss"].detach()


def gradients(made: TemporalPointPillar) -> dict[str, Tensor]:
    return {name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_give_the_gradients_of_a_clip_whose_state_is_detached_between_them(
    small_cfg: Config, chunk: int
) -> None:
    batch_seq = clip(small_cfg, frames=5)
    made, loss = back_propagated(small_cfg, batch_seq, tbptt_frames=chunk)
    detached = model(small_cfg).train()
    torch.manual_seed(1)
    state, frames = detached.initial_state(batch_seq), []
    for t in range(5):
        state = state.detach() if t % chunk == 0 else state
        frame, state = detached.step({k: v[:, t] for k, v in batch_seq.items()}, state)
        frames.append(sum(detached.frame_losses(frame).values()))
    expected = torch.stack(frames).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradients(made), gradients(detached), rtol=1e-4, atol=1e-5)


def test_the_loss_of_a_clip_does_not_depend_on_its_chunks_but_its_gradients_do(small_cfg: Config) -> None:
    batch_seq = clip(small_cfg, frames=4)
    whole, loss = back_propagated(small_cfg, batch_seq)
    made, same_loss = back_propagated(small_cfg, batch_seq, tbptt_frames=2)
    torch.testing.assert_close(loss, same_loss)
    name = "memory.xmem.encode_value.fuse.first.weight"
    assert not torch.allclose(gradients(whole)[name], gradients(made)[name], rtol=1e-2)


@pytest.mark.parametrize("chunk", [3, 7])
def test_a_chunk_as_long_as_the_clip_equals_the_clip_bit_for_bit(small_cfg: Config, chunk: int) -> None:
    batch_seq = clip(small_cfg)
    (whole, loss), (made, same_loss) = (back_propagated(small_cfg, batch_seq, tbptt_frames=k) for k in (None, chunk))
    assert torch.equal(loss, same_loss)
    torch.testing.assert_close(gradients(made), gradients(whole), rtol=0, atol=0)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("chunk", [None, 2])
def test_activation_checkpointing_gives_the_same_gradients_bit_for_bit(
    small_cfg: Config, chunk: int | None, autocast: bool
) -> None:
    batch_seq = clip(small_cfg, frames=4)
    batch_seq["num_points"][:, 1] = 1  # one point is normalised by the running statistics, as they are at that frame
    plain, loss = back_propagated(small_cfg, batch_seq, autocast, tbptt_frames=chunk)
    made, same_loss = back_propagated(small_cfg, batch_seq, autocast, tbptt_frames=chunk, activation_checkpointing=True)
    assert torch.equal(loss, same_loss)
    torch.testing.assert_close(gradients(made), gradients(plain), rtol=0, atol=0)
    torch.testing.assert_close(made.state_dict(), plain.state_dict(), rtol=0, atol=0)
    assert made.state_dict()["dense_head.shared_conv.1.num_batches_tracked"] == 4


@pytest.mark.parametrize("change", [{"FUSION": "gate"}, {"FUSION": "none"}, {"NAME": "ConvGRUBEVModule"}])
def test_activation_checkpointing_works_with_every_memory(small_cfg: Config, change: dict[str, str]) -> None:
    cfg = small_cfg.with_changes({f"MODEL.MEMORY.{key}": value for key, value in change.items()})
    batch_seq = clip(cfg)
    plain, made = (
        back_propagated(cfg, batch_seq, tbptt_frames=2, activation_checkpointing=checkpointing)[0]
        for checkpointing in (False, True)
    )
    torch.testing.assert_close(gradients(made), gradients(plain), rtol=0, atol=0)


def kept(cfg: Config, frames: int, **options: Any) -> int:
    """Bytes that autograd keeps for the backward pass of a clip, at the time it keeps most."""
    kept_bytes = [0]
    peak = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal peak
            self.tensor = tensor.detach()
            kept_bytes[0] += tensor.nbytes
            peak = max(peak, kept_bytes[0])

        def __del__(self) -> None:
            kept_bytes[0] -= self.tensor.nbytes

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda one: one.tensor):
        back_propagated(cfg, clip(cfg, frames=frames), **options)
    assert kept_bytes[0] == 0
    return peak


def test_activations_grow_with_the_chunk_not_with_the_number_of_chunks(
    small_cfg: Config,
) -> None:
    assert kept(small_cfg, 8) > 1.9 * kept(small_cfg, 4)
    assert kept(small_cfg, 8, tbptt_frames=2) == pytest.approx(kept(small_cfg, 4, tbptt_frames=2), rel=0.05)


def test_activation_checkpointing_keeps_little_more_than_the_states(small_cfg: Config) -> None:
    state = sum(tensor.nbytes for tensor in model(small_cfg).initial_state(clip(small_cfg)).named().values())
    assert kept(small_cfg, 4, activation_checkpointing=True) < 1.1 * 4 * state < 0.2 * kept(small_cfg, 4)


@pytest.mark.parametrize("options", [{}, {"tbptt_frames": 4}, {"activation_checkpointing": True}])
def test_losses_and_gradients_are_finite_on_clips_that_consolidate_and_evict(
    small_cfg: Config, options: dict[str, Any]
) -> None:
    memory = small_cfg.MODEL.MEMORY
    frames = 12
    consolidations = (frames - memory.max_frames) // (memory.max_frames - memory.min_frames)
    assert consolidations * memory.LONG_TERM.PROTOTYPES > memory.LONG_TERM.MAX_TOKENS
    made, loss = back_propagated(small_cfg, clip(small_cfg, frames=frames), **options)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(made).values())


def test_the_full_configuration_trains_and_detects_on_a_clip() -> None:
    cfg = load_config("nuscenes", ["DATA_CONFIG.POINT_CLOUD_RANGE=[-12.8, -12.8, -5.0, 12.8, 12.8, 3.0]"])
    made = model(cfg).train()
    batch_seq = clip(cfg, frames=2)
    made(batch_seq)["loss"].backward()
    made.eval()
    with torch.no_grad():
        detections = made(batch_seq)
    assert len(detections) == 2
