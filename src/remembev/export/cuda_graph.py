"""The streaming step as one CUDA graph: captured once, replayed for every frame."""

from __future__ import annotations

import torch
from torch import Tensor

from remembev.export.step import StreamingStep

_WARM_UP = 3


class CUDAGraphProgram:
    """A step on a GPU whose kernels are launched all at once."""

    def __init__(self, step: StreamingStep, example: tuple[Tensor, ...]) -> None:
        """Capture the step with inputs of the shapes of ``example``, which are on the GPU."""
        self._step = step  # a graph knows its weights by their addresses alone
        self._inputs = [tensor.clone() for tensor in example]
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad():
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):  # kernels are compiled and chosen before the capture
                for _ in range(_WARM_UP):
                    step(*self._inputs)
            torch.cuda.current_stream().wait_stream(beside)
            with torch.cuda.graph(self._graph):
                self._outputs = step(*self._inputs)

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run the step."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        return [output.clone() for output in self._outputs]
