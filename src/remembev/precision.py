"""Numeric precision: whether bfloat16 is fast on this machine, and what ``auto`` means here."""

from __future__ import annotations

import logging
import platform
from functools import cache, partial
from time import perf_counter

import torch
import torch.nn.functional as F

logger = logging.getLogger(__name__)

_X86 = ("x86_64", "amd64")
_MAP = (64, 64, 64)  # channels, height, width


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return what ``auto`` means on a device, bf16 where it is fast and fp32 elsewhere; others stay as they are."""
    if precision != "auto":
        return precision
    return "bf16" if has_fast_bf16(device) else "fp32"


def has_fast_bf16(device: torch.device) -> bool:
    """Return True if a device computes in bfloat16 at least as fast as in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine().lower() in _X86:
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bf16_slowdown(device) <= 1


def warn_of_slow_bf16(device: torch.device) -> None:
    """Log a warning, once, if a device is slow in bfloat16."""
    if not has_fast_bf16(device):
        _warn_once(device)


@cache
def _warn_once(device: torch.device) -> None:
    logger.warning(
        "bf16 is slow on this machine: a convolution takes %.1f times as long as in fp32, which auto takes here",
        bf16_slowdown(device),
    )


@cache
def bf16_slowdown(device: torch.device) -> float:
    """Measure how many times as long a 3×3 convolution takes in bfloat16 as in float32."""
    return _seconds(torch.bfloat16, device) / _seconds(torch.float32, device)


@torch.inference_mode()
def _seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Return the seconds of a convolution, the least of three after a warm-up."""
    channels = _MAP[0]
    bev = torch.ones(1, *_MAP, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    kernel = torch.ones(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    convolve = partial(F.conv2d, bev, kernel, padding=1)
    times = []
    for _ in range(4):
        start = perf_counter()
        convolve().flatten()[0].item()  # waits for a GPU
        times.append(perf_counter() - start)
    return min(times[1:])
