"""What a stream runs on: one frame and what is remembered in, boxes and what is remembered from now on out.

``StreamingDetector`` says which frame follows which; an engine says what is on it. The model in PyTorch is one, an
exported file (``remembev.export``) another.
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
from remembev.structs import TensorStruct

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What backbone and head may work in, by the names that the configuration and the command line use."""


@dataclass(frozen=True)
class StepOutput:
    """What a frame gives. Without an XMem memory there are no maps."""

    detections: Detections  # in the LiDAR frame, on the CPU
    occupancy: Tensor | None  # [H_m, W_m] in [0, 1], on the CPU
    gate: Tensor | None  # [H, W] in [0, 1], on the CPU
    memory: TensorStruct  # what is remembered from now on


class Engine(Protocol):
    """A pure step from a frame and a memory to boxes and the next memory; it keeps nothing, and changes no memory."""

    @property
    def cfg(self) -> Config:
        """The configuration of its model."""

    @property
    def device(self) -> torch.device:
        """Where it works."""

    @property
    def weights(self) -> str:
        """Digest of the model's weights: engines with the same one understand each other's memories."""

    def initial_state(self) -> TensorStruct:
        """The memory before a first frame."""

    def step(self, points: Tensor, prev_from_frame: Tensor, timestamp: Tensor, memory: TensorStruct) -> StepOutput:
        """One frame of one scene.

        points           [N, 5] float32 in range, at least one
        prev_from_frame  [1, 4, 4] float32, takes coordinates of this frame to those of the memory's
        timestamp        [1] float64, seconds
        memory           the ``memory`` of the step before, or the initial one
        """


class ModelEngine:
    """A model in PyTorch, as it is when the engine is made: training it on changes nothing here."""

    def __init__(
        self, model: TemporalPointPillar, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        """An engine on ``device`` whose backbone and head work in ``dtype``, float32 or bfloat16."""
        self.device = torch.device(device)
        self.weights = digest(model.state_dict())
        self.model = fuse_for_inference(model, dtype).to(self.device)

    @property
    def cfg(self) -> Config:
        """The model's configuration."""
        return self.model.cfg

    def initial_state(self) -> TensorStruct:
        """The memory before a first frame."""
        state: TensorStruct = self.model.memory.initial_state(1)
        return state

    @torch.inference_mode()
    def step(self, points: Tensor, prev_from_frame: Tensor, timestamp: Tensor, memory: TensorStruct) -> StepOutput:
        """One frame of one scene; see ``Engine``."""
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
        opened = gate(occ_logits, occ_logits.new_empty(1, 1, grid.height, grid.width))
        return occ_logits[0, 0].sigmoid().cpu(), opened[0, 0].cpu()


def digest(weights: Mapping[str, Tensor]) -> str:
    """The sha256 of weights with their names, in hexadecimal digits."""
    found = sha256()
    for name, tensor in sorted(weights.items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
