"""The memory as a stage of the detector, between backbone and head."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from remembev.batch import FrameBatch
from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory.masks import pool_masks
from remembev.memory.objects import FoundObjects, ObjectMemory
from remembev.memory.scenes import SceneStates
from remembev.ops import ray_visibility
from remembev.structs import TensorStruct

logger = logging.getLogger(__name__)

ClipKey = tuple[str, int]
"""Scene token, and how often it occurred earlier in the batch: two clips of one scene are two memories."""

FrameNumber = int | Sequence[int] | Tensor
"""Number of a frame within its scene: one for the batch, or one for each item [B]."""

State = TypeVar("State", bound=TensorStruct)


@dataclass(frozen=True)
class FrameContext(TensorStruct):
    """Inputs of the memory beside the features of a frame; what is true only in training.

    Masks are on a grid that H_m × W_m divides.
    """

    prev_from_frame: Tensor | None = None  # [B, 4, 4], takes the frame's coordinates to the state's; None: the same
    timestamp: Tensor | None = None  # [B] float64, seconds; None: no time passes
    scene_masks: Tensor | None = None  # [B, 1, H_m, W_m], true occupancy
    agent_masks: Tensor | None = None  # [B, A, H_m, W_m], a slot each, the scene's first
    valids_mask: Tensor | None = None  # [B, A] bool, True for slots that hold an agent; None: all do
    visibility: Tensor | None = None  # [B, 3, H_m, W_m], see ops.ray_visibility; None: not computed
    true_objects: FoundObjects | None = None  # true boxes that the frame shows, with the score 1

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

        def pool(masks: Tensor | None) -> Tensor | None:
            return None if masks is None else pool_masks(masks, height, width)

        return replace(self, scene_masks=pool(self.scene_masks), agent_masks=pool(self.agent_masks))

    @classmethod
    def of(cls, frame: FrameBatch, visibility_grid: BEVGrid | None = None) -> FrameContext:
        """Return the context of a frame, with the visibility of a grid's cells if one is given."""
        visibility = None
        if visibility_grid is not None:
            visibility = ray_visibility(frame.points, frame.num_points, visibility_grid)
        masks = frame.scene_masks, frame.agent_masks, frame.valids_mask
        return cls(frame.prev_from_frame, frame.timestamp, *masks, visibility)

    def item(self, number: int) -> FrameContext:
        """Return one item as a batch of one."""
        return self.map(lambda tensor: tensor[number : number + 1])


@dataclass(frozen=True)
class FrameRead(TensorStruct, Generic[State]):
    """Changed features of a frame, and the state that the frame is still to be written to."""

    features: Tensor  # [B, C_bev, H, W], changed by what is remembered
    occ_logits: Tensor | None  # [B, 1, H_m, W_m]
    state: State  # aligned with the frame, which isn't written yet
    unwritten: TensorStruct | None = None  # what is written of the frame, for memories that write after the head


