"""Which back end runs a kernel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from remembev.ops import dispatch, nms


def on_gpu() -> Any:
    return SimpleNamespace(is_cuda=True)


def test_triton_runs_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_is_installed", lambda: True)
    assert dispatch.runs_triton(on_gpu())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not dispatch.runs_triton(torch.zeros(1))


def test_pytorch_runs_on_a_gpu_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_is_installed", lambda: False)
    assert not dispatch.runs_triton(on_gpu())


def test_nms_on_a_gpu_without_triton_runs_in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """NMS once asked for a GPU alone and failed on one without Triton."""

    class OnGPU(torch.Tensor):
        @property
        def is_cuda(self) -> bool:  # type: ignore[override]
            return True

    monkeypatch.setattr(dispatch, "_is_installed", lambda: False)
    boxes = torch.tensor([[[0.0, 0, 0, 4, 2, 1, 0], [0.5, 0, 0, 4, 2, 1, 0], [9, 0, 0, 4, 2, 1, 0]]])
    picked = nms.pick_best_first(boxes.as_subclass(OnGPU), torch.ones(1, 3, dtype=torch.bool), 0.2, 3)
    assert picked.tolist() == [[0, 2, -1]]
