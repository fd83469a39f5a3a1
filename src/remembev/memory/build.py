"""The memory of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory.base import BEVMemory, NoMemory
from remembev.memory.conv_gru import ConvGRUBEVModule
from remembev.memory.xmem import XMemBEVModule


def build_memory(
    cfg: MemoryConfig,
    in_channels: int,
    feature_grid: BEVGrid,
    agents: int = 1,
    class_names: Sequence[str] = ("object",),
) -> BEVMemory[Any]:
    """Return the memory that ``cfg`` names, with fresh weights.

    Args:
        cfg: The configuration's MODEL.MEMORY.
        in_channels: Channels of the BEV features.
        feature_grid: Their grid.
        agents: Agent slots at inference, the scene's included.
        class_names: Classes of the objects that are found.
    """
    if cfg.FUSION == "none":
        return NoMemory(cfg)
    if cfg.NAME == "ConvGRUBEVModule":
        return ConvGRUBEVModule(cfg, in_channels, feature_grid)
    return XMemBEVModule(cfg, in_channels, feature_grid, agents, class_names)
