"""Output buffers that are reused once nothing refers to them."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class BufferPool:
    """CPU tensors of one shape and dtype; a new one reuses the memory of a collected one if there is any.

    A stream of one scene thus needs two buffers for each tensor of its state, one to read and one to write; an earlier
    state that is kept keeps its memory, unchanged.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._shape, self._dtype = shape, dtype
        self._free: list[NDArray[np.generic]] = []

    def take(self) -> Tensor:
        """Return an uninitialised tensor."""
        memory = self._free.pop() if self._free else torch.empty(self._shape, dtype=self._dtype).numpy()
        # The tensor and all its views refer to this array; it is collected after the last of them.
        view = memory.view()
        weakref.finalize(view, self._free.append, memory)
        return torch.from_numpy(view)
