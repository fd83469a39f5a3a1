"""What a step has to be like for a CUDA graph to capture it, as far as a CPU can tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.export.streams import MEMORIES, drawn_model
from torch.utils._python_dispatch import TorchDispatchMode

from remembev.export.step import StreamingStep


class MadeOfNumbers(TorchDispatchMode):
    """Counts the tensors that are made of Python's numbers: on a GPU each is a copy from the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.lift_fresh.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_step_copies_nothing_from_the_cpu(memory: str) -> None:
    step = StreamingStep(drawn_model(memory))
    made = MadeOfNumbers()
    with torch.no_grad(), made:
        torch.tensor([1.0])
        step(*step.example(100))
    assert made.count == 1, "the one made here alone"


@pytest.mark.parametrize("memory", MEMORIES)
def test_no_two_example_inputs_are_one_tensor(memory: str) -> None:
    example = StreamingStep(drawn_model(memory)).example(100)
    assert len({tensor.data_ptr() for tensor in example if tensor.numel()}) == sum(bool(t.numel()) for t in example)
