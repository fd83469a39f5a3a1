"""An XMem-style memory in BEV (Cheng & Schwing, ECCV 2022): the stores, the read, alignment, and the gate.

``state.py`` holds what is remembered, ``wrapper.py`` the pure step, ``module.py`` the states by scene and the gate.
"""

from remembev.memory.losses import occupancy_loss
from remembev.memory.module import SceneMemories, XMemBEVModule
from remembev.memory.state import MemoryState, TokenStore
from remembev.memory.wrapper import MemoryStep, XMemBackboneWrapper

__all__ = [
    "MemoryState",
    "MemoryStep",
    "SceneMemories",
    "TokenStore",
    "XMemBEVModule",
    "XMemBackboneWrapper",
    "occupancy_loss",
]
