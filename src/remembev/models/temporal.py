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
from remembev.memory.base import FrameNumber
from remembev.memory.objects import NO_OBJECT, FoundObjects, ObjectMemory
from remembev.models.activation_checkpointing import checkpoint_step
from remembev.models.backbone import BaseBEVBackbone
from remembev.models.dense_head import AnchorHeadMulti, HeadPredictions
from remembev.models.detections import Detections
from remembev.models.direction import face_motion
from remembev.models.losses import presence_loss
from remembev.models.vfe import PillarEncoder, PillarFeatureNet, build_vfe
from remembev.ops import stage
from remembev.structs import TensorStruct


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameOutput(FrameBatch):
    """A frame with the outputs of a step, which are also keys."""

    spatial_features_2d: Tensor  # [B, C_bev, H, W], changed by the memory
    occ_logits: Tensor | None  # [B, 1, H_m, W_m], the gate's occupancy; None, but a key, without an XMem memory
    predictions: Sequence[HeadPredictions]  # one for each head
    detections: list[Detections] | None = None  # [B], only if what is found goes into the memory
    objects: ObjectMemory | None = None  # remembered from before the frame, in its coordinates
    found: FoundObjects | None = None  # what the head found

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
    """VFE → 3D backbone → scatter → 2D BEV backbone → memory → ``AnchorHeadMulti``, for sequences of frames.

    The public entries take a ``ClipBatch`` or ``FrameBatch``, or a plain mapping with the same keys.

    Attributes:
        backbone_3d: Takes features [P, C] and (sample, row, column) [P, 3] of the pillars to new ones of as many
            channels; None, as built from a configuration: pillars are scattered as they are encoded.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        backbone = cfg.MODEL.BACKBONE_2D
        vfe = build_vfe(cfg.MODEL.VFE, cfg.DATA_CONFIG)
        self.vfe: PillarEncoder = vfe
        self.backbone_3d: nn.Module | None = None
        self.backbone_2d = BaseBEVBackbone(backbone, vfe.num_features)
        self.agents = cfg.DATA_CONFIG.AGENT_SLOTS
        self.memory: BEVMemory[Any] = build_memory(
            cfg.MODEL.MEMORY, backbone.num_bev_features, cfg.feature_grid, self.agents, cfg.CLASS_NAMES
        )
        if cfg.DATA_CONFIG.ALIGNMENT == "explicit":
            self.memory.visibility_grid = None  # rays start at a sensor whose place such a clip doesn't tell
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
            progress: Progress of the training, 0 to 1, which teacher forcing, the gate's strength and the occupancy
                loss depend on.

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

    def forward_single_timestep(
        self, batch_dict_t: Mapping[str, Any], t: FrameNumber, progress: float = 1.0, *, keep_graph: bool = False
    ) -> FrameOutput:
        """Run frame t of every scene of a batch. The memory of each scene is stored from call to call.

        Args:
            batch_dict_t: Values [B, ...] of the frame: points, num_points and scene_token, and if present timestamp,
                prev_from_frame, scene_masks, agent_masks and valids_mask.
            t: Frame number, or one for each scene [B]; at 0 a scene starts with an empty memory.
            progress: Progress of the training, 0 to 1.
            keep_graph: Store the memory with its gradient history, for one backward pass over several frames;
                otherwise detached, for one after every frame.

        Returns:
            The frame with its outputs, which are also keys: ``["spatial_features_2d"]``, ``["occ_logits"]``.
        """
        frame = FrameBatch.from_mapping(batch_dict_t)
        (scene_token,) = frame.require("scene_token")
        state = self.memory.load_states(scene_token, t, FrameContext.of(frame).agents)
        output, state = self.step(frame, state, progress)
        self.memory.store_states(scene_token, state, keep_graph=keep_graph)
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
        bev = self.to_bev(frame.points, frame.num_points)
        with stage("backbone"):
            features = self.backbone_2d(bev)
        with stage("memory"):
            read = self.memory.read(features, state, self._context(frame), progress)
        with stage("head"):
            predictions = self.dense_head(read.features)
        output = FrameOutput(
            **frame, spatial_features_2d=read.features, occ_logits=read.occ_logits, predictions=predictions
        )
        if not self.memory.remembers_found:
            with stage("memory"):
                return output, self.memory.write(read, progress=progress)
        with torch.no_grad():
            found = _pad(self.detect(output))
        with stage("memory"):
            state = self.memory.write(read, found, progress=progress)
            with torch.no_grad():
                merged, state = self.remember(state, found)
        objects = self.memory.objects(read.state)
        return replace(output, detections=self._unpad(merged), objects=objects, found=found), state

    def remember(self, state: TensorStruct, found: FoundObjects) -> tuple[FoundObjects, TensorStruct]:
        """Assign what was found in a frame to what is remembered, once the frame is written.

        Returns:
            What was found or is remembered, best first, facing the way that it moves by all that is known now; and the
            next state.
        """
        merged, state = self.memory.remember(state, found)
        min_speed = self.cfg.MODEL.POST_PROCESSING.FACE_MOTION
        return merged if min_speed is None else replace(merged, boxes=face_motion(merged.boxes, min_speed)), state

    def _context(self, frame: FrameBatch) -> FrameContext:
        """Return what the memory needs of a frame beside its features; in training with the true boxes it shows."""
        context = FrameContext.of(frame, self.memory.visibility_grid)
        if not self.training or not self.memory.remembers_found or frame.gt_boxes is None:
            return context
        boxes, labels, num_points = frame.require("gt_boxes", "gt_labels", "gt_num_points")
        labels = torch.where(num_points >= self.dense_head.min_points_in_gt, labels, NO_OBJECT)
        shown = FoundObjects(boxes.nan_to_num(), (labels != NO_OBJECT).to(boxes.dtype), labels)
        return replace(context, true_objects=shown)

    def _unpad(self, found: FoundObjects) -> list[Detections]:
        """Return the detections of each sample among what was found or is remembered."""
        real = (found.labels >= 0) & (found.scores >= self.cfg.MODEL.POST_PROCESSING.SCORE_THRESH)
        samples = zip(found.boxes, found.scores, found.labels, real, strict=True)
        return [Detections(boxes[keep], scores[keep], labels[keep]) for boxes, scores, labels, keep in samples]

    def to_bev(self, points: Tensor, num_points: Tensor) -> Tensor:
        """Return the BEV map [B, C, H, W] of points [B, N, 5], the first num_points [B] of them real.

        VFE → 3D backbone → scatter; without a 3D backbone the VFE may scatter by itself, in one pass.
        """
        if self.backbone_3d is None:
            return self.vfe.to_bev(points, num_points)
        assert isinstance(self.vfe, PillarFeatureNet)
        features, coords = self.vfe(points, num_points)
        with stage("backbone_3d"):
            features, coords = self.backbone_3d(features, coords)
        return self.vfe.scatter(features, coords, len(points))

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
        objects_cfg = self.cfg.MODEL.MEMORY.OBJECTS
        if output.objects is not None and output.found is not None and objects_cfg is not None:
            gt_boxes, gt_labels, num_points, seconds_unseen = truth
            known = (num_points > 0) | (seconds_unseen <= objects_cfg.FORGET_AFTER)
            losses["presence_loss"] = presence_loss(
                output.objects, output.found, gt_boxes, gt_labels, known, objects_cfg
            )
        return losses

    def detect(self, output: FrameOutput) -> list[Detections]:
        """Return the boxes of a step's output, one ``Detections`` per sample."""
        if output.detections is not None:
            return output.detections
        with stage("nms"):
            return self.dense_head.predict(output.predictions, self.cfg.MODEL.POST_PROCESSING)


def _pad(detections: Sequence[Detections]) -> FoundObjects:
    """Return the detections of a batch in one shape."""
    boxes, scores = ([getattr(sample, name) for sample in detections] for name in ("boxes", "scores"))
    labels = pad_sequence([sample.labels for sample in detections], batch_first=True, padding_value=NO_OBJECT)
    return FoundObjects(pad_sequence(boxes, batch_first=True), pad_sequence(scores, batch_first=True), labels)
