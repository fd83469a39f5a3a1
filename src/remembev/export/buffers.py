"""Memory for outputs that is used again as soon as nobody looks at it any more."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Recycled:
    """Tensors of one shape and type on the CPU: a new one takes the memory of one that is gone, if there is one.

    A stream of one scene thus goes on in two buffers a tensor of its state, the one read and the one written; whoever
    keeps an earlier state keeps its memory, and finds it unchanged.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._shape, self._dtype = shape, dtype
        self._free: list[NDArray[np.generic]] = []

    def take(self) -> Tensor:
        """A tensor with anything in it."""
        memory = self._free.pop() if self._free else torch.empty(self._shape, dtype=self._dtype).numpy()
        # The tensor and all its views hold on to this one array; when the last of them goes, it goes.
        view = memory.view()
        weakref.finalize(view, self._free.append, memory)
        return torch.from_numpy(view)
