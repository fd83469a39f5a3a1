"""``build_seq_loader``: the data set and the loader of a configuration."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from remembev.config import Config
from remembev.data.collate import Clip, collate_seq
from remembev.data.dataset import NuScenesSeqDataset
from remembev.data.sampler import ClipSampler


def build_seq_loader(
    cfg: Config,
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
    """Clips of ``cfg`` and a loader of batches of them, shuffled when training, with masks on the memory's grid.

    ``None`` for workers, seq_len or stride means the configuration's; there are never more workers than
    ``OPTIMIZATION.NUM_WORKERS``. When training, clips and all that is drawn for them come from a ``ClipSampler`` with
    this ``seed``, so that any number of workers gives the same. Raises DataError as ``NuScenesSeqDataset`` does.
    """
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
