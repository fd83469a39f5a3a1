"""RememBEV: PointPillars with a memory.

The names below are all that most programs need. Each is imported on first access, so ``import remembev`` is fast and
needs no extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remembev.lazy import lazy_names

if TYPE_CHECKING:
    from remembev.config import Config, load_config
    from remembev.data import NuScenesIndex, NuScenesSeqDataset, build_seq_loader, collate_seq
    from remembev.memory import MemoryState, XMemBackboneWrapper, XMemBEVModule
    from remembev.models import AnchorHeadMulti, Detections, TemporalPointPillar, build_model
    from remembev.streaming import StreamingDetector

__version__ = "0.1.0"

_ROOMS = {
    "Config": "config",
    "load_config": "config",
    "NuScenesIndex": "data",
    "NuScenesSeqDataset": "data",
    "build_seq_loader": "data",
    "collate_seq": "data",
    "MemoryState": "memory",
    "XMemBEVModule": "memory",
    "XMemBackboneWrapper": "memory",
    "AnchorHeadMulti": "models",
    "Detections": "models",
    "TemporalPointPillar": "models",
    "build_model": "models",
    "StreamingDetector": "streaming",
}

__all__ = [
    "AnchorHeadMulti",
    "Config",
    "Detections",
    "MemoryState",
    "NuScenesIndex",
    "NuScenesSeqDataset",
    "StreamingDetector",
    "TemporalPointPillar",
    "XMemBEVModule",
    "XMemBackboneWrapper",
    "__version__",
    "build_model",
    "build_seq_loader",
    "collate_seq",
    "load_config",
]

__getattr__ = lazy_names(__name__, _ROOMS)
