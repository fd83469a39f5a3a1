"""An XMem-style memory in BEV (Cheng & Schwing, ECCV 2022): stores, read, alignment, what it does to the features.

``state.py`` holds what is remembered, ``wrapper.py`` the pure step, ``consolidation.py`` the way into the long-term
memory, ``slots.py`` who holds an agent slot, ``module.py`` the states by scene and the gate; ``watching.py`` tells
what was read from where; ``conv_gru.py`` is the baseline.
"""

from remembev.memory.losses import occupancy_loss
from remembev.memory.module import (
    BEVMemory,
    ConvGRUBEVModule,
    FrameContext,
    NoMemory,
    SceneMemories,
    XMemBEVModule,
    build_memory,
    gate,
)
from remembev.memory.state import MemoryState, Tensors, TokenStore
from remembev.memory.watching import WatchedRead, watch_reads
from remembev.memory.wrapper import MemoryStep, XMemBackboneWrapper

__all__ = [
    "BEVMemory",
    "ConvGRUBEVModule",
    "FrameContext",
    "MemoryState",
    "MemoryStep",
    "NoMemory",
    "SceneMemories",
    "Tensors",
    "TokenStore",
    "WatchedRead",
    "XMemBEVModule",
    "XMemBackboneWrapper",
    "build_memory",
    "gate",
    "occupancy_loss",
    "watch_reads",
]
