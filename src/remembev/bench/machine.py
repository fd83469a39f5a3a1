"""Rates that the machine reaches in the same run: bytes and operations per second."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F

from remembev.ops import StageTimer

_MATRIX = 2048
_MAP = (128, 128, 128)  # channels, height, width: the middle of the full-size backbone
_COPIED = 2**27  # bytes: several times the cache


class MachineRates:
    """Bytes and operations per second, each the median of the measurements so far.

    A multiply-accumulate is two operations.
    """

    def __init__(self, timer: StageTimer, dtypes: tuple[torch.dtype, ...]) -> None:
        self._timer = timer
        self._bytes: list[float] = []
        self._matmul: dict[torch.dtype, list[float]] = {dtype: [] for dtype in dtypes}
        self._convolution: dict[torch.dtype, list[float]] = {dtype: [] for dtype in dtypes}

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """Dtypes whose rates are measured."""
        return tuple(self._matmul)

    @property
    def bandwidth(self) -> float:
        """Bytes per second that a copy reads and writes."""
        return median(self._bytes)

    def matmul(self, dtype: torch.dtype) -> float:
        """Return operations per second of a product of square matrices."""
        return median(self._matmul[dtype])

    def convolution(self, dtype: torch.dtype) -> float:
        """Return operations per second of a 3×3 convolution of 128 channels on a 128 × 128 map, channels last."""
        return median(self._convolution[dtype])

    def peak(self, dtype: torch.dtype) -> float:
        """Return operations per second of the faster one: oneDNN's convolutions may outrun the matrix library."""
        return max(self.matmul(dtype), self.convolution(dtype))

    @torch.inference_mode()
    def measure(self) -> None:
        """Measure each rate once more."""
        device = self._timer.device
        source = torch.ones(_COPIED // 4, device=device)
        target = torch.empty_like(source)
        self._bytes.append(2 * _COPIED / self._seconds(partial(target.copy_, source)))
        channels, height, width = _MAP
        for dtype in self._matmul:
            matrix = torch.ones(_MATRIX, _MATRIX, device=device, dtype=dtype)
            self._matmul[dtype].append(2 * _MATRIX**3 / self._seconds(partial(torch.mm, matrix, matrix)))
            bev = torch.ones(1, *_MAP, device=device, dtype=dtype).to(memory_format=torch.channels_last)
            kernel = torch.ones(channels, channels, 3, 3, device=device, dtype=dtype)
            convolve = partial(F.conv2d, bev, kernel.to(memory_format=torch.channels_last), padding=1)
            self._convolution[dtype].append(2 * 9 * channels**2 * height * width / self._seconds(convolve))

    def _seconds(self, work: Callable[[], object]) -> float:
        """Return the seconds of ``work`` after a warm-up."""
        work()
        start = self._timer.now()
        work()
        return self._timer.now() - start
