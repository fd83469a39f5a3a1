"""The streaming step as a CUDA graph: captured once, replayed for every frame."""

from __future__ import annotations

import torch
from torch import Tensor

from remembev.export.step import StreamingStep

_WARM_UP = 3


class CUDAGraphProgram:
    """A step on a GPU that launches all its kernels at once."""

    def __init__(self, step: StreamingStep, example: tuple[Tensor, ...]) -> None:
        """Capture the step for inputs of the shapes of ``example``, on the GPU."""
        self._step = step  # keeps the weights alive, which a graph knows only by address
        self._inputs = [tensor.clone() for tensor in example]
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad():
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # kernels are compiled and tuned before the capture
                for _ in range(_WARM_UP):
                    step(*self._inputs)
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(self._graph):
                self._outputs = step(*self._inputs)

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run the step."""
        for buffer, tensor in zip(self._inputs, inputs, strict=True):
            buffer.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return [output.clone() for output in self._outputs]
