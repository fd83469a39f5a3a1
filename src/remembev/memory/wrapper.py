"""XMem on BEV features: one pure step from a frame and a state to occupancy logits and the next state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remembev.config.schema import MemoryConfig
from remembev.config.sizes import Seconds
from remembev.geometry import BEVGrid
from remembev.memory.alignment import align_state
from remembev.memory.base import FrameContext, FrameNumber, first_frames
from remembev.memory.findings import BOX_CHANNELS, found_velocity, rasterise_findings, teach
from remembev.memory.layers import Decoder, FrameKeys, KeyProjection, ValueEncoder
from remembev.memory.motion import MotionModel
from remembev.memory.objects import FoundObjects, ObjectMemory, Presence
from remembev.memory.slots import slot_masks
from remembev.memory.state import AgentSlots, MemoryState, TokenStore
from remembev.memory.stores import read_store, write_frame
from remembev.ops import VISIBILITY_CHANNELS
from remembev.ops.memory_read import Positions
from remembev.structs import TensorStruct

_FAR = -4.0
"""Initial similarity to nothing: tokens that are near win, those 2.8 σ away or as different in key don't."""


@dataclass(frozen=True)
class MemoryStep:
    """Output of one step of the memory."""

    occ_logits: Tensor  # [B, 1, H_m, W_m] float32
    readout: Tensor  # [B, F + C_h, H_m, W_m] float32: decoder features and what is sensed, combined over the slots
    state: MemoryState


@dataclass(frozen=True)
class UnwrittenFrame(TensorStruct):
    """Features, keys and occupancy of a frame that is still to be written."""

    features: Tensor  # [B, F, H_m, W_m]
    keys: FrameKeys
    logits: Tensor  # [B, A, H_m, W_m], occupancy of each slot
    occ_logits: Tensor  # [B, 1, H_m, W_m]
    elapsed: Tensor  # [B], seconds since the frame before
    context: FrameContext


def combine_slots(logits: Tensor, occupied: Tensor) -> Tensor:
    """Soft aggregation: logit [B, 1, H, W] that a cell is not background, of agents [B, A, H, W] in slots [B, A].

    Background is p_0 = Π (1 − p_a) (XMem §3.1). In logits: the odds of 1 − p_0 are exp(s) − 1, s = Σ softplus(l_a).
    One slot gives back its own logit.
    """
    if logits.shape[1] == 1:
        return logits
    log_free = (F.softplus(logits) * occupied[:, :, None, None]).sum(dim=1, keepdim=True).clamp(min=1e-6)
    return log_free + torch.log(-torch.expm1(-log_free))


def combine_readouts(readout: Tensor, logits: Tensor, occupied: Tensor) -> Tensor:
    """Mean [B, F, H, W] of the slots' readouts [B, A, F, H, W], each weighted by how surely it claims the cell."""
    claim = F.logsigmoid(logits).masked_fill(~occupied[:, :, None, None], torch.finfo(logits.dtype).min)
    return (readout * claim.softmax(dim=1)[:, :, None]).sum(dim=1)


def advance_clock(since: Tensor, every: int | Seconds, elapsed: Tensor) -> tuple[Tensor, Tensor]:
    """Advance the clock of something done every so many frames or seconds.

    In seconds it is done at the frame nearest to its time, and the next time counts from when it was due.

    Args:
        since: Frames or seconds since it was done last [B], infinite at first.
        every: Frames, or seconds.
        elapsed: Seconds since the frame before [B].

    Returns:
        True for items where it is due [B], and the clock after this frame [B].
    """
    tick = torch.ones_like(since) if isinstance(every, int) else elapsed
    now = since + tick
    late = now - every
    due = late >= -tick / 2
    restarted = torch.where(late.abs() <= tick / 2, late, 0.0)
    return due, torch.where(due, restarted, now)


