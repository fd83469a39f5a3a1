"""The detector's networks: pillar encoder, BEV backbone, anchor heads with their targets and losses, detections."""

from remembev.models.backbone import BaseBEVBackbone
from remembev.models.dense_head import AnchorHeadMulti, HeadOutput
from remembev.models.detections import Detections
from remembev.models.vfe import DynPillarVFE, PillarVFE, build_vfe

__all__ = [
    "AnchorHeadMulti",
    "BaseBEVBackbone",
    "Detections",
    "DynPillarVFE",
    "HeadOutput",
    "PillarVFE",
    "build_vfe",
]
