"""The kernels of ops in Triton, a file each; ops dispatches to them, and nothing is imported before it does."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


def runs_triton(tensor: Tensor) -> bool:
    """Whether Triton's kernels run on the tensor: on a GPU, and everywhere in Triton's interpreter.

    A program that is compiled or exported is PyTorch's alone.
    """
    reached = tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    return reached and not torch.compiler.is_compiling() and _is_installed()


@cache
def _is_installed() -> bool:
    return find_spec("triton") is not None
