"""XMem on BEV features: one pure step from a frame and a state to occupancy logits and the next state."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory.alignment import align_state
from remembev.memory.layers import Decoder, KeyProjection, ValueEncoder
from remembev.memory.state import MemoryState, TokenStore
from remembev.ops.memory_read import read_memory


@dataclass(frozen=True)
class MemoryStep:
    """What a step gives: the occupancy of the frame and what is remembered from now on."""

    occ_logits: Tensor  # [B, 1, H_m, W_m] float32
    state: MemoryState


def combine_slots(logits: Tensor, valids_mask: Tensor) -> Tensor:
    """Logit [B, 1, H, W] that any of the agents [B, A, H, W] with a valid slot [B, A] is there: 1 − Π (1 − p_a).

    In logits: with s = Σ softplus(l_a), the odds are exp(s) − 1. One slot gives back its own logit.
    """
    if logits.shape[1] == 1:
        return logits
    log_free = (F.softplus(logits) * valids_mask[:, :, None, None]).sum(dim=1, keepdim=True).clamp(min=1e-6)
    return log_free + torch.log(-torch.expm1(-log_free))


class XMemBackboneWrapper(nn.Module):
    """XMem's networks and stores on BEV features (Cheng & Schwing, ECCV 2022)."""

    centres: Tensor

    def __init__(self, cfg: MemoryConfig, in_channels: int, grid: BEVGrid) -> None:
        """``grid`` is the memory's own: H_m × W_m cells, ``cfg.STRIDE`` times coarser than the features'."""
        super().__init__()
        self.cfg = cfg
        self.grid = grid
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, cfg.FEATURE_DIM, kernel_size=cfg.STRIDE, stride=cfg.STRIDE, bias=False),
            nn.GroupNorm(1, cfg.FEATURE_DIM),
        )
        self.project = KeyProjection(cfg.FEATURE_DIM, cfg.KEY_DIM)
        self.decode = Decoder(cfg.FEATURE_DIM, cfg.VALUE_DIM, cfg.HIDDEN_DIM, cfg.GATE_BIAS)
        self.encode_value = ValueEncoder(cfg.FEATURE_DIM, cfg.VALUE_DIM, cfg.HIDDEN_DIM)
        self.nothing_read = nn.Parameter(torch.zeros(cfg.VALUE_DIM))
        self.register_buffer("centres", self._centres(), persistent=False)

    def initial_state(self, batch: int, agents: int = 1) -> MemoryState:
        """The state before the first frame: nothing seen, nothing stored."""
        cfg, device = self.cfg, self.nothing_read.device
        capacity = cfg.MAX_FRAMES * self.grid.height * self.grid.width
        return MemoryState(
            hidden=torch.zeros(batch, agents, cfg.HIDDEN_DIM, self.grid.height, self.grid.width, device=device),
            working=TokenStore.empty(batch, agents, cfg.KEY_DIM, cfg.VALUE_DIM, capacity, device),
            frames=torch.zeros(batch, dtype=torch.int64, device=device),
        )

    def forward_step(
        self,
        t: int,
        frames_lidar_t: Tensor,
        scene_masks: Tensor | None = None,
        agent_masks: Tensor | None = None,
        valids_mask: Tensor | None = None,
        *,
        state: MemoryState | None = None,
        prev_from_frame: Tensor | None = None,
    ) -> MemoryStep:
        """One frame: align, read, decode the occupancy; only then write. The input state is left as it was.

        t                frame number; at 0 the memory starts empty, whatever ``state`` is
        frames_lidar_t   BEV features of frame t [B, C_bev, H, W]
        scene_masks      true occupancy of frame t [B, 1, H_m, W_m], for teacher forcing in training only
        agent_masks      the same an agent a slot [B, A, H_m, W_m]; without it the scene is the one slot
        valids_mask      which slots hold an agent [B, A]
        prev_from_frame  takes coordinates of frame t into those of the state's frame [B, 4, 4]; None: the same

        The masks of frame t reach the state that is returned, never its own logits.
        """
        batch = frames_lidar_t.shape[0]
        true_masks = scene_masks if agent_masks is None else agent_masks
        agents = 1 if true_masks is None else true_masks.shape[1]
        if state is None or t == 0:
            state = self.initial_state(batch, agents)
        if prev_from_frame is not None:
            state = align_state(state, prev_from_frame, self.grid)

        features = self.features(frames_lidar_t)
        key, shrinkage, selection = self.project(features)
        readout, working = self._read(key, selection, state.working)
        logits, hidden = self.decode(features, readout, state.hidden)
        if valids_mask is None:
            valids_mask = torch.ones(batch, agents, dtype=torch.bool, device=logits.device)

        masks = self._masks_to_write(logits, true_masks) * valids_mask[:, :, None, None]
        value, deep_hidden = self.encode_value(features, masks, hidden)
        write = state.frames % self.cfg.MEM_EVERY == 0
        tokens = self._tokens(key, shrinkage, selection, value)
        return MemoryStep(
            occ_logits=combine_slots(logits, valids_mask),
            state=MemoryState(
                hidden=torch.where(write[:, None, None, None, None], deep_hidden, hidden),
                working=working.append(tokens, write),
                frames=state.frames + 1,
            ),
        )

    def _read(self, key: Tensor, selection: Tensor, store: TokenStore) -> tuple[Tensor, TokenStore]:
        """What the frame reads [B, A, C_v, H_m·W_m], and the store with the read counted in usage and life."""
        with torch.autocast(key.device.type, enabled=False):
            readout, usage = read_memory(
                key, selection, store.key, store.shrinkage, store.value, store.valid, top_k=self.cfg.TOP_K
            )
        is_empty = ~store.valid.any(dim=1)
        readout = torch.where(is_empty[:, None, None, None], self.nothing_read[:, None].float(), readout)
        return readout, replace(store, usage=store.usage + usage.detach(), life=store.life + store.valid)

    def _masks_to_write(self, logits: Tensor, true_masks: Tensor | None) -> Tensor:
        """Masks [B, A, H_m, W_m] that go into the value: the model's own, in training at times the true ones."""
        own = logits.sigmoid()
        if not self.training or true_masks is None:
            return own
        forced = torch.rand(len(own), device=own.device) < self.cfg.TEACHER_FORCING
        return torch.where(forced[:, None, None, None], true_masks.to(own.dtype), own)

    def _tokens(self, key: Tensor, shrinkage: Tensor, selection: Tensor, value: Tensor) -> TokenStore:
        batch, count = key.shape[0], key.shape[2]
        unread = key.new_zeros(batch, count)
        return TokenStore(
            key=key,
            shrinkage=shrinkage,
            selection=selection,
            value=value,
            position=self.centres.expand(batch, -1, -1),
            usage=unread,
            life=unread,
            valid=torch.ones_like(unread, dtype=torch.bool),
        )

    def _centres(self) -> Tensor:
        """Positions [1, 3, H_m·W_m] of the memory's cells, at the height of the sensor."""
        centres = self.grid.centres().flatten(0, 1).T
        return torch.cat((centres, torch.zeros_like(centres[:1])))[None]
