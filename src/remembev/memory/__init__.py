"""XMem-style memory in BEV (Cheng & Schwing, ECCV 2022).

``base.py`` is the stage of the detector, ``xmem.py`` the memory and ``conv_gru.py`` the recurrent baseline as one,
``fusion.py`` what they do to the features; ``wrapper.py`` is XMem's step on the state in ``state.py``: ``alignment.py``
moves it, ``stores.py`` reads and writes the token store, ``consolidation.py`` fills its long-term part, ``slots.py``
assigns agents. ``findings.py`` writes what the head found, ``objects.py`` remembers it as boxes, which ``motion.py``
moves. ``scenes.py`` stores states by scene, ``tracing.py`` records reads.
"""

from typing import TYPE_CHECKING

from remembev.deprecation import former_names
from remembev.memory.base import BEVMemory, FrameContext, NoMemory
from remembev.memory.build import build_memory
from remembev.memory.conv_gru import ConvGRUBEVModule
from remembev.memory.fusion import gate
from remembev.memory.losses import occupancy_loss
from remembev.memory.scenes import SceneStates
from remembev.memory.state import MemoryState, TokenStore
from remembev.memory.tracing import TracedRead, trace_reads
from remembev.memory.wrapper import MemoryStep, XMemBackboneWrapper
from remembev.memory.xmem import XMemBEVModule

__all__ = [
    "BEVMemory",
    "ConvGRUBEVModule",
    "FrameContext",
    "MemoryState",
    "MemoryStep",
    "NoMemory",
    "SceneStates",
    "TokenStore",
    "TracedRead",
    "XMemBEVModule",
    "XMemBackboneWrapper",
    "build_memory",
    "gate",
    "occupancy_loss",
    "trace_reads",
]

if not TYPE_CHECKING:
    __getattr__ = former_names(
        __name__,
        {
            "SceneMemories": "remembev.memory.SceneStates",
            "WatchedRead": "remembev.memory.TracedRead",
            "watch_reads": "remembev.memory.trace_reads",
        },
    )
