"""The streaming step as one function of tensors of fixed shapes, as it is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from remembev.batch import FrameBatch
from remembev.errors import ExportError
from remembev.memory import FrameContext, gate
from remembev.memory.objects import FoundObjects
from remembev.models import TemporalPointPillar
from remembev.models.fused import fuse_for_inference

FRAME = ("points", "num_points", "prev_from_frame", "elapsed")
"""Inputs of a frame, before those of the state."""
DETECTIONS = ("boxes", "scores", "labels", "num_boxes")
"""Outputs of a frame, before its maps and the next state."""
MAPS = ("occupancy", "gate")
"""Outputs of a frame with an XMem memory."""


class StreamingStep(nn.Module):
    """Points and state to boxes and the next state, for one scene.

    Time is relative: the input is the seconds since the frame before, so that the program never rounds a time of day.
    The caller keeps the timestamps.
    """

    def __init__(self, model: TemporalPointPillar, dtype: torch.dtype = torch.float32) -> None:
        """Create the step of a copy of ``model`` with backbone and head in ``dtype``.

        Raises:
            ExportError: A model that can't be exported.
        """
        super().__init__()
        filters = model.cfg.MODEL.VFE.NUM_FILTERS
        if len(filters) > 1:
            raise ExportError(f"MODEL.VFE.NUM_FILTERS: {list(filters)}: only encoders of one layer can be exported")
        self.model = fuse_for_inference(model, dtype)
        self.empty = self.model.memory.initial_state(1)
        self.state = {name: tensor for name, tensor in self.empty.named().items() if name != "timestamp"}

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in order."""
        return [*FRAME, *(f"state.{name}" for name in self.state)]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in order."""
        maps = MAPS if "tokens.key" in self.state else ()
        return [*DETECTIONS, *maps, *(f"next.{name}" for name in self.state)]

    def example(self, max_points: int) -> tuple[Tensor, ...]:
        """Return example inputs, a first frame without points.

        Each is a tensor of its own: ``torch.export`` takes several inputs that are one tensor for one input.
        """
        device = next(self.model.parameters()).device
        frame = (
            torch.zeros(1, max_points, 5, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
            torch.eye(4, device=device)[None],
            torch.zeros(1, device=device),
        )
        return (*frame, *(tensor.clone() for tensor in self.state.values()))

    def forward(
        self,
        points: Tensor,  # [1, N, 5] x, y, z, intensity, age
        num_points: Tensor,  # [1] int64, how many rows are real
        prev_from_frame: Tensor,  # [1, 4, 4]
        elapsed: Tensor,  # [1] seconds since the frame before, 0 in a first one
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return boxes [K, 9], scores [K], labels [K], num_boxes [1]; occupancy [H_m, W_m], gate [H, W]; next state."""
        model, named = self.model, dict(zip(self.state, state, strict=True))
        named["timestamp"] = torch.zeros_like(elapsed, dtype=torch.float64)
        frame = FrameBatch(points, num_points, prev_from_frame=prev_from_frame, timestamp=elapsed.double())
        features = model.backbone_2d(model.to_bev(points, num_points))
        context = FrameContext.of(frame, model.memory.visibility_grid)
        read = model.memory.read(features, self.empty.with_named(named), context)
        padded = model.dense_head.predict_padded(model.dense_head(read.features), model.cfg.MODEL.POST_PROCESSING)
        found = FoundObjects(padded.boxes, padded.scores, padded.labels)
        found, memory = model.remember(model.memory.write(read, found), found)
        occ_logits = read.occ_logits
        maps = () if occ_logits is None else (occ_logits[0, 0].sigmoid(), gate(occ_logits, features)[0, 0])
        next_state = [memory.named()[name] for name in self.state]
        num_boxes = ((found.labels >= 0) & (found.scores >= model.cfg.MODEL.POST_PROCESSING.SCORE_THRESH)).sum(dim=1)
        return found.boxes[0], found.scores[0], found.labels[0], num_boxes, *maps, *_distinct(next_state)


def _distinct(tensors: list[Tensor]) -> list[Tensor]:
    """Clone repeated tensors: each output of an exported program has one name."""
    return [
        tensor.clone() if any(tensor is earlier for earlier in tensors[:i]) else tensor
        for i, tensor in enumerate(tensors)
    ]
