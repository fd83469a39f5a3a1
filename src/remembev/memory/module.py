"""The memory as a stage of the detector: finds the state of each scene, steps, gates the features, keeps the state."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory.state import MemoryState
from remembev.memory.wrapper import XMemBackboneWrapper

ClipKey = tuple[str, int]


class SceneMemories:
    """States by scene token, the least recently used forgotten first.

    Two clips of one scene in the same batch are two memories: the key counts how often a token occurred before.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._states: OrderedDict[ClipKey, MemoryState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, scene_token: str) -> bool:
        return any(token == scene_token for token, _ in self._states)

    def get(self, key: ClipKey) -> MemoryState | None:
        """The state of a clip, if it is remembered."""
        return self._states.get(key)

    def put(self, states: dict[ClipKey, MemoryState]) -> None:
        """Keep the states of a batch; a batch larger than the limit is kept whole."""
        for key, state in states.items():
            self._states[key] = state
            self._states.move_to_end(key)
        while len(self._states) > max(self.limit, len(states)):
            self._states.popitem(last=False)

    def forget(self, scene_token: str | None = None) -> None:
        """Forget one scene, or all of them."""
        if scene_token is None:
            self._states.clear()
        for key in [key for key in self._states if key[0] == scene_token]:
            del self._states[key]


def clip_keys(scene_token: Sequence[str]) -> list[ClipKey]:
    """One key for each item of a batch, different even where scene tokens are the same."""
    seen: Counter[str] = Counter()
    keys = []
    for token in map(str, scene_token):
        keys.append((token, seen[token]))
        seen[token] += 1
    return keys


class XMemBEVModule(nn.Module):
    """Gates BEV features with the occupancy that the memory of their scene gives."""

    def __init__(self, cfg: MemoryConfig, in_channels: int, memory_grid: BEVGrid) -> None:
        super().__init__()
        self.xmem = XMemBackboneWrapper(cfg, in_channels, memory_grid)
        self.memories = SceneMemories(cfg.MAX_SCENES)

    def forward(
        self,
        spatial_features_2d: Tensor,
        scene_token: Sequence[str],
        t: int,
        *,
        scene_masks: Tensor | None = None,
        agent_masks: Tensor | None = None,
        valids_mask: Tensor | None = None,
        prev_from_frame: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One frame of every scene of a batch.

        spatial_features_2d  [B, C_bev, H, W]
        scene_token          [B]; at t = 0, and for scenes not met before, the memory starts empty
        returns              gated features [B, C_bev, H, W], occ_logits [B, 1, H_m, W_m]

        Training steps the batch at once. At inference each scene steps by itself: kernels round differently for other
        batch sizes, and what a scene gives must not depend, to the last bit, on who shares its batch.
        """
        keys = clip_keys(scene_token)
        together = [slice(0, len(keys))] if self.training else [slice(i, i + 1) for i in range(len(keys))]
        optional = (scene_masks, agent_masks, valids_mask, prev_from_frame)
        states: dict[ClipKey, MemoryState] = {}
        gated, occ_logits = [], []
        for rows in together:
            features = spatial_features_2d[rows]
            scenes, agents, valids, motion = (None if part is None else part[rows] for part in optional)
            state = self._states(keys[rows], t, 1 if agents is None else agents.shape[1])
            step = self.xmem.forward_step(t, features, scenes, agents, valids, state=state, prev_from_frame=motion)
            states |= dict(zip(keys[rows], step.state.split(), strict=True))
            gated.append(features * self.gate(step.occ_logits, features))
            occ_logits.append(step.occ_logits)
        self.memories.put(states)
        return torch.cat(gated), torch.cat(occ_logits)

    @staticmethod
    def gate(occ_logits: Tensor, spatial_features_2d: Tensor) -> Tensor:
        """σ of the logits [B, 1, H_m, W_m], resized to the features' [B, 1, H, W]."""
        resized = F.interpolate(occ_logits, spatial_features_2d.shape[-2:], mode="bilinear", align_corners=False)
        return resized.sigmoid().to(spatial_features_2d.dtype)

    def _states(self, keys: list[ClipKey], t: int, agents: int) -> MemoryState:
        known = [None if t == 0 else self.memories.get(key) for key in keys]
        return MemoryState.stack([self.xmem.initial_state(1, agents) if state is None else state for state in known])
