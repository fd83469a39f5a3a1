"""PointPillars with a memory: a clip goes through frame by frame, the memory gates what the head detects on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from remembev.config import Config
from remembev.memory import BEVMemory, FrameContext, build_memory, occupancy_loss
from remembev.memory.losses import ramp
from remembev.models.activation_checkpointing import checkpoint_step
from remembev.models.backbone import BaseBEVBackbone
from remembev.models.dense_head import AnchorHeadMulti
from remembev.models.detections import Detections
from remembev.models.vfe import PillarEncoder, build_vfe
from remembev.ops import stage
from remembev.structs import TensorStruct

BatchDict = dict[str, Any]
"""One frame of every clip of a batch, [B, ...] a key, or whole clips, [B, T, ...] a key."""


def build_model(cfg: Config) -> TemporalPointPillar:
    """The model that a configuration describes, with fresh weights."""
    return TemporalPointPillar(cfg)


class TemporalPointPillar(nn.Module):
    """VFE → scatter → BEV backbone → memory gate → ``AnchorHeadMulti``, for sequences of frames."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        backbone = cfg.MODEL.BACKBONE_2D
        vfe = build_vfe(cfg.MODEL.VFE, cfg.DATA_CONFIG)
        self.vfe: PillarEncoder = vfe
        self.backbone_2d = BaseBEVBackbone(backbone, vfe.num_features)
        self.agents = cfg.DATA_CONFIG.AGENT_SLOTS
        self.memory: BEVMemory[Any] = build_memory(
            cfg.MODEL.MEMORY, backbone.num_bev_features, cfg.feature_grid, self.agents
        )
        self.dense_head = AnchorHeadMulti(
            cfg.MODEL.DENSE_HEAD,
            class_names=cfg.CLASS_NAMES,
            in_channels=backbone.num_bev_features,
            feature_grid=cfg.feature_grid,
        )

    def forward(self, batch_seq: BatchDict, progress: float = 1.0) -> dict[str, Tensor] | list[list[Detections]]:
        """A clip from its first frame on: its losses in training, else its detections as ``[T][B]``.

        batch_seq  the keys of a clip, [B, T, ...] each
        progress   how far the training is, 0 to 1: teacher forcing and the occupancy loss go by it
        """
        if self.training:
            return self.clip_losses(batch_seq, progress)
        return self.clip_detections(batch_seq)

    def clip_losses(self, batch_seq: BatchDict, progress: float = 1.0) -> dict[str, Tensor]:
        """Losses of a clip, each the mean over its frames; ``loss`` is their sum."""
        (losses,) = self.clip_chunks(batch_seq, progress)
        return losses

    def clip_chunks(
        self, batch_seq: BatchDict, progress: float = 1.0, *, chunk: int | None = None, checkpoint: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """The losses of a clip a chunk of frames at a time: the share of each chunk, which sum to ``clip_losses``.

        The memory goes on from chunk to chunk; gradients end where a chunk begins, so that a chunk may be
        back-propagated, and is out of the way, before the next is asked for.

        chunk       frames of a chunk; None: the whole clip
        checkpoint  keep only the state before each frame, and run the frame again to back-propagate it
        """
        frames = batch_seq["points"].shape[1]
        chunk = chunk or frames
        state = self.initial_state(batch_seq)
        for start in range(0, frames, chunk):
            state = state.detach()
            parts = []
            for t in range(start, min(start + chunk, frames)):
                step = partial(self._train_step, _frame(batch_seq, t), progress)
                losses, state = checkpoint_step(step, state, self) if checkpoint else step(state)
                parts.append(losses)
            share = {name: torch.stack([part[name] for part in parts]).sum() / frames for name in parts[0]}
            yield {"loss": torch.stack(list(share.values())).sum(), **share}

    def clip_detections(self, batch_seq: BatchDict) -> list[list[Detections]]:
        """Detections of a clip as ``[T][B]``; its memory begins empty."""
        state, found = self.initial_state(batch_seq), []
        for t in range(batch_seq["points"].shape[1]):
            batch_dict_t, state = self.step(_frame(batch_seq, t), state)
            found.append(self.detect(batch_dict_t))
        return found

    def forward_single_timestep(self, batch_dict_t: BatchDict, t: int, progress: float = 1.0) -> BatchDict:
        """Frame t of every scene of a batch; the memory of a scene goes from one call to the next, and starts at t = 0.

        Reads points, num_points, scene_token; timestamp, prev_from_frame, scene_masks, agent_masks and valids_mask
        where they are there. Returns these and

        spatial_features_2d  as the memory changed them [B, C_bev, H, W]
        occ_logits           occupancy that the gate comes from [B, 1, H_m, W_m]; None without an XMem memory
        predictions          what the head says, a ``HeadOutput`` for each of its heads
        detections           at inference with agent slots: their boxes, one ``Detections`` an item
        """
        scene_token = batch_dict_t["scene_token"]
        state = self.memory.load_states(scene_token, _context(batch_dict_t).agents, restart=t == 0)
        batch_dict_t, state = self.step(batch_dict_t, state, progress)
        self.memory.store_states(scene_token, state)
        return batch_dict_t

    def initial_state(self, batch_seq: BatchDict) -> TensorStruct:
        """The state of the memory before the first frame of a batch of clips."""
        agent_masks = batch_seq.get("agent_masks")
        return self.memory.initial_state(
            len(batch_seq["points"]), None if agent_masks is None else agent_masks.shape[-3]
        )

    def step(
        self, batch_dict_t: BatchDict, state: TensorStruct, progress: float = 1.0
    ) -> tuple[BatchDict, TensorStruct]:
        """``forward_single_timestep`` with the state of the memory given and returned: nothing is kept."""
        bev = self.vfe.to_bev(batch_dict_t["points"], batch_dict_t["num_points"])
        with stage("backbone"):
            spatial_features_2d = self.backbone_2d(bev)
        with stage("memory"):
            forcing = self.cfg.MODEL.MEMORY.TEACHER_FORCING
            changed, occ_logits, state = self.memory.step(
                spatial_features_2d,
                state,
                _context(batch_dict_t),
                teacher_forcing=ramp(progress, forcing.START, forcing.END, forcing.DURING),
            )
        with stage("head"):
            predictions = self.dense_head(changed)
        batch_dict_t = {
            **batch_dict_t,
            "spatial_features_2d": changed,
            "occ_logits": occ_logits,
            "predictions": predictions,
        }
        if self.agents > 1 and not self.training:
            found = self.detect(batch_dict_t)
            batch_dict_t["detections"] = found
            boxes = pad_sequence([one.boxes for one in found], batch_first=True)
            scores = pad_sequence([one.scores for one in found], batch_first=True)
            count = torch.tensor([len(one) for one in found], device=boxes.device)
            state = self.memory.update_slots(state, boxes, scores, count)
        return batch_dict_t, state

    def _train_step(
        self, batch_dict_t: BatchDict, progress: float, state: TensorStruct
    ) -> tuple[dict[str, Tensor], TensorStruct]:
        """Losses of a frame, and the state after it."""
        batch_dict_t, state = self.step(batch_dict_t, state, progress)
        return self.frame_losses(batch_dict_t, progress), state

    def frame_losses(self, batch_dict_t: BatchDict, progress: float = 1.0) -> dict[str, Tensor]:
        """Losses of a frame that went through a step: the head's, and ``occ_loss`` where there is an occupancy."""
        losses = self.dense_head.loss(
            batch_dict_t["predictions"],
            batch_dict_t["gt_boxes"],
            batch_dict_t["gt_labels"],
            batch_dict_t["gt_num_points"],
            batch_dict_t["gt_seconds_unseen"],
        )
        if batch_dict_t["occ_logits"] is not None:
            cfg = self.cfg.MODEL.MEMORY.OCC_LOSS
            losses["occ_loss"] = occupancy_loss(batch_dict_t["occ_logits"], batch_dict_t["scene_masks"], cfg, progress)
        return losses

    def detect(self, batch_dict_t: BatchDict) -> list[Detections]:
        """Boxes of a frame that went through a step, one ``Detections`` an item of the batch."""
        if "detections" in batch_dict_t:
            return cast(list[Detections], batch_dict_t["detections"])
        with stage("nms"):
            return self.dense_head.predict(batch_dict_t["predictions"], self.cfg.MODEL.POST_PROCESSING)


def _frame(batch_seq: BatchDict, t: int) -> BatchDict:
    """Frame t of every clip of a batch."""
    return {key: value[:, t] for key, value in batch_seq.items()}


def _context(batch_dict_t: BatchDict) -> FrameContext:
    """The values of a frame that the memory reads, those of them that are there."""
    return FrameContext(**{field.name: batch_dict_t.get(field.name) for field in fields(FrameContext)})
