"""``XMemBEVModule``: gates BEV features with the occupancy that the memory of their scene gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory.base import BEVMemory, FrameContext, FrameRead
from remembev.memory.fusion import GatedConv, Upsample, gate, partly_open
from remembev.memory.losses import ramp
from remembev.memory.objects import FoundObjects, ObjectMemory, merge_found
from remembev.memory.slots import update_slots
from remembev.memory.state import MemoryState
from remembev.memory.wrapper import MemoryStep, UnwrittenFrame, XMemBackboneWrapper


class XMemBEVModule(BEVMemory[MemoryState]):
    """XMem memory whose occupancy gates the features: f ⊙ σ(resize(occ_logits)).

    ``FUSION`` may add the readout to the product (``…_and_read``), and may replace the product by the features plus a
    projection of it (``gate_residual…``).
    """

    def __init__(
        self,
        cfg: MemoryConfig,
        in_channels: int,
        feature_grid: BEVGrid,
        agents: int = 1,
        class_names: Sequence[str] = ("object",),
    ) -> None:
        """Create a memory of features [B, in_channels, H, W] on ``feature_grid`` with ``agents`` slots.

        ``class_names`` are the classes of the objects that are found.
        """
        super().__init__(cfg.MAX_SCENES)
        self.cfg = cfg
        self.xmem = XMemBackboneWrapper(cfg, in_channels, feature_grid, agents, class_names)
        self.visibility_grid = self.xmem.grid if cfg.OBJECTS is not None else None
        readout, stride = cfg.FEATURE_DIM + cfg.HIDDEN_DIM, cfg.stride(feature_grid)
        self.add_gated = GatedConv(in_channels) if cfg.FUSION.startswith("gate_residual") else None
        self.add_read = Upsample(readout, in_channels, stride) if cfg.FUSION.endswith("and_read") else None

    def initial_state(self, batch: int, agents: int | None = None) -> MemoryState:
        """Return the state of empty stores."""
        return self.xmem.initial_state(batch, agents)

    def _read_batch(
        self, features: Tensor, state: MemoryState, context: FrameContext, progress: float
    ) -> FrameRead[MemoryState]:
        step, unwritten = self.xmem.read(features, state, context)
        strength = ramp(progress, 0.0, 1.0, self.cfg.GATE_RAMP) if self.training else 1.0
        return FrameRead(self._fuse(features, step, strength), step.occ_logits, step.state, unwritten)

    def _write_batch(self, read: FrameRead[MemoryState], found: FoundObjects | None, progress: float) -> MemoryState:
        assert isinstance(read.unwritten, UnwrittenFrame)
        forcing = self.cfg.TEACHER_FORCING
        teacher_forcing = ramp(progress, forcing.START, forcing.END, forcing.DURING)
        return self.xmem.write(read.state, read.unwritten, found, teacher_forcing)

    def _fuse(self, features: Tensor, step: MemoryStep, strength: float) -> Tensor:
        """Return the features [B, C_bev, H, W] changed by the gate, applied with ``strength``, and by the readout."""
        opened = gate(step.occ_logits, features)
        read = None if self.add_read is None else self.add_read(_laid_out_as(features, step.readout))
        if self.add_gated is None:
            opened = partly_open(opened, strength)
            return features * opened if read is None else torch.addcmul(read.to(features.dtype), features, opened)
        change = self.add_gated(features.float(), opened.float())
        change = change if read is None else change + read
        return features + change.to(features.dtype)

    @property
    def remembers_found(self) -> bool:
        """True with findings or remembered objects, and at inference with agent slots."""
        writes_found = self.cfg.OBJECTS is not None or self.cfg.WRITE == "findings"
        return writes_found or (self.xmem.agents > 1 and not self.training)

    def remember(self, state: MemoryState, found: FoundObjects) -> tuple[FoundObjects, MemoryState]:
        """Assign what was found to agent slots, and merge it with the remembered objects; see ``BEVMemory``."""
        if not self.training:
            count = (found.labels >= 0).sum(dim=1)
            slots = update_slots(state.slots, found.boxes, found.scores, count, self.cfg.AGENTS)
            state = replace(state, slots=slots)
        if state.objects is not None and self.cfg.OBJECTS is not None and self.xmem.motion is not None:
            found, objects = merge_found(state.objects, found, self.xmem.grid, self.cfg.OBJECTS, self.xmem.motion)
            state = replace(state, objects=objects)
        return found, state

    def objects(self, state: MemoryState) -> ObjectMemory | None:
        """Return the remembered objects of a state, if there are any."""
        return state.objects


def _laid_out_as(example: Tensor, maps: Tensor) -> Tensor:
    """Return maps [B, C', H', W'] with channels last in memory if those of the example are: mixed passes are slow."""
    is_last = example.is_contiguous(memory_format=torch.channels_last)
    return maps.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)
