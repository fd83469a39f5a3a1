"""An XMem-style memory in BEV (Cheng & Schwing, ECCV 2022): stores, read, alignment, what it does to the features.

``state.py`` holds what is remembered, ``wrapper.py`` the pure step, ``consolidation.py`` the way into the long-term
memory, ``slots.py`` who holds an agent slot, ``module.py`` the states by scene and the gate; ``tracing.py`` tells
what was read from where; ``conv_gru.py`` is the baseline.
"""

from remembev.memory.losses import occupancy_loss
from remembev.memory.module import (
    BEVMemory,
    ConvGRUBEVModule,
    FrameContext,
    NoMemory,
    XMemBEVModule,
    build_memory,
    gate,
)
from remembev.memory.scenes import SceneStates
from remembev.memory.state import MemoryState, TensorStruct, TokenStore
from remembev.memory.tracing import TracedRead, trace_reads
from remembev.memory.wrapper import MemoryStep, XMemBackboneWrapper

__all__ = [
    "BEVMemory",
    "ConvGRUBEVModule",
    "FrameContext",
    "MemoryState",
    "MemoryStep",
    "NoMemory",
    "SceneStates",
    "TensorStruct",
    "TokenStore",
    "TracedRead",
    "XMemBEVModule",
    "XMemBackboneWrapper",
    "build_memory",
    "gate",
    "occupancy_loss",
    "trace_reads",
]
