"""The memory as a stage of the detector: finds each scene's state, steps, changes the features, keeps the state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory.conv_gru import ConvGRUBackboneWrapper, RecurrentState
from remembev.memory.scenes import SceneStates
from remembev.memory.slots import follow_boxes
from remembev.memory.state import MemoryState, TensorStruct
from remembev.memory.wrapper import XMemBackboneWrapper

ClipKey = tuple[str, int]
State = TypeVar("State", bound=TensorStruct)


def clip_keys(scene_token: Sequence[str]) -> list[ClipKey]:
    """One key for each item of a batch, different even where scene tokens are the same."""
    seen: Counter[str] = Counter()
    keys = []
    for token in map(str, scene_token):
        keys.append((token, seen[token]))
        seen[token] += 1
    return keys


@dataclass(frozen=True)
class FrameContext:
    """What comes with the features of frame t: its motion and time, and in training its true masks."""

    prev_from_frame: Tensor | None = None  # [B, 4, 4]
    timestamp: Tensor | None = None  # [B] float64, seconds
    scene_masks: Tensor | None = None  # [B, 1, H_m, W_m]
    agent_masks: Tensor | None = None  # [B, A, H_m, W_m]
    valids_mask: Tensor | None = None  # [B, A] bool

    def item(self, number: int) -> FrameContext:
        """The context of one item, as a batch of one."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return FrameContext(**{k: None if part is None else part[number : number + 1] for k, part in parts.items()})

    @property
    def agents(self) -> int | None:
        """Agent slots of the masks, where there are any."""
        return None if self.agent_masks is None else self.agent_masks.shape[1]


class BEVMemory(nn.Module, ABC, Generic[State]):
    """What stands between backbone and head: changes the features by what it remembers of their scene."""

    def __init__(self, max_scenes: int) -> None:
        super().__init__()
        self.states: SceneStates[ClipKey, State] = SceneStates(max_scenes)

    @abstractmethod
    def initial_state(self, batch: int, agents: int | None = None) -> State:
        """The state before the first frame, with as many agent slots as at inference if not said otherwise."""

    @abstractmethod
    def _step_batch(
        self, features: Tensor, t: int, state: State, context: FrameContext, teacher_forcing: float
    ) -> tuple[Tensor, Tensor | None, State]:
        """One frame of a batch of scenes, all at once."""

    def update_slots(self, state: State, boxes: Tensor, scores: Tensor, count: Tensor) -> State:
        """The state once it knows the boxes [B, K, 9] with scores [B, K] that were detected, ``count`` [B] of them."""
        return state

    def forward(
        self,
        spatial_features_2d: Tensor,
        scene_token: Sequence[str],
        t: int,
        context: FrameContext | None = None,
        *,
        teacher_forcing: float = 1.0,
    ) -> tuple[Tensor, Tensor | None]:
        """One frame of every scene of a batch, whose states are kept here from one call to the next.

        spatial_features_2d  [B, C_bev, H, W]
        scene_token          [B]; at t = 0, and for scenes not met before, the memory starts empty
        returns              features [B, C_bev, H, W] and occ_logits [B, 1, H_m, W_m], None where there are none
        """
        context = context or FrameContext()
        state = self.load_states(scene_token, t, context.agents)
        features, occ_logits, state = self.step(spatial_features_2d, t, state, context, teacher_forcing)
        self.store_states(scene_token, state)
        return features, occ_logits

    def step(
        self, features: Tensor, t: int, state: State, context: FrameContext, teacher_forcing: float = 1.0
    ) -> tuple[Tensor, Tensor | None, State]:
        """The same with the state given and returned: nothing is kept.

        Training steps the batch at once. At inference each scene steps by itself: kernels round differently for other
        batch sizes, and what a scene gives must not depend, to the last bit, on who shares its batch.
        """
        if self.training or len(features) == 1:
            return self._step_batch(features, t, state, context, teacher_forcing)
        steps = [
            self._step_batch(features[i : i + 1], t, one, context.item(i), teacher_forcing)
            for i, one in enumerate(state.split())
        ]
        changed, occ_logits, states = zip(*steps, strict=True)
        occupancy = None if occ_logits[0] is None else torch.cat(occ_logits)
        return torch.cat(changed), occupancy, type(state).stack(states)

    def load_states(self, scene_token: Sequence[str], t: int, agents: int | None = None) -> State:
        """The states of a batch of scenes; empty ones at t = 0 and for scenes not met before."""
        known = [None if t == 0 else self.states.get(key) for key in clip_keys(scene_token)]
        states = [self.initial_state(1, agents) if state is None else state for state in known]
        return type(states[0]).stack(states)

    def store_states(self, scene_token: Sequence[str], state: State) -> None:
        """Keep the states of a batch of scenes."""
        self.states.update(dict(zip(clip_keys(scene_token), state.split(), strict=True)))


def gate(occ_logits: Tensor, spatial_features_2d: Tensor) -> Tensor:
    """σ of the logits [B, 1, H_m, W_m], resized to the features' [B, 1, H, W]."""
    resized = F.interpolate(occ_logits, spatial_features_2d.shape[-2:], mode="bilinear", align_corners=False)
    return resized.sigmoid().to(spatial_features_2d.dtype)


