"""PointPillars with a memory: clips run frame by frame, and the memory changes what the head detects on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from remembev.batch import ClipBatch, FrameBatch
from remembev.config import Config
from remembev.config.validation import as_section
from remembev.memory import BEVMemory, FrameContext, build_memory, occupancy_loss
from remembev.memory.losses import ramp
from remembev.models.activation_checkpointing import checkpoint_step
from remembev.models.backbone import BaseBEVBackbone
from remembev.models.dense_head import AnchorHeadMulti, HeadOutput
from remembev.models.detections import Detections
from remembev.models.vfe import PillarEncoder, build_vfe
from remembev.ops import stage
from remembev.structs import TensorStruct


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameOutput(FrameBatch):
    """A frame with the outputs of a step, which are also keys."""

    spatial_features_2d: Tensor  # [B, C_bev, H, W], changed by the memory
    occ_logits: Tensor | None  # [B, 1, H_m, W_m], the gate's occupancy; None, but a key, without an XMem memory
    predictions: Sequence[HeadOutput]  # one for each head
    detections: list[Detections] | None = None  # [B], only at inference with agent slots

    def __getitem__(self, key: str) -> Any:
        return self.occ_logits if key == "occ_logits" else super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        if self.occ_logits is None:
            yield "occ_logits"


def build_model(cfg: Config | Mapping[str, Any]) -> TemporalPointPillar:
    """Return the model of a configuration, also as a dictionary or ``EasyDict`` of its keys, with fresh weights."""
    return TemporalPointPillar(as_section(cfg, Config, "cfg"))


class TemporalPointPillar(nn.Module):
    """VFE → scatter → 2D BEV backbone → memory → ``AnchorHeadMulti``, for sequences of frames.

    The public entries take a ``ClipBatch`` or ``FrameBatch``, or a plain mapping with the same keys.
    """

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

    def forward(
        self, batch_seq: Mapping[str, Any], progress: float = 1.0
    ) -> dict[str, Tensor] | list[list[Detections]]:
        """Run clips from their first frame on.

        Args:
            batch_seq: The clips, every value [B, T, ...].
            progress: Progress of the training, 0 to 1, which teacher forcing and the occupancy loss depend on.

        Returns:
            The losses in training, else the detections as ``[T][B]``.
        """
        if self.training:
            return self.clip_losses(batch_seq, progress)
        return self.clip_detections(batch_seq)

    def clip_losses(self, batch_seq: Mapping[str, Any], progress: float = 1.0) -> dict[str, Tensor]:
        """Return the losses of clips, each the mean over their frames; ``loss`` is the sum."""
        (losses,) = self.chunk_losses(batch_seq, progress)
        return losses

    def chunk_losses(
        self,
        batch_seq: Mapping[str, Any],
        progress: float = 1.0,
        *,
        tbptt_frames: int | None = None,
        activation_checkpointing: bool = False,
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the losses of clips chunk by chunk, for truncated back-propagation through time.

        The memory's state carries over from chunk to chunk, gradients do not: a chunk can be back-propagated and freed
        before the next one is requested.

        Args:
            batch_seq: The clips, every value [B, T, ...].
            progress: Progress of the training, 0 to 1.
            tbptt_frames: Frames per chunk; None: the whole clip.
            activation_checkpointing: Keep only the state before each frame, and run it again for its backward pass.

        Yields:
            Each chunk's share of the losses; all shares sum to ``clip_losses``.
        """
        clip = ClipBatch.from_mapping(batch_seq)
        frames = clip.num_frames
        tbptt_frames = tbptt_frames or frames
        state = self.initial_state(clip)
        for start in range(0, frames, tbptt_frames):
            state = state.detach()
            chunk = []
            for t in range(start, min(start + tbptt_frames, frames)):
                step = partial(self._train_step, clip.frame(t), progress)
                losses, state = checkpoint_step(step, state, self) if activation_checkpointing else step(state)
                chunk.append(losses)
            share = {name: torch.stack([losses[name] for losses in chunk]).sum() / frames for name in chunk[0]}
            yield {"loss": torch.stack(list(share.values())).sum(), **share}

    def clip_detections(self, batch_seq: Mapping[str, Any]) -> list[list[Detections]]:
        """Return the detections of clips as ``[T][B]``, starting from an empty memory."""
        clip = ClipBatch.from_mapping(batch_seq)
        state, detections = self.initial_state(clip), []
        for t in range(clip.num_frames):
            output, state = self.step(clip.frame(t), state)
            detections.append(self.detect(output))
        return detections

    def forward_single_timestep(self, batch_dict_t: Mapping[str, Any], t: int, progress: float = 1.0) -> FrameOutput:
        """Run frame t of every scene of a batch. The memory of each scene is stored from call to call.

        Args:
            batch_dict_t: Values [B, ...] of the frame: points, num_points and scene_token, and if present timestamp,
                prev_from_frame, scene_masks, agent_masks and valids_mask.
            t: Frame number; at 0 every scene starts with an empty memory.
            progress: Progress of the training, 0 to 1.

        Returns:
            The frame with its outputs, which are also keys: ``["spatial_features_2d"]``, ``["occ_logits"]``.
        """
        frame = FrameBatch.from_mapping(batch_dict_t)
        (scene_token,) = frame.require("scene_token")
        state = self.memory.load_states(scene_token, FrameContext.of(frame).agents, restart=t == 0)
        output, state = self.step(frame, state, progress)
        self.memory.store_states(scene_token, state)
        return output

    def initial_state(self, batch_seq: Mapping[str, Any]) -> TensorStruct:
        """Return the memory's state before the first frame of a batch of clips."""
        clip = ClipBatch.from_mapping(batch_seq)
        agents = None if clip.agent_masks is None else clip.agent_masks.shape[2]
        return self.memory.initial_state(len(clip.points), agents)

    def step(
        self, batch_dict_t: Mapping[str, Any], state: TensorStruct, progress: float = 1.0
    ) -> tuple[FrameOutput, TensorStruct]:
        """Run one frame from a given state of the memory; nothing is stored.

        Args:
            batch_dict_t: See ``forward_single_timestep``; scene_token isn't needed.
            state: State before the frame.
            progress: Progress of the training, 0 to 1.

        Returns:
            The frame's output, and the state after it.
        """
        frame = FrameBatch.from_mapping(batch_dict_t)
        bev = self.vfe.to_bev(frame.points, frame.num_points)
        with stage("backbone"):
            features = self.backbone_2d(bev)
        with stage("memory"):
            forcing = self.cfg.MODEL.MEMORY.TEACHER_FORCING
            teacher_forcing = ramp(progress, forcing.START, forcing.END, forcing.DURING)
            features, occ_logits, state = self.memory.step(features, state, FrameContext.of(frame), teacher_forcing)
        with stage("head"):
            predictions = self.dense_head(features)
        output = FrameOutput(**frame, spatial_features_2d=features, occ_logits=occ_logits, predictions=predictions)
        if self.agents == 1 or self.training:
            return output, state

        # At inference agents are the model's own detections
        detections = self.detect(output)
        boxes = pad_sequence([sample.boxes for sample in detections], batch_first=True)
        scores = pad_sequence([sample.scores for sample in detections], batch_first=True)
        count = torch.tensor([len(sample) for sample in detections], device=boxes.device)
        return replace(output, detections=detections), self.memory.update_slots(state, boxes, scores, count)

    def _train_step(
        self, frame: FrameBatch, progress: float, state: TensorStruct
    ) -> tuple[dict[str, Tensor], TensorStruct]:
        output, state = self.step(frame, state, progress)
        return self.frame_losses(output, progress), state

    def frame_losses(self, output: FrameOutput, progress: float = 1.0) -> dict[str, Tensor]:
        """Return the head's losses of a step's output, and ``occ_loss`` if the memory has an occupancy."""
        truth = output.require("gt_boxes", "gt_labels", "gt_num_points", "gt_seconds_unseen")
        losses = self.dense_head.loss(output.predictions, *truth)
        if output.occ_logits is not None:
            (scene_masks,) = output.require("scene_masks")
            cfg = self.cfg.MODEL.MEMORY.OCC_LOSS
            losses["occ_loss"] = occupancy_loss(output.occ_logits, scene_masks, cfg, progress)
        return losses

    def detect(self, output: FrameOutput) -> list[Detections]:
        """Return the boxes of a step's output, one ``Detections`` per sample."""
        if output.detections is not None:
            return output.detections
        with stage("nms"):
            return self.dense_head.predict(output.predictions, self.cfg.MODEL.POST_PROCESSING)
