"""A memory small enough to look into: 4 × 4 cells of 4 m, six channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid, make_pose
from remembev.memory import MemoryState, MemoryStep, TokenStore, XMemBackboneWrapper, XMemBEVModule

CHANNELS = 6
FEATURE_GRID = BEVGrid(-8.0, -8.0, 8.0, 8.0, height=8, width=8)
CPU = torch.device("cpu")
SIZES: Mapping[str, object] = {
    "FEATURE_DIM": 8,
    "KEY_DIM": 4,
    "VALUE_DIM": 4,
    "HIDDEN_DIM": 4,
    "TOP_K": 5,
    "WORKING": {"MIN_FRAMES": 1, "MAX_FRAMES": 3},
    "LONG_TERM": {"MAX_TOKENS": 12, "PROTOTYPES": 6},
}


def small_config(**changes: object) -> MemoryConfig:
    return MemoryConfig.model_validate({**SIZES, **changes})


def small_memory(*, agents: int = 1, **changes: object) -> XMemBackboneWrapper:
    """With an occupancy that depends on all that it is made of, unlike an untrained one."""
    torch.manual_seed(0)
    memory = XMemBackboneWrapper(small_config(**changes), CHANNELS, FEATURE_GRID, agents)
    torch.nn.init.normal_(memory.decode.occupancy.weight)
    torch.nn.init.normal_(memory.empty_readout)
    return memory


def small_module(**changes: object) -> XMemBEVModule:
    """With a gate that differs from cell to cell, and projections that are not small, unlike untrained ones."""
    torch.manual_seed(0)
    memory = XMemBEVModule(small_config(**changes), CHANNELS, FEATURE_GRID)
    torch.manual_seed(1)
    torch.nn.init.normal_(memory.xmem.decode.occupancy.weight)
    for projection in (memory.add_gated, memory.add_read):
        for weight in projection.parameters() if projection else ():
            torch.nn.init.normal_(weight)
    return memory.eval()


def scene_features(scene: str, t: int) -> Tensor:
    return features(1000 * ord(scene) + t)


def features(seed: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(seed))


def mask(seed: int, batch: int = 1, agents: int = 1) -> Tensor:
    return (torch.rand(batch, agents, 4, 4, generator=torch.Generator().manual_seed(seed)) > 0.5).float()


def planar(x: float, y: float, yaw: float = 0.0) -> Tensor:
    """prev_from_frame [1, 4, 4] of a car that drove x, y metres and turned by yaw."""
    return make_pose((x, y, 0.0), (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)))[None].float()


def run_step(
    memory: XMemBackboneWrapper, t: int, frames_lidar_t: Tensor, *masks: Tensor | None,
    state: MemoryState | None = None, **options: Any,
) -> MemoryStep:  # fmt: skip
    """A step from a state, from an empty one if there is none yet."""
    if state is None:
        of_agents = masks[1] if len(masks) > 1 else None
        state = memory.initial_state(len(frames_lidar_t), None if of_agents is None else of_agents.shape[1])
    return memory.forward_step(t, frames_lidar_t, *masks, state=state, **options)


def stream(memory: XMemBackboneWrapper, frames: int, **arguments: object) -> list[MemoryStep]:
    """The steps of a stream of so many frames, the arguments alike for all of them."""
    steps: list[MemoryStep] = []
    for t in range(frames):
        state = steps[-1].state if steps else None
        steps.append(run_step(memory, t, features(t), state=state, **arguments))
    return steps


def working(memory: XMemBackboneWrapper, state: MemoryState) -> TokenStore:
    return state.tokens.slice(memory.cfg.LONG_TERM.MAX_TOKENS)


def long_term(memory: XMemBackboneWrapper, state: MemoryState) -> TokenStore:
    return state.tokens.slice(0, memory.cfg.LONG_TERM.MAX_TOKENS)


def random_store(
    count: int, *, batch: int = 1, agents: int = 1, channels: int = 4, valid: float = 1.0, seed: int = 0
) -> TokenStore:
    """Tokens that have been read, a share of them valid; the first agent has values in all, others in some."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, count, generator=generator)

    has_value = torch.rand(batch, agents, count, generator=generator) < 0.7
    has_value[:, 0] = True
    return replace(
        TokenStore.empty(batch, agents, channels, channels, count, CPU),
        key=draw(channels),
        shrinkage=draw(1).square() + 1,
        selection=draw(channels).sigmoid(),
        value=draw(agents, channels) * has_value[:, :, None],
        has_value=has_value,
        position=draw(3).double() * 10,
        usage=draw().square(),
        life=torch.randint(0, 5, (batch, count), generator=generator).float(),
        valid=torch.rand(batch, count, generator=generator) < valid,
    )


def assert_same(first: MemoryState | TokenStore, second: MemoryState | TokenStore) -> None:
    """Every tensor is equal to the last bit."""
    for (name, one), other in zip(first.named().items(), second.named().values(), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num()), name
