"""The detector: pillar encoder, BEV backbone, anchor heads with targets and losses, and the model of them."""

from typing import TYPE_CHECKING

from remembev.deprecation import former_names
from remembev.models.backbone import BaseBEVBackbone
from remembev.models.checkpoint import load_checkpoint, load_pretrained, save_checkpoint, shipped_weights
from remembev.models.dense_head import AnchorHeadMulti, HeadOutput
from remembev.models.detections import Detections, PaddedDetections
from remembev.models.fused import fuse_for_inference
from remembev.models.temporal import TemporalPointPillar, build_model
from remembev.models.vfe import DynPillarVFE, PillarVFE, build_vfe

__all__ = [
    "AnchorHeadMulti",
    "BaseBEVBackbone",
    "Detections",
    "DynPillarVFE",
    "HeadOutput",
    "PaddedDetections",
    "PillarVFE",
    "TemporalPointPillar",
    "build_model",
    "build_vfe",
    "fuse_for_inference",
    "load_checkpoint",
    "load_pretrained",
    "save_checkpoint",
    "shipped_weights",
]

if not TYPE_CHECKING:
    __getattr__ = former_names(
        __name__,
        {
            "start_from": "remembev.models.load_pretrained",
        },
    )