class XMemBackboneWrapper(nn.Module):
    """XMem's networks and stores on BEV features (Cheng & Schwing, ECCV 2022)."""

    centres: Tensor

    def __init__(
        self,
        cfg: MemoryConfig,
        in_channels: int,
        feature_grid: BEVGrid,
        agents: int = 1,
        class_names: Sequence[str] = ("object",),
    ) -> None:
        """Create a memory of features [B, in_channels, H, W] on ``feature_grid`` with ``agents`` slots at inference.

        ``class_names`` are the classes of the objects that are found.
        """
        super().__init__()
        self.cfg = cfg
        stride = cfg.stride(feature_grid)
        self.feature_grid = feature_grid
        self.grid = feature_grid.strided(stride)
        self.agents = agents
        self.tokens_per_frame = cfg.tokens_per_frame(self.grid)
        self._kept: MemoryState | None = None
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, cfg.FEATURE_DIM, kernel_size=stride, stride=stride, bias=False),
            nn.GroupNorm(1, cfg.FEATURE_DIM),
        )
        self.project = KeyProjection(cfg.FEATURE_DIM, cfg.KEY_DIM)
        self.decode = Decoder(cfg.FEATURE_DIM, cfg.VALUE_DIM, cfg.HIDDEN_DIM, cfg.GATE_BIAS, cfg.SENSORY)
        self.classes = len(class_names)
        findings = self.classes + BOX_CHANNELS if cfg.WRITE == "findings" else 0
        self.encode_value = ValueEncoder(cfg.FEATURE_DIM + findings, cfg.VALUE_DIM, cfg.HIDDEN_DIM, cfg.SENSORY)
        self.presence, self.motion = None, None
        if cfg.OBJECTS is not None:
            self.presence = Presence(cfg.FEATURE_DIM + cfg.HIDDEN_DIM, self.classes, cfg.OBJECTS)
            motions = (cfg.OBJECTS.MOTION, cfg.OBJECTS.CLASS_MOTION)
            self.motion = MotionModel(class_names, *motions, noise=cfg.OBJECTS.POSITION_NOISE)
        self.empty_readout = nn.Parameter(torch.zeros(cfg.VALUE_DIM))
        self.nothing = nn.Parameter(torch.tensor(_FAR)) if cfg.READ.NOTHING else None
        self.log_distance = _log_scale(cfg.READ.DISTANCE)
        self.log_age = _log_scale(cfg.READ.AGE)
        self.register_buffer("centres", self._centres(), persistent=False)
        self.register_state_dict_post_hook(_rename_for_files)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_rename_from_files)  # type: ignore[no-untyped-call]

    @property
    def working_capacity(self) -> int:
        """Tokens of the working memory: T_max − 1 frames, since the oldest leave before one is written."""
        return (self.cfg.max_frames - 1) * self.tokens_per_frame

    def initial_state(self, batch: int, agents: int | None = None) -> MemoryState:
        """Return the state of empty stores."""
        cfg, device = self.cfg, self.empty_readout.device
        agents = self.agents if agents is None else agents
        capacity = cfg.LONG_TERM.MAX_TOKENS + self.working_capacity
        moving = cfg.WRITE == "findings"
        objects = None if cfg.OBJECTS is None else ObjectMemory.empty(batch, cfg.OBJECTS.MAX_OBJECTS, device)
        never = torch.full((2, batch), math.inf, device=device)
        return MemoryState(
            hidden=torch.zeros(batch, agents, cfg.HIDDEN_DIM, self.grid.height, self.grid.width, device=device),
            tokens=TokenStore.empty(batch, agents, cfg.KEY_DIM, cfg.VALUE_DIM, capacity, device, moving=moving),
            slots=AgentSlots.empty(batch, agents, device),
            frames=torch.zeros(batch, dtype=torch.int64, device=device),
            working_frames=torch.zeros(batch, dtype=torch.int64, device=device),
            since_write=never[0],
            since_deep_update=never[1],
            timestamp=torch.full((batch,), math.nan, dtype=torch.float64, device=device),
            objects=objects,
        )

    @overload
    def forward_step(
        self,
        t: FrameNumber,
        frames_lidar_t: Tensor,
        scene_masks: Tensor | None = None,
        agent_masks: Tensor | None = None,
        valids_mask: Tensor | None = None,
        *,
        state: None = None,
        prev_from_frame: Tensor | None = None,
        timestamp: Tensor | None = None,
        teacher_forcing: float = 1.0,
        keep_graph: bool = False,
    ) -> Tensor: ...

    @overload
    def forward_step(
        self,
        t: FrameNumber,
        frames_lidar_t: Tensor,
        scene_masks: Tensor | None = None,
        agent_masks: Tensor | None = None,
        valids_mask: Tensor | None = None,
        *,
        state: MemoryState,
        prev_from_frame: Tensor | None = None,
        timestamp: Tensor | None = None,
        teacher_forcing: float = 1.0,
    ) -> MemoryStep: ...

    def forward_step(
        self,
        t: FrameNumber,
        frames_lidar_t: Tensor,
        scene_masks: Tensor | None = None,
        agent_masks: Tensor | None = None,
        valids_mask: Tensor | None = None,
        *,
        state: MemoryState | None = None,
        prev_from_frame: Tensor | None = None,
        timestamp: Tensor | None = None,
        teacher_forcing: float = 1.0,
        keep_graph: bool = False,
    ) -> Tensor | MemoryStep:
        """Run frame t: align, read, decode, write, as in ``step``. There is no head, so no findings are written.

        Without ``state`` the memory is kept here from call to call; with it nothing is. At t = 0 it starts empty.

        Args:
            t: Frame number, or one for each item [B].
            frames_lidar_t: BEV features [B, C_bev, H, W].
            scene_masks: True occupancy [B, 1, H_m, W_m], for training.
            agent_masks: True masks of A agent slots [B, A, H_m, W_m], the scene's first.
            valids_mask: True for slots that hold an agent [B, A]; the first always does.
            state: State after the frame before; None: the one kept by the call before.
            prev_from_frame: Transform [B, 4, 4] from this frame to the state's; None: the same frame.
            timestamp: Seconds [B] float64; None: no time passes.
            teacher_forcing: Share of the items whose true masks are written, in training.
            keep_graph: Keep the memory with its gradient history, for one backward pass over several frames;
                otherwise detached, for one after every frame.

        Returns:
            Without ``state`` occ_logits [B, 1, H_m, W_m]; with it the step, which has the next state.

        Raises:
            ValueError: t > 0, but no memory of an earlier frame; or shapes that don't fit together.
        """
        context = FrameContext(prev_from_frame, timestamp, scene_masks, agent_masks, valids_mask)
        before = self._state_before(t, len(frames_lidar_t), context.agents, self._kept if state is None else state)
        step = self.step(frames_lidar_t, before, context, teacher_forcing)
        if state is not None:
            return step
        self._kept = step.state if keep_graph else step.state.detach()
        return step.occ_logits

    def _state_before(self, t: FrameNumber, batch: int, agents: int | None, latest: MemoryState | None) -> MemoryState:
        """Return the state before frame t: the latest one, empty for the items that are at their first frame."""
        is_first = first_frames(t, batch)
        if all(is_first):
            return self.initial_state(batch, agents)
        if latest is None:
            raise ValueError(
                "forward_step: t > 0, but there is no memory of an earlier frame; begin with t = 0, "
                "or pass state, such as initial_state(batch)"
            )
        if not any(is_first):
            return latest
        empty = self.initial_state(batch, agents)
        if latest.hidden.shape != empty.hidden.shape:
            raise ValueError(f"state.hidden: expected {list(empty.hidden.shape)}, got {list(latest.hidden.shape)}")
        return empty.where(torch.tensor(is_first, device=empty.frames.device), latest)

    def step(
        self, frames_lidar_t: Tensor, state: MemoryState, context: FrameContext, teacher_forcing: float = 1.0
    ) -> MemoryStep:
        """Run one frame without a head: ``read``, then ``write``.

        Args:
            frames_lidar_t: BEV features [B, C_bev, H, W].
            state: State before the frame; it is not changed.
            context: Motion, time and masks of the frame.
            teacher_forcing: Share of the items whose true masks are written, in training.

        Raises:
            ValueError: Shapes that don't fit together.
        """
        step, frame = self.read(frames_lidar_t, state, context)
        return replace(step, state=self.write(step.state, frame, teacher_forcing=teacher_forcing))

    def read(
        self, frames_lidar_t: Tensor, state: MemoryState, context: FrameContext
    ) -> tuple[MemoryStep, UnwrittenFrame]:
        """Run a frame up to its writing: align, read, decode.

        The masks of a frame reach the state that is returned, never its logits: a new agent counts in the occupancy
        of the frames after the first that is written with it. At inference true masks are ignored, and the agents are
        those of ``state.slots``.

        Args:
            frames_lidar_t: BEV features [B, C_bev, H, W].
            state: State before the frame; it is not changed.
            context: Motion, time and masks of the frame.

        Returns:
            The step, whose state the frame is still to be written to, and what is written of it.

        Raises:
            ValueError: Shapes that don't fit together.
        """
        if self.training:
            context = context.pooled(self.grid.height, self.grid.width)
        self._check_shapes(frames_lidar_t, state, context)

        # Align the memory with the frame
        elapsed = self._elapsed(state, context.timestamp)
        state = align_state(state, context.prev_from_frame, elapsed, self.grid, self.motion)
        occupied = state.slots.occupied

        # Read the tokens that are near and young enough
        features = self.features(frames_lidar_t.float())
        keys = self.project(features)
        readout, tokens = self._read_tokens(keys, self._forget(state.tokens))

        # Decode the occupancy and update the sensory memory
        decoded = self.decode(features, readout, state.hidden)
        logits = decoded.logits
        occ_logits = combine_slots(logits, occupied)
        combined = combine_readouts(torch.cat((decoded.features, decoded.sensed), dim=2), logits, occupied)

        # Ask whether the remembered objects are still there
        if self.presence is not None and state.objects is not None:
            visibility = context.visibility
            if visibility is None:
                visibility = combined.new_zeros(len(combined), VISIBILITY_CHANNELS, *combined.shape[-2:])
            presence = self.presence(combined, visibility, state.objects, self.grid)
            state = replace(state, objects=replace(state.objects, presence=presence))

        timestamp = state.timestamp if context.timestamp is None else context.timestamp
        state = replace(state, tokens=tokens, hidden=decoded.hidden, frames=state.frames + 1, timestamp=timestamp)
        frame = UnwrittenFrame(features, keys, logits, occ_logits, elapsed, context)
        return MemoryStep(occ_logits, combined, state), frame

    def write(
        self,
        state: MemoryState,
        frame: UnwrittenFrame,
        found: FoundObjects | None = None,
        teacher_forcing: float = 1.0,
    ) -> MemoryState:
        """Write a frame to the working memory and deeply update the sensory memory, each where it is due.

        Args:
            state: State after ``read``.
            frame: What is written of the frame, from ``read``.
            found: What the head found in the frame; None: there was no head.
            teacher_forcing: Share of the items of which what is true is written, in training.

        Returns:
            The state after the frame.
        """
        cfg, occupied, elapsed = self.cfg, state.slots.occupied, frame.elapsed

        # Encode the masks, and what was found
        is_taught = self._draw_taught(frame, teacher_forcing)
        masks, present = self._masks_to_write(frame.logits, state.slots, frame.context, is_taught)
        inputs, velocity = self._with_findings(frame, found, is_taught)
        value, deep_hidden = self.encode_value(inputs, masks, state.hidden)

        # Write it where it is due
        write, since_write = advance_clock(state.since_write, cfg.MEM_EVERY, elapsed)
        deep, since_deep_update = write, since_write
        if cfg.DEEP_UPDATE_EVERY is not None:
            deep, since_deep_update = advance_clock(state.since_deep_update, cfg.DEEP_UPDATE_EVERY, elapsed)
        known = torch.where(write[:, None], present, occupied & present)
        hidden = torch.where(deep[:, None, None, None, None], deep_hidden, state.hidden)

        tokens, frames = state.tokens.keep_agents(present), state.working_frames
        importance = masks if cfg.FOREGROUND.BY == "mask" else frame.occ_logits.sigmoid()
        fresh = self._tokens(frame.keys, value, velocity, importance).keep_agents(present)
        written, frames_written = write_frame(tokens, fresh, frames, cfg, draw=state.frames, sigma=self._sigma())
        return replace(
            state,
            hidden=hidden * known[:, :, None, None, None],
            tokens=written.where(write, tokens),
            slots=replace(state.slots, occupied=known),
            working_frames=torch.where(write, frames_written, frames),
            since_write=since_write,
            since_deep_update=since_deep_update,
        )

    def _check_shapes(self, features: Tensor, state: MemoryState, context: FrameContext) -> None:
        batch, agents = state.hidden.shape[:2]
        grid, memory = self.feature_grid, self.grid
        capacity = self.cfg.LONG_TERM.MAX_TOKENS + self.working_capacity
        expected = {
            "frames_lidar_t": (features, (batch, self.features[0].in_channels, grid.height, grid.width)),
            "state.hidden": (state.hidden, (batch, agents, self.cfg.HIDDEN_DIM, memory.height, memory.width)),
            "state.tokens.value": (state.tokens.value, (batch, agents, self.cfg.VALUE_DIM, capacity)),
        }
        if self.training and context.true_masks is not None:
            expected["masks"] = (context.true_masks, (batch, agents, memory.height, memory.width))
        for name, (tensor, shape) in expected.items():
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name}: expected {list(shape)}, got {list(tensor.shape)}")

    def _elapsed(self, state: MemoryState, timestamp: Tensor | None) -> Tensor:
        """Seconds [B] since the state's frame, 0 in a first one."""
        if timestamp is None:
            return torch.zeros_like(state.since_write)
        elapsed = timestamp - state.timestamp
        return torch.where(elapsed.isnan(), 0.0, elapsed).to(state.since_write.dtype)

    def _forget(self, tokens: TokenStore) -> TokenStore:
        """Drop tokens that are too far away or too old."""
        valid = tokens.valid
        if self.cfg.FORGET_BEYOND is not None:
            valid = valid & (tokens.position.norm(dim=1) <= self.cfg.FORGET_BEYOND)
        if self.cfg.FORGET_AFTER is not None:
            valid = valid & (tokens.age <= self.cfg.FORGET_AFTER)
        return replace(tokens, valid=valid)

    def _read_tokens(self, keys: FrameKeys, tokens: TokenStore) -> tuple[Tensor, TokenStore]:
        """Return the frame's readout [B, A, C_v, H_m·W_m], and the store with the read counted."""
        sigma, positions = self._sigma(), None
        if sigma is not None:
            token_positions = tokens.position.to(keys.key.dtype) / sigma
            positions = Positions(self.centres.expand(len(keys.key), -1, -1) / sigma, token_positions)
        age = None if self.log_age is None else tokens.age / self.log_age.exp()
        read, counted = read_store(
            tokens,
            keys.key,
            keys.selection,
            top_k=self.cfg.TOP_K,
            positions=positions,
            age=age,
            nothing=self.nothing,
        )
        return read.value + read.nothing[:, :, None] * self.empty_readout[:, None].float(), counted

    def _draw_taught(self, frame: UnwrittenFrame, teacher_forcing: float) -> Tensor:
        """Draw the items [B] bool of which what is true is written; none at inference, or if nothing true is given."""
        batch, device, context = len(frame.logits), frame.logits.device, frame.context
        if not self.training or (context.true_masks is None and context.true_objects is None):
            return torch.zeros(batch, dtype=torch.bool, device=device)
        return torch.rand(batch, device=device) < teacher_forcing

    def _with_findings(
        self, frame: UnwrittenFrame, found: FoundObjects | None, is_taught: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the features with the map of what was found, and the tokens' velocities [B, 3, H_m·W_m].

        Of the items [B] that are taught it is what is true. Without findings the features are returned as they are.
        """
        features, true_objects = frame.features, frame.context.true_objects
        if self.cfg.WRITE == "occupancy":
            return features, None
        if found is None:
            found = FoundObjects.empty(len(features), features.device)
        if self.training and true_objects is not None:
            found = teach(found, true_objects, is_taught)
        findings = rasterise_findings(found.detach(), self.classes, self.grid)
        return torch.cat((features, findings.to(features.dtype)), dim=1), found_velocity(findings)

    def _masks_to_write(
        self, logits: Tensor, slots: AgentSlots, context: FrameContext, is_taught: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the masks [B, A, H_m, W_m] that go into the values, and which slots hold an agent from now on [B, A].

        These are the model's own masks, and the true ones for the items [B] that are taught. A new agent always uses
        its given mask.
        """
        true_masks, valids_mask = context.true_masks, context.valids_mask
        if not self.training:
            true_masks, valids_mask = slot_masks(slots, self.grid), slots.alive
        own, occupied = logits.sigmoid(), slots.occupied
        is_scene = torch.arange(occupied.shape[1], device=occupied.device) == 0
        present = occupied if true_masks is None else torch.ones_like(occupied)
        present = is_scene | (present if valids_mask is None else valids_mask)
        if true_masks is None:
            return own, present
        forced = present & ~occupied | is_taught[:, None]
        masks = torch.where(forced[:, :, None, None], true_masks.to(own.dtype), own)
        return masks * present[:, :, None, None], present

    def _tokens(self, keys: FrameKeys, value: Tensor, velocity: Tensor | None, importance: Tensor) -> TokenStore:
        """Return the frame's tokens, at most FOREGROUND.TOKENS of the most important cells [B, A, H_m, W_m]."""
        batch, cells = value.shape[0], value.shape[3]
        importance = importance.detach().amax(dim=1).flatten(1)
        unread = torch.zeros_like(keys.shrinkage[:, 0])
        tokens = TokenStore(
            key=keys.key,
            shrinkage=keys.shrinkage,
            selection=keys.selection,
            value=value,
            has_value=torch.ones_like(value[:, :, 0], dtype=torch.bool),
            position=self.centres.double().expand(batch, -1, -1),
            age=unread,
            usage=unread,
            life=unread,
            valid=importance >= self.cfg.FOREGROUND.MIN,
            velocity=velocity,
        )
        if self.tokens_per_frame == cells:
            return tokens
        best_first = importance.argsort(dim=1, descending=True, stable=True)
        return tokens.gather(best_first[:, : self.tokens_per_frame].sort(dim=1).values)

    def _sigma(self) -> Tensor | None:
        """Metres [] at which similarity has fallen by ½, if the read uses distances."""
        return None if self.log_distance is None else self.log_distance.exp()

    def _centres(self) -> Tensor:
        """Positions [1, 3, H_m·W_m] of the memory's cells, at the height of the sensor."""
        centres = self.grid.centres().flatten(0, 1).T
        return torch.cat((centres, torch.zeros_like(centres[:1])))[None]


_FILE_NAMES = {"empty_readout": "nothing_read"}
"""Renamed parameters, and the names that files keep for them."""


def _rename_for_files(module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    for name, file_name in _FILE_NAMES.items():
        state_dict[prefix + file_name] = state_dict.pop(prefix + name)


def _rename_from_files(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, file_name in _FILE_NAMES.items():
        if prefix + file_name in state_dict:
            state_dict[prefix + name] = state_dict.pop(prefix + file_name)


def _log_scale(size: float | None) -> nn.Parameter | None:
    """A positive scale to be learnt, by its logarithm []."""
    return None if size is None else nn.Parameter(torch.tensor(math.log(size)))