def zero_conv(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1 × 1 convolution that is 0 at first: what it brings in disturbs nothing (Zhang et al., ICCV 2023)."""
    conv = nn.Conv2d(inputs, outputs, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class GatedConv(nn.Module):
    """W [f ⊙ g, g] + b, a convolution of what a gate lets through and of the gate itself; 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = zero_conv(channels + 1, channels)

    def forward(self, features: Tensor, opened: Tensor) -> Tensor:
        """[B, C, H, W] of features f [B, C, H, W] and a gate g [B, 1, H, W].

        A gate is one number a cell, so that this is g ⊙ (W_f f + w_g) + b: no map is multiplied or joined first.
        """
        weight, bias = self.project.weight, cast("Tensor", self.project.bias)
        return F.conv2d(features, weight[:, :-1], weight[:, -1].flatten()) * opened + bias[:, None, None]


class Upsample(nn.Module):
    """A cell becomes ``scale`` × ``scale`` cells that differ, each linear in it (Shi et al., CVPR 2016); 0 at first."""

    def __init__(self, inputs: int, outputs: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.project = zero_conv(inputs, outputs * scale**2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] to [B, C_out, scale · H, scale · W]."""
        return F.pixel_shuffle(self.project(x), self.scale)


class XMemBEVModule(BEVMemory[MemoryState]):
    """Gates BEV features with the occupancy that the memory of their scene gives; may also add what it reads.

    What is gated, and the gate itself, is added to the features by a convolution that starts at 0: a detector that
    gets a memory is at first what it was. Multiplied right away it has to be learnt anew, and ends up worse.
    """

    def __init__(self, cfg: MemoryConfig, in_channels: int, feature_grid: BEVGrid, agents: int = 1) -> None:
        super().__init__(cfg.MAX_SCENES)
        self.cfg = cfg
        self.xmem = XMemBackboneWrapper(cfg, in_channels, feature_grid, agents)
        readout, fine = cfg.FEATURE_DIM + cfg.HIDDEN_DIM, cfg.stride(feature_grid)
        self.add_gated = GatedConv(in_channels)
        self.add_read = Upsample(readout, in_channels, fine) if cfg.FUSION == "gate_and_read" else None

    def initial_state(self, batch: int, agents: int | None = None) -> MemoryState:
        """Nothing seen, nothing stored."""
        return self.xmem.initial_state(batch, agents)

    def _step_batch(
        self, features: Tensor, t: int, state: MemoryState, context: FrameContext, teacher_forcing: float
    ) -> tuple[Tensor, Tensor, MemoryState]:
        """Step, gate, and add what was read if the configuration says so."""
        step = self.xmem.forward_step(
            t,
            features,
            context.scene_masks,
            context.agent_masks,
            context.valids_mask,
            state=state,
            prev_from_frame=context.prev_from_frame,
            timestamp=context.timestamp,
            teacher_forcing=teacher_forcing,
        )
        change = self.add_gated(features.float(), gate(step.occ_logits, features).float())
        if self.add_read is not None:
            change = change + self.add_read(step.readout)
        return features + change.to(features.dtype), step.occ_logits, step.state

    def update_slots(self, state: MemoryState, boxes: Tensor, scores: Tensor, count: Tensor) -> MemoryState:
        """The state whose agent slots follow the boxes that were detected."""
        return replace(state, slots=follow_boxes(state.slots, boxes, scores, count, self.cfg.AGENTS))


class ConvGRUBEVModule(BEVMemory[RecurrentState]):
    """A plain recurrent unit on BEV, whose hidden state is added to the features."""

    def __init__(self, cfg: MemoryConfig, in_channels: int, feature_grid: BEVGrid) -> None:
        super().__init__(cfg.MAX_SCENES)
        self.recurrent = ConvGRUBackboneWrapper(cfg, in_channels, feature_grid)

    def initial_state(self, batch: int, agents: int | None = None) -> RecurrentState:
        """A hidden state of zeros."""
        return self.recurrent.initial_state(batch)

    def _step_batch(
        self, features: Tensor, t: int, state: RecurrentState, context: FrameContext, teacher_forcing: float
    ) -> tuple[Tensor, None, RecurrentState]:
        """Step and add."""
        state = self.initial_state(len(features)) if t == 0 else state
        changed, state = self.recurrent.forward_step(features, state, context.prev_from_frame)
        return changed, None, state


@dataclass(frozen=True)
class NothingRemembered(TensorStruct):
    """The state of a single-frame detector."""

    frames: Tensor  # [B] int64, frames seen so far


class NoMemory(BEVMemory[NothingRemembered]):
    """Single frames: features go through as they are."""

    def __init__(self, cfg: MemoryConfig) -> None:
        super().__init__(cfg.MAX_SCENES)

    def initial_state(self, batch: int, agents: int | None = None) -> NothingRemembered:
        """No frame seen."""
        return NothingRemembered(torch.zeros(batch, dtype=torch.int64))

    def _step_batch(
        self, features: Tensor, t: int, state: NothingRemembered, context: FrameContext, teacher_forcing: float
    ) -> tuple[Tensor, None, NothingRemembered]:
        """The features as they are."""
        return features, None, NothingRemembered(state.frames + 1)


def build_memory(cfg: MemoryConfig, in_channels: int, feature_grid: BEVGrid, agents: int = 1) -> BEVMemory[Any]:
    """The memory that a configuration describes, with fresh weights."""
    if cfg.FUSION == "none":
        return NoMemory(cfg)
    if cfg.NAME == "ConvGRUBEVModule":
        return ConvGRUBEVModule(cfg, in_channels, feature_grid)
    return XMemBEVModule(cfg, in_channels, feature_grid, agents)
