"""``build_seq_loader``: data set and loader of a configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from remembev.config import Config
from remembev.config.validation import as_section
from remembev.data.collate import Clip, collate_seq
from remembev.data.dataset import NuScenesSeqDataset
from remembev.data.sampler import ClipSampler


def build_seq_loader(
    cfg: Config | Mapping[str, Any],
    logger: logging.Logger | None = None,
    workers: int | None = None,
    seq_len: int | None = None,
    stride: int | None = None,
    *,
    training: bool = True,
    root_path: str | Path | None = None,
    cache: Path | None = None,
    seed: int | None = None,
) -> tuple[NuScenesSeqDataset, DataLoader[Clip]]:
    """Build the data set of a configuration and a loader of batches, with masks on the memory's grid.

    Args:
        cfg: The configuration, also as a dictionary or ``EasyDict`` of its keys.
        logger: Logger of the data set's warnings.
        workers: Loader processes, at most ``OPTIMIZATION.NUM_WORKERS``; None: as many.
        seq_len: Key frames per clip; None: the configuration's.
        stride: Step between the frames of a clip; None: the configuration's.
        training: Load the training split, shuffled and augmented; otherwise the test split in order.
        root_path: Root of the data set; None: the configuration's.
        cache: Index file, where the data set's folder isn't writable.
        seed: Seed of the ``ClipSampler``, which makes training clips independent of the number of workers.

    Raises:
        ConfigError: A dictionary that isn't a valid configuration, naming the key.
        DataError: As ``NuScenesSeqDataset``.
    """
    cfg = as_section(cfg, Config, "cfg")
    dataset = NuScenesSeqDataset(
        dataset_cfg=cfg.DATA_CONFIG,
        class_names=cfg.CLASS_NAMES,
        training=training,
        root_path=root_path,
        logger=logger,
        seq_len=seq_len,
        stride=stride,
        nusc_version=cfg.DATA_CONFIG.VERSION,
        nusc_dataroot=cfg.DATA_CONFIG.DATA_PATH,
        mask_grid=cfg.memory_grid,
        cache=cache,
    )
    most = cfg.OPTIMIZATION.NUM_WORKERS
    num_workers = most if workers is None else min(workers, most)
    loader: DataLoader[Clip] = DataLoader(
        dataset,
        batch_size=cfg.OPTIMIZATION.BATCH_SIZE_PER_GPU,
        sampler=ClipSampler(dataset, seed) if training else None,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        collate_fn=collate_seq,
    )
    return dataset, loader
