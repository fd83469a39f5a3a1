"""Engines: a pure step from a frame and a memory to boxes and the next memory.

``StreamingDetector`` decides which frame follows which; an engine detects on it. ``ModelEngine`` runs the model in
PyTorch, ``remembev.export`` runs exported files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import torch
from torch import Tensor

from remembev.batch import FrameBatch
from remembev.config import Config
from remembev.memory import gate
from remembev.models import Detections, TemporalPointPillar, fuse_for_inference
from remembev.precision import resolve_precision, warn_of_slow_bf16
from remembev.structs import TensorStruct

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def dtype_of(precision: str, device: str) -> torch.dtype:
    """Return the dtype of ``fp32``, ``bf16`` or ``auto`` on a device; see ``resolve_precision``."""
    return _DTYPES[resolve_precision(precision, torch.device(device))]


@dataclass(frozen=True)
class StepOutput:
    """Output of a step. Without an XMem memory there are no maps."""

    detections: Detections  # in the LiDAR frame, on the CPU
    occupancy: Tensor | None  # [H_m, W_m] in [0, 1], on the CPU
    gate: Tensor | None  # [H, W] in [0, 1], on the CPU
    memory: TensorStruct  # the next memory


class Engine(Protocol):
    """A pure step: it stores nothing and changes no memory in place."""

    @property
    def cfg(self) -> Config:
        """Configuration of the model."""

    @property
    def device(self) -> torch.device:
        """Device of the model."""

    @property
    def weights(self) -> str:
        """Digest of the model's weights: engines with equal digests can exchange memories."""

    def initial_state(self) -> TensorStruct:
        """Return the memory before the first frame."""

    def step(self, points: Tensor, prev_from_frame: Tensor, timestamp: Tensor, memory: TensorStruct) -> StepOutput:
        """Run one frame of one scene.

        Args:
            points: [N, 5] float32 in range, at least one.
            prev_from_frame: [1, 4, 4] float32, takes coordinates of this frame to those of the memory.
            timestamp: [1] float64, seconds.
            memory: The memory of the previous step, or the initial one.
        """


class ModelEngine:
    """Runs a copy of a model in PyTorch; later training of the model has no effect on it."""

    def __init__(
        self, model: TemporalPointPillar, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        """Create an engine on ``device`` whose backbone and head run in ``dtype``, float32 or bfloat16."""
        self.device = torch.device(device)
        if dtype == torch.bfloat16:
            warn_of_slow_bf16(self.device)
        self.weights = digest(model.state_dict())
        self.model = fuse_for_inference(model, dtype).to(self.device)

    @property
    def cfg(self) -> Config:
        """Configuration of the model."""
        return self.model.cfg

    def initial_state(self) -> TensorStruct:
        """Return the memory before the first frame."""
        state: TensorStruct = self.model.memory.initial_state(1)
        return state

    @torch.inference_mode()
    def step(self, points: Tensor, prev_from_frame: Tensor, timestamp: Tensor, memory: TensorStruct) -> StepOutput:
        """Run one frame of one scene; see ``Engine``."""
        frame = FrameBatch(
            points=points[None].to(self.device),
            num_points=torch.tensor([len(points)], device=self.device),
            timestamp=timestamp.to(self.device),
            prev_from_frame=prev_from_frame.to(self.device),
        )
        output, memory = self.model.step(frame, memory)
        detections = self.model.detect(output)[0].to("cpu")
        return StepOutput(detections, *self._maps(output.occ_logits), memory)

    def _maps(self, occ_logits: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if occ_logits is None:
            return None, None
        grid = self.cfg.feature_grid
        gate_map = gate(occ_logits, occ_logits.new_empty(1, 1, grid.height, grid.width))
        return occ_logits[0, 0].sigmoid().cpu(), gate_map[0, 0].cpu()


def digest(weights: Mapping[str, Tensor]) -> str:
    """Return the sha256 of weights and their names, in hexadecimal digits."""
    checksum = sha256()
    for name, tensor in sorted(weights.items()):
        checksum.update(name.encode())
        checksum.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return checksum.hexdigest()
