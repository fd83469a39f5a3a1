"""A step has static shapes and no branch on data: it exports, and the exported program goes on like the module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from remembev.memory import MemoryState, XMemBackboneWrapper

from .small import features, planar, small_memory


class Step(nn.Module):
    """A step at inference as a function of plain tensors."""

    def __init__(self, memory: XMemBackboneWrapper) -> None:
        super().__init__()
        self.memory = memory
        self.like: MemoryState = memory.initial_state(1)

    def forward(
        self, state: dict[str, Tensor], features: Tensor, prev_from_frame: Tensor, timestamp: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        step = self.memory.forward_step(
            1,
            features,
            state=self.like.with_named(state),
            prev_from_frame=prev_from_frame,
            timestamp=timestamp,
        )
        return step.occ_logits, step.state.named()


EVERYTHING = {
    "MEM_EVERY": "1 s",
    "DEEP_UPDATE_EVERY": 3,
    "FOREGROUND": {"TOKENS": 10, "BY": "occupancy", "MIN": 0.01},
    "READ": {"DISTANCE": "5 m", "AGE": "2 s"},
    "FORGET_BEYOND": "20 m",
    "FORGET_AFTER": "9 s",
}
DIFFERENCE = {"SENSORY": "difference"}


@pytest.mark.parametrize(("agents", "changes"), [(1, {}), (3, EVERYTHING), (3, DIFFERENCE)])
def test_an_exported_step_equals_the_module_over_a_stream(agents: int, changes: dict[str, object]) -> None:
    step = Step(small_memory(agents=agents, **changes).eval())
    ours = theirs = step.memory.initial_state(1).named()
    inputs = [(features(t), planar(0.7, 0.1, 0.1), torch.tensor([0.5 * t], dtype=torch.float64)) for t in range(14)]
    with torch.no_grad():
        exported = torch.export.export(step, (ours, *inputs[0])).module()
        for frame in inputs:
            logits, ours = step(ours, *frame)
            their_logits, theirs = exported(theirs, *frame)
            torch.testing.assert_close(their_logits, logits)
            torch.testing.assert_close(theirs, ours, equal_nan=True)
            if agents > 1:
                for state in (ours, theirs):
                    state["slots.boxes"] = torch.tensor(
                        [[[0.0] * 9] + [[1.0, 2.0, 0.0, 5.0, 3.0, 2.0, 0.3, 1.0, 0.0]] * 2]
                    )
                    state["slots.alive"] = torch.tensor([[False, True, int(frame[2]) % 2 == 0]])
    long_term = ours["tokens.valid"][:, : step.memory.cfg.LONG_TERM.MAX_TOKENS]
    assert long_term.all(), "consolidated until the store was full"
