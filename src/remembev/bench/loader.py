"""How many frames a second a loader brings, by its number of workers: is it what training waits for?"""

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
    """What a loader brings when nobody keeps it waiting."""

    workers: int
    frames_per_second: float
    points_per_frame: float


def bench_loader(
    cfg: Config, data: Path, workers: Sequence[int] = WORKERS, *, clips: int = 100
) -> Iterator[LoaderSpeed]:
    """Frames a second of training's batches as a configuration has them: read, sampled, augmented, padded, handed over.

    The clock runs over ``clips`` clips (whole batches; the data set again from its start where it is shorter), once
    the workers are running and what they had loaded ahead is used up. Files come from wherever the operating system
    has them: from its cache, if the data set was read before and fits.
    """
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores: on purpose
    for count in workers:
        optimization = cfg.OPTIMIZATION.model_copy(update={"NUM_WORKERS": count})
        _, loader = build_seq_loader(
            cfg.model_copy(update={"OPTIMIZATION": optimization}), workers=count, root_path=data, seed=0
        )
        batches = chain.from_iterable(repeat(loader))
        ahead = count * (loader.prefetch_factor or 0)
        frames = points = 0
        for _ in islice(batches, 1 + ahead):
            pass
        start = perf_counter()
        for batch in islice(batches, max(1, clips // cfg.OPTIMIZATION.BATCH_SIZE_PER_GPU)):
            num_points = torch.as_tensor(batch["num_points"])
            frames += num_points.numel()
            points += int(num_points.sum())
        seconds = perf_counter() - start
        yield LoaderSpeed(count, frames / seconds, points / frames)
