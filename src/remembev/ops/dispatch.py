"""Dispatch between back ends: Triton on a GPU, else PyTorch."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


def runs_triton(tensor: Tensor) -> bool:
    """Return True if Triton's kernels run on the tensor: on a GPU where Triton is installed, or in its interpreter.

    A program that is being compiled or exported is PyTorch's alone.
    """
    on_device = tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    return on_device and not torch.compiler.is_compiling() and _is_installed()


@cache
def _is_installed() -> bool:
    return find_spec("triton") is not None
