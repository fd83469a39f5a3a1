"""Trainings of the tests run on the CPU: what is promised to the last bit is promised there, for any number of them."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a GPU from the test and from the processes it starts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
