"""The streaming step as one function of tensors of fixed shapes, which is what an exported file holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from remembev.errors import ExportError
from remembev.memory import FrameContext, gate
from remembev.models import TemporalPointPillar
from remembev.models.fused import fuse_for_inference

FRAME = ("points", "num_points", "prev_from_frame", "elapsed")
"""Inputs of a frame, before those of the state."""
FOUND = ("boxes", "scores", "labels", "num_boxes")
"""Outputs of a frame, before its maps and the next state."""
MAPS = ("occupancy", "gate")
"""What an XMem memory gives beside."""


class StreamingStep(nn.Module):
    """Points and the state to boxes and the next state, for one scene.

    Time is relative: the step is given the seconds since the frame before, so that nothing in the program depends on
    how a time of day rounds. Whoever calls it keeps the time stamps.
    """

    def __init__(self, model: TemporalPointPillar, dtype: torch.dtype = torch.float32) -> None:
        """The step of a copy of ``model`` whose backbone and head work in ``dtype``.

        Raises ExportError naming the key of what can't be exported.
        """
        super().__init__()
        filters = model.cfg.MODEL.VFE.NUM_FILTERS
        if len(filters) > 1:
            raise ExportError(f"MODEL.VFE.NUM_FILTERS: {list(filters)}: an encoder of one layer can be exported")
        self.model = fuse_for_inference(model, dtype)
        self.empty = self.model.memory.initial_state(1)
        self.state = {name: tensor for name, tensor in self.empty.named().items() if name != "timestamp"}

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in their order."""
        return [*FRAME, *(f"state.{name}" for name in self.state)]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in their order."""
        maps = MAPS if "tokens.key" in self.state else ()
        return [*FOUND, *maps, *(f"next.{name}" for name in self.state)]

    def example(self, max_points: int) -> tuple[Tensor, ...]:
        """Inputs of the shapes that the step is exported with: a first frame without a point."""
        device = next(self.model.parameters()).device
        frame = (
            torch.zeros(1, max_points, 5, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
            torch.eye(4, device=device)[None],
            torch.zeros(1, device=device),
        )
        return (*frame, *self.state.values())

    def forward(
        self,
        points: Tensor,  # [1, N, 5] x, y, z, intensity, age
        num_points: Tensor,  # [1] int64, how many rows are real
        prev_from_frame: Tensor,  # [1, 4, 4]
        elapsed: Tensor,  # [1] seconds since the frame before, 0 in a first one
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        """Boxes [K, 9], scores [K], labels [K], num_boxes [1]; occupancy [H_m, W_m] and gate [H, W]; the next state."""
        model, given = self.model, dict(zip(self.state, state, strict=True))
        clock = {"timestamp": torch.zeros_like(elapsed, dtype=torch.float64)}
        features = model.backbone_2d(model.vfe.to_bev(points, num_points))
        changed, occ_logits, memory = model.memory.step(
            features,
            self.empty.with_named(given | clock),
            FrameContext(prev_from_frame=prev_from_frame, timestamp=elapsed.double()),
        )
        found = model.dense_head.predict_padded(model.dense_head(changed), model.cfg.MODEL.POST_PROCESSING)
        memory = model.memory.update_slots(memory, found.boxes, found.scores, found.num_boxes)
        maps = () if occ_logits is None else (occ_logits[0, 0].sigmoid(), gate(occ_logits, features)[0, 0])
        following = [memory.named()[name] for name in self.state]
        return found.boxes[0], found.scores[0], found.labels[0], found.num_boxes, *maps, *_distinct(following)


def _distinct(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors, those again that came before as copies: an exported program has a name for each output."""
    return [tensor.clone() if any(tensor is one for one in tensors[:i]) else tensor for i, tensor in enumerate(tensors)]
