"""Scenes and devices shared out among processes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.distributed import device_per_process, longest_first, partition_scenes
from remembev.errors import UserError


@given(st.lists(st.integers(1, 400), max_size=30), st.integers(1, 8))
def test_whole_scenes_are_assigned_once_each_and_balanced_by_frames(frames: list[int], processes: int) -> None:
    num_frames = dict(enumerate(frames))
    parts = partition_scenes(num_frames, processes)
    assert sorted(scene for part in parts for scene in part) == list(num_frames)
    loads = [sum(num_frames[scene] for scene in part) for part in parts]
    assert max(loads) - min(loads) <= max(frames, default=0)
    assert [num_frames[scene] for scene in longest_first(num_frames)] == sorted(frames, reverse=True)


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert device_per_process("cuda", 3) == ["cuda:0", "cuda:1", "cuda:2"]
    assert device_per_process("cuda:2", 1) == ["cuda:2"]
    assert device_per_process("cpu", 4) == ["cpu"] * 4
    with pytest.raises(UserError, match="--devices 4 needs 4 GPUs; this machine has 3"):
        device_per_process("cuda", 4)
