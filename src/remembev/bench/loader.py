"""Frames per second of the training loader by number of workers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from time import perf_counter

import torch

from remembev.config import Config
from remembev.data.loader import build_seq_loader

WORKERS = (0, 1, 2, 4)


@dataclass(frozen=True)
class LoaderSpeed:
    """Speed of a loader that is never kept waiting."""

    workers: int
    frames_per_second: float
    points_per_frame: float


def bench_loader(
    cfg: Config, data: Path, workers: Sequence[int] = WORKERS, *, clips: int = 100
) -> Iterator[LoaderSpeed]:
    """Measure the loading of training batches: read, sampled, augmented, padded, handed over.

    The clock starts when the workers run and their prefetched batches are used up. Files come from the operating
    system's cache if the data set was read before and fits.

    Args:
        cfg: The configuration.
        data: Root of the data set.
        workers: Numbers of workers to measure.
        clips: Clips per measurement, in whole batches; a shorter data set is repeated.
    """
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores: on purpose
    for count in workers:
        changed = cfg.with_changes({"OPTIMIZATION.NUM_WORKERS": count})
        _, loader = build_seq_loader(changed, workers=count, root_path=data, seed=0)
        batches = chain.from_iterable(repeat(loader))
        prefetched = count * (loader.prefetch_factor or 0)
        frames = points = 0
        for _ in islice(batches, 1 + prefetched):
            pass
        start = perf_counter()
        for batch in islice(batches, max(1, clips // cfg.OPTIMIZATION.BATCH_SIZE_PER_GPU)):
            num_points = torch.as_tensor(batch["num_points"])
            frames += num_points.numel()
            points += int(num_points.sum())
        seconds = perf_counter() - start
        yield LoaderSpeed(count, frames / seconds, points / frames)
