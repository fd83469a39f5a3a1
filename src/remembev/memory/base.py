"""The memory as a stage of the detector, between backbone and head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from remembev.batch import FrameBatch
from remembev.config.schema import MemoryConfig
from remembev.memory.masks import pool_masks
from remembev.memory.scenes import SceneStates
from remembev.structs import TensorStruct

ClipKey = tuple[str, int]
"""Scene token, and how often it occurred earlier in the batch: two clips of one scene are two memories."""

State = TypeVar("State", bound=TensorStruct)


@dataclass(frozen=True)
class FrameContext(TensorStruct):
    """Inputs of the memory beside the features of a frame; masks only in training, on a grid that H_m × W_m divides."""

    prev_from_frame: Tensor | None = None  # [B, 4, 4], takes the frame's coordinates to the state's; None: the same
    timestamp: Tensor | None = None  # [B] float64, seconds; None: no time passes
    scene_masks: Tensor | None = None  # [B, 1, H_m, W_m], true occupancy
    agent_masks: Tensor | None = None  # [B, A, H_m, W_m], a slot each, the scene's first
    valids_mask: Tensor | None = None  # [B, A] bool, True for slots that hold an agent; None: all do

    @property
    def true_masks(self) -> Tensor | None:
        """Masks [B, A, H_m, W_m] of the agent slots, of which the scene is the only one without ``agent_masks``."""
        return self.scene_masks if self.agent_masks is None else self.agent_masks

    @property
    def agents(self) -> int | None:
        """Agent slots of ``agent_masks``, None without."""
        return None if self.agent_masks is None else self.agent_masks.shape[1]

    def pooled(self, height: int, width: int) -> FrameContext:
        """Return the context with its masks pooled to height × width cells."""
        given = {"scene_masks": self.scene_masks, "agent_masks": self.agent_masks}
        return replace(
            self, **{name: pool_masks(masks, height, width) for name, masks in given.items() if masks is not None}
        )

    @classmethod
    def of(cls, frame: FrameBatch) -> FrameContext:
        """Return the context of a frame."""
        return cls(frame.prev_from_frame, frame.timestamp, frame.scene_masks, frame.agent_masks, frame.valids_mask)

    def item(self, number: int) -> FrameContext:
        """Return one item as a batch of one."""
        return self.map(lambda tensor: tensor[number : number + 1])


class BEVMemory(nn.Module, ABC, Generic[State]):
    """Changes the features of a frame by what is remembered of its scene."""

    def __init__(self, max_scenes: int) -> None:
        super().__init__()
        self.states: SceneStates[ClipKey, State] = SceneStates(max_scenes)

    @abstractmethod
    def initial_state(self, batch: int, agents: int | None = None) -> State:
        """Return the state before the first frame; ``agents`` slots, the default at inference."""

    @abstractmethod
    def _step_batch(
        self, features: Tensor, state: State, context: FrameContext, teacher_forcing: float
    ) -> tuple[Tensor, Tensor | None, State]:
        """Run one frame of all scenes at once; see ``step``."""

    def update_slots(self, state: State, boxes: Tensor, scores: Tensor, count: Tensor) -> State:
        """Assign a frame's detections to the agent slots.

        Args:
            state: State after the frame.
            boxes: Detected boxes [B, K, 9].
            scores: Their scores [B, K].
            count: Detections of each item [B]; later rows are padding.
        """
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
        """Run one frame of a batch of scenes, whose states are stored here from call to call.

        Args:
            spatial_features_2d: BEV features [B, C_bev, H, W].
            scene_token: Scene of each item [B]; a scene without a stored state starts empty.
            t: Frame number; at 0 all scenes start empty.
            context: Motion, time and masks of the frame.
            teacher_forcing: In training, the share of items whose true masks are written.

        Returns:
            The changed features [B, C_bev, H, W], and occ_logits [B, 1, H_m, W_m] if the memory has an occupancy.
        """
        context = context or FrameContext()
        state = self.load_states(scene_token, context.agents, restart=t == 0)
        features, occ_logits, state = self.step(spatial_features_2d, state, context, teacher_forcing)
        self.store_states(scene_token, state)
        return features, occ_logits

    def step(
        self, features: Tensor, state: State, context: FrameContext, teacher_forcing: float = 1.0
    ) -> tuple[Tensor, Tensor | None, State]:
        """Run one frame from a given state; nothing is stored.

        Training runs the batch at once, inference one scene at a time: kernels round differently for other batch
        sizes, and the boxes of a scene must not depend, to the last bit, on what shares its batch.

        Returns:
            The changed features [B, C_bev, H, W], occ_logits [B, 1, H_m, W_m] or None, and the next state.
        """
        if self.training or len(features) == 1:
            return self._step_batch(features, state, context, teacher_forcing)
        steps = [
            self._step_batch(features[i : i + 1], item, context.item(i), teacher_forcing)
            for i, item in enumerate(state.split())
        ]
        changed, occ_logits, states = zip(*steps, strict=True)
        occupancy = None if occ_logits[0] is None else torch.cat(occ_logits)
        return torch.cat(changed), occupancy, type(state).stack(states)

    def load_states(self, scene_token: Sequence[str], agents: int | None = None, *, restart: bool = False) -> State:
        """Return the stored states of a batch of scenes, empty ones for those without; all empty on ``restart``."""
        stored = [None if restart else self.states.get(key) for key in _clip_keys(scene_token)]
        states = [self.initial_state(1, agents) if state is None else state for state in stored]
        return type(states[0]).stack(states)

    def store_states(self, scene_token: Sequence[str], state: State) -> None:
        """Store the states of a batch of scenes."""
        self.states.update(dict(zip(_clip_keys(scene_token), state.split(), strict=True)))


@dataclass(frozen=True)
class NoMemoryState(TensorStruct):
    """State of a single-frame detector."""

    frames: Tensor  # [B] int64, frames so far


class NoMemory(BEVMemory[NoMemoryState]):
    """Single frames: features pass unchanged."""

    def __init__(self, cfg: MemoryConfig) -> None:
        super().__init__(cfg.MAX_SCENES)

    def initial_state(self, batch: int, agents: int | None = None) -> NoMemoryState:
        """Return a count of zero frames."""
        return NoMemoryState(torch.zeros(batch, dtype=torch.int64))

    def _step_batch(
        self, features: Tensor, state: NoMemoryState, context: FrameContext, teacher_forcing: float
    ) -> tuple[Tensor, None, NoMemoryState]:
        return features, None, NoMemoryState(state.frames + 1)


def _clip_keys(scene_token: Sequence[str]) -> list[ClipKey]:
    occurrences: Counter[str] = Counter()
    keys = []
    for token in map(str, scene_token):
        keys.append((token, occurrences[token]))
        occurrences[token] += 1
    return keys
