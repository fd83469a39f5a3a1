"""PointPillars with a memory: a clip goes through frame by frame, the memory gates what the head detects on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from remembev.config import Config
from remembev.memory import XMemBEVModule, occupancy_loss
from remembev.models.backbone import BaseBEVBackbone
from remembev.models.dense_head import AnchorHeadMulti
from remembev.models.detections import Detections
from remembev.models.vfe import build_vfe
from remembev.ops import scatter_pillars, stage

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
        self.vfe = build_vfe(cfg.MODEL.VFE, cfg.DATA_CONFIG)
        self.backbone_2d = BaseBEVBackbone(backbone, self.vfe.num_features)
        self.memory = XMemBEVModule(cfg.MODEL.MEMORY, backbone.num_bev_features, cfg.memory_grid)
        self.dense_head = AnchorHeadMulti(
            cfg.MODEL.DENSE_HEAD,
            class_names=cfg.CLASS_NAMES,
            in_channels=backbone.num_bev_features,
            feature_grid=cfg.feature_grid,
        )

    def forward(self, batch_seq: BatchDict, progress: float = 1.0) -> dict[str, Tensor] | list[list[Detections]]:
        """A clip from its first frame on: its losses in training, else its detections as [T][B].

        batch_seq  the keys of a clip, [B, T, ...] each
        progress   how far the training is, 0 to 1: the occupancy loss looks ever more at hard cells
        """
        if self.training:
            return self.clip_losses(batch_seq, progress)
        return [self.detect(batch_dict) for batch_dict in self._steps(batch_seq)]

    def clip_losses(self, batch_seq: BatchDict, progress: float = 1.0) -> dict[str, Tensor]:
        """Losses of a clip, each the mean over its frames; ``loss`` is their sum."""
        frames = [self.frame_losses(batch_dict, progress) for batch_dict in self._steps(batch_seq)]
        losses = {name: torch.stack([frame[name] for frame in frames]).mean() for name in frames[0]}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def forward_single_timestep(self, batch_dict_t: BatchDict, t: int) -> BatchDict:
        """Frame t of every scene of a batch; the memory of a scene goes from one call to the next, and starts at t = 0.

        Reads points, num_points, scene_token; prev_from_frame, scene_masks, agent_masks and valids_mask where they are
        there. Returns these and

        spatial_features_2d  gated by the memory [B, C_bev, H, W]
        occ_logits           occupancy that the gate comes from [B, 1, H_m, W_m]
        predictions          what the head says, a ``HeadOutput`` for each of its heads
        """
        features, coords = self.vfe(batch_dict_t["points"], batch_dict_t["num_points"])
        with stage("scatter"):
            grid = self.cfg.DATA_CONFIG.pillar_grid
            bev = scatter_pillars(features, coords, len(batch_dict_t["points"]), grid)
        with stage("backbone"):
            spatial_features_2d = self.backbone_2d(bev)
        with stage("memory"):
            gated, occ_logits = self.memory(
                spatial_features_2d,
                batch_dict_t["scene_token"],
                t,
                scene_masks=batch_dict_t.get("scene_masks"),
                agent_masks=batch_dict_t.get("agent_masks"),
                valids_mask=batch_dict_t.get("valids_mask"),
                prev_from_frame=batch_dict_t.get("prev_from_frame"),
            )
        with stage("head"):
            predictions = self.dense_head(gated)
        return {
            **batch_dict_t,
            "spatial_features_2d": gated,
            "occ_logits": occ_logits,
            "predictions": predictions,
        }

    def frame_losses(self, batch_dict_t: BatchDict, progress: float = 1.0) -> dict[str, Tensor]:
        """Losses of a frame that went through ``forward_single_timestep``: the head's, and ``occ_loss``."""
        losses = self.dense_head.loss(
            batch_dict_t["predictions"],
            batch_dict_t["gt_boxes"],
            batch_dict_t["gt_labels"],
            batch_dict_t["gt_num_points"],
        )
        cfg = self.cfg.MODEL.MEMORY.OCC_LOSS
        losses["occ_loss"] = occupancy_loss(batch_dict_t["occ_logits"], batch_dict_t["scene_masks"], cfg, progress)
        return losses

    def detect(self, batch_dict_t: BatchDict) -> list[Detections]:
        """Boxes of a frame that went through ``forward_single_timestep``, one ``Detections`` an item of the batch."""
        with stage("nms"):
            return self.dense_head.predict(batch_dict_t["predictions"], self.cfg.MODEL.POST_PROCESSING)

    def _steps(self, batch_seq: BatchDict) -> list[BatchDict]:
        """Every frame of a clip in turn. The clip's memory begins empty, and nothing of it is kept."""
        self.memory.memories.forget()
        length = batch_seq["points"].shape[1]
        steps = [self.forward_single_timestep({k: v[:, t] for k, v in batch_seq.items()}, t) for t in range(length)]
        self.memory.memories.forget()
        return steps
