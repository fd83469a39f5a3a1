"""Reproducible epochs of clips."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remembev.data import Clip, build_seq_loader, sampler
from remembev.data.sampler import ClipSampler, Draw, mixed_seed, seeded

from .conftest import hand_config


class Numbers:
    """So many clips, each once an epoch."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def draw_epoch(self) -> list[int]:
        return torch.randperm(self.count).tolist()


def epoch_of(
    count: int, seed: int | None, epoch: int, first: int = 0, *, rank: int = 0, processes: int = 1
) -> list[Draw]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "num_processes", lambda: processes)
        patch.setattr(sampler, "process_rank", lambda: rank)
        clips = ClipSampler(Numbers(count), seed)
        clips.set_epoch(epoch, first)
        drawn = list(clips)
        assert len(drawn) == len(clips) - first
        return drawn


def test_an_epoch_has_every_clip_once_in_an_order_of_its_own_that_a_seed_repeats() -> None:
    first, second = epoch_of(20, 3, 0), epoch_of(20, 3, 1)
    assert sorted(draw.clip for draw in first) == sorted(draw.clip for draw in second) == list(range(20))
    assert [draw.clip for draw in first] != [draw.clip for draw in second]
    assert len({draw.seed for draw in [*first, *second, *epoch_of(20, 4, 0)]}) == 60
    torch.manual_seed(99)
    assert epoch_of(20, 3, 0) == first


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 3))
def test_processes_partition_the_epoch_of_a_single_process(count: int, processes: int, epoch: int) -> None:
    alone = epoch_of(count, 0, epoch)
    shares = [epoch_of(count, 0, epoch, rank=rank, processes=processes) for rank in range(processes)]
    together = [draw for step in zip(*shares, strict=True) for draw in step]
    assert together[:count] == alone
    assert len(together) - count < processes
    assert max(Counter(draw.clip for draw in together[:count]).values()) == 1


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 3))
def test_an_epoch_can_start_at_any_clip(count: int, first: int, processes: int) -> None:
    whole = epoch_of(count, 0, 2, processes=processes)
    first = min(first, len(whole))
    assert epoch_of(count, 0, 2, first, processes=processes) == whole[first:]


def test_the_start_holds_until_another_epoch_is_set() -> None:
    clips = ClipSampler(Numbers(5), 0)
    clips.set_epoch(1, first=3)
    clips.set_epoch(1)
    assert len(list(clips)) == 2
    clips.set_epoch(2)
    assert len(list(clips)) == 5


def test_without_a_seed_each_iteration_is_seeded_by_torch_s_generator() -> None:
    clips = ClipSampler(Numbers(9))
    torch.manual_seed(5)
    first, second = list(clips), list(clips)
    torch.manual_seed(5)
    assert [list(clips), list(clips)] == [first, second]
    assert first != second


def test_several_processes_without_a_seed_are_refused() -> None:
    with pytest.raises(ValueError, match="need a common seed"):
        epoch_of(4, None, 0, processes=2)


def test_mixed_seeds_depend_on_every_number() -> None:
    seeds = {mixed_seed(seed, epoch, place) for seed in range(3) for epoch in range(3) for place in range(300)}
    assert len(seeds) == 2700
    # torch's generator on the CPU takes the lower half of a seed only
    assert len({seed % 2**32 for seed in seeds}) == 2700


def test_seeded_restores_the_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeded(7):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with seeded(7):
        assert torch.equal(torch.rand(3), inside)


def same(first: Clip, second: Clip) -> bool:
    return all(
        torch.equal(value, second[key]) if isinstance(value, Tensor) else (value == second[key]).all()
        for key, value in first.items()
    )


def test_clips_do_not_depend_on_the_number_of_workers(hand_root: Path) -> None:
    cfg = hand_config(hand_root, "OPTIMIZATION.NUM_WORKERS=2")
    epochs = []
    for workers, first in ((0, 0), (1, 0), (2, 0), (2, 3)):
        torch.manual_seed(workers)
        _, loader = build_seq_loader(cfg, workers=workers, seed=1)
        assert isinstance(loader.sampler, ClipSampler)
        loader.sampler.set_epoch(4, first)
        epochs.append(list(loader))
    assert [len(epoch) for epoch in epochs] == [6, 6, 6, 3]
    for clip, *others in zip(epochs[0], epochs[1], epochs[2], [*epochs[0][:3], *epochs[3]], strict=True):
        assert all(same(clip, other) for other in others)