def first_frames(t: FrameNumber, batch: int) -> list[bool]:
    """Return True for the items [B] that are at their first frame, number 0.

    Raises:
        ValueError: Neither one number nor one for each item.
    """
    times = torch.as_tensor(t).flatten().tolist()
    if len(times) not in (1, batch):
        raise ValueError(f"t: expected one number or {batch}, one for each item of the batch, got {len(times)}")
    return [number == 0 for number in times] * (batch // len(times))


class BEVMemory(nn.Module, ABC, Generic[State]):
    """Changes the features of a frame by what is remembered of its scene."""

    visibility_grid: BEVGrid | None = None
    """Grid of the visibility that the memory needs in the context of a frame; None: it needs none."""

    def __init__(self, max_scenes: int) -> None:
        super().__init__()
        self.states: SceneStates[ClipKey, State] = SceneStates(max_scenes)
        self._unknown: set[str] = set()

    @abstractmethod
    def initial_state(self, batch: int, agents: int | None = None) -> State:
        """Return the state before the first frame; ``agents`` slots, the default at inference."""

    @abstractmethod
    def _read_batch(self, features: Tensor, state: State, context: FrameContext, progress: float) -> FrameRead[State]:
        """Read for one frame of all scenes at once; see ``read``."""

    def _write_batch(self, read: FrameRead[State], found: FoundObjects | None, progress: float) -> State:
        """Write one frame of all scenes at once; see ``write``."""
        return read.state

    @property
    def remembers_found(self) -> bool:
        """True if the boxes that the head finds go into the memory."""
        return False

    def remember(self, state: State, found: FoundObjects) -> tuple[FoundObjects, State]:
        """Assign what the head found in a frame to what is remembered, after ``write``.

        Args:
            state: State after the frame is written.
            found: What was found.

        Returns:
            What was found or is remembered, best first, and the next state.
        """
        return found, state

    def objects(self, state: State) -> ObjectMemory | None:
        """Return the remembered objects of a state, if the memory has any."""
        return None

    def forward(
        self,
        spatial_features_2d: Tensor,
        scene_token: Sequence[str],
        t: FrameNumber,
        context: FrameContext | None = None,
        *,
        progress: float = 1.0,
        keep_graph: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Run one frame of a batch of scenes, whose states are stored here from call to call.

        Args:
            spatial_features_2d: BEV features [B, C_bev, H, W].
            scene_token: Scene of each item [B]; one without a stored state starts empty, with a warning if t > 0.
            t: Frame number, or one for each item [B]; at 0 a scene starts empty.
            context: Motion, time and masks of the frame.
            progress: Progress of the training, 0 to 1.
            keep_graph: Store the states with their gradient history, for one backward pass over several frames;
                otherwise detached, for one after every frame.

        Returns:
            The changed features [B, C_bev, H, W], and occ_logits [B, 1, H_m, W_m] if the memory has an occupancy.
        """
        context = context or FrameContext()
        state = self.load_states(scene_token, t, context.agents)
        features, occ_logits, state = self.step(spatial_features_2d, state, context, progress)
        self.store_states(scene_token, state, keep_graph=keep_graph)
        return features, occ_logits

    def step(
        self, features: Tensor, state: State, context: FrameContext, progress: float = 1.0
    ) -> tuple[Tensor, Tensor | None, State]:
        """Run one frame from a given state, without a head: read, and write what needs none; nothing is stored.

        Args:
            features: BEV features [B, C_bev, H, W].
            state: State before the frame.
            context: Motion, time and masks of the frame.
            progress: Progress of the training, 0 to 1, which teacher forcing and the gate's strength depend on.

        Returns:
            The changed features [B, C_bev, H, W], occ_logits [B, 1, H_m, W_m] or None, and the next state.
        """
        read = self.read(features, state, context, progress)
        return read.features, read.occ_logits, self.write(read, progress=progress)

    def read(self, features: Tensor, state: State, context: FrameContext, progress: float = 1.0) -> FrameRead[State]:
        """Align a state with a frame and change the frame's features by what is remembered; see ``step``.

        Training runs the batch at once, inference one scene at a time, as in ``write``: kernels round differently for
        other batch sizes, and the boxes of a scene must not depend, to the last bit, on what shares its batch.
        """
        if self.training or len(features) == 1:
            return self._read_batch(features, state, context, progress)
        return FrameRead.stack(
            [
                self._read_batch(features[i : i + 1], item, context.item(i), progress)
                for i, item in enumerate(state.split())
            ]
        )

    def write(self, read: FrameRead[State], found: FoundObjects | None = None, *, progress: float = 1.0) -> State:
        """Write a frame once its boxes are found.

        Args:
            read: The frame's read.
            found: What the head found on its features; None: there was no head.
            progress: Progress of the training, 0 to 1, which teacher forcing depends on.

        Returns:
            The state after the frame.
        """
        if self.training or len(read.features) == 1:
            return self._write_batch(read, found, progress)
        founds = [None] * len(read.features) if found is None else found.split()
        states = [self._write_batch(item, one, progress) for item, one in zip(read.split(), founds, strict=True)]
        return type(states[0]).stack(states)

    def load_states(self, scene_token: Sequence[str], t: FrameNumber, agents: int | None = None) -> State:
        """Return the stored states of a batch of scenes before frame t.

        Empty ones at t = 0, and, with a warning, for scenes without a stored state.
        """
        states = []
        for key, is_first in zip(_clip_keys(scene_token), first_frames(t, len(scene_token)), strict=True):
            stored = None if is_first else self.states.get(key)
            if stored is None and not is_first:
                self._warn_unknown(key[0])
            states.append(self.initial_state(1, agents) if stored is None else stored)
        return type(states[0]).stack(states)

    def store_states(self, scene_token: Sequence[str], state: State, *, keep_graph: bool = False) -> None:
        """Store the states of a batch of scenes, without their gradient history unless ``keep_graph``."""
        state = state if keep_graph else state.detach()
        self.states.update(dict(zip(_clip_keys(scene_token), state.split(), strict=True)))

    def _warn_unknown(self, scene: str) -> None:
        """Warn, once for each scene, that a scene is not at its first frame but has no stored state."""
        if scene not in self._unknown:
            logger.warning(
                "scene %s: no memory of its earlier frames, so it starts empty; run a scene from t = 0 on, "
                "and raise MEMORY.MAX_SCENES (%d) if more scenes than that take turns",
                *(scene, self.states.limit),
            )
        self._unknown.add(scene)


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

    def _read_batch(
        self, features: Tensor, state: NoMemoryState, context: FrameContext, progress: float
    ) -> FrameRead[NoMemoryState]:
        return FrameRead(features, None, NoMemoryState(state.frames + 1))

    def _warn_unknown(self, scene: str) -> None:
        """Single frames miss no memory."""


def _clip_keys(scene_token: Sequence[str]) -> list[ClipKey]:
    occurrences: Counter[str] = Counter()
    keys = []
    for token in map(str, scene_token):
        keys.append((token, occurrences[token]))
        occurrences[token] += 1
    return keys
