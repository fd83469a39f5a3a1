from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from remembev.config import Config
from remembev.data import Clip, build_seq_loader
from remembev.errors import DataError

from .conftest import hand_config


def test_masks_of_the_loader_are_on_the_memory_s_grid(hand_root: Path) -> None:
    cfg = hand_config(hand_root, "OPTIMIZATION.BATCH_SIZE_PER_GPU=2")
    dataset, loader = build_seq_loader(cfg, workers=0)
    batches = list(loader)
    assert len(batches) == len(dataset) / 2 == 3
    height, width = cfg.memory_grid.height, cfg.memory_grid.width
    for batch in batches:
        assert {len(value) for value in batch.values()} == {2}
        assert {value.shape[1] for value in batch.values()} == {3}
        assert batch["scene_masks"].shape == (2, 3, 1, height, width)


def test_seq_len_and_stride_override_the_configuration(hand_cfg: Config) -> None:
    dataset, _ = build_seq_loader(hand_cfg, None, 0, 2, 3)
    assert (dataset.seq_len, dataset.stride) == (2, 3)


def test_without_training_clips_come_in_order_and_as_they_are(hand_cfg: Config) -> None:
    dataset, loader = build_seq_loader(hand_cfg, workers=0, training=False)
    tokens = [str(batch["sample_token"][0, 0]) for batch in loader]
    assert tokens == [str(dataset[item]["sample_token"][0]) for item in range(len(dataset))]


@pytest.mark.parametrize(("workers", "configured", "started"), [(8, 1, 1), (0, 4, 0), (None, 2, 2)])
def test_there_are_never_more_workers_than_the_configuration_allows(
    hand_root: Path, workers: int | None, configured: int, started: int
) -> None:
    cfg = hand_config(hand_root, f"OPTIMIZATION.NUM_WORKERS={configured}")
    _, loader = build_seq_loader(cfg, workers=workers)
    assert loader.num_workers == started


def same(first: Clip, second: Clip) -> bool:
    return all(
        torch.equal(value, second[key]) if isinstance(value, Tensor) else (value == second[key]).all()
        for key, value in first.items()
    )


def test_workers_repeat_with_a_seed_and_differ_between_epochs_and_items(hand_root: Path) -> None:
    cfg = hand_config(hand_root, "OPTIMIZATION.NUM_WORKERS=2")
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        _, loader = build_seq_loader(cfg, workers=2)
        runs.append([list(loader), list(loader)])
    for first, second in zip(runs[0][0] + runs[0][1], runs[1][0] + runs[1][1], strict=True):
        assert same(first, second)
    epochs = [{str(batch["sample_token"][0, 0]): batch["gt_boxes"] for batch in epoch} for epoch in runs[0]]
    for token, boxes in epochs[0].items():
        assert not torch.equal(boxes, epochs[1][token])
    scales = {round(float(batch["gt_boxes"][0, 0, 0, 3]), 5) for batch in runs[0][0]}
    assert len(scales) == len(runs[0][0])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_is_named_with_workers_and_without(hand_root: Path, tmp_path: Path, workers: int) -> None:
    root = Path(shutil.copytree(hand_root, tmp_path / "root"))
    (root / "samples/LIDAR_TOP/0-005.pcd.bin").write_bytes(b"")
    _, loader = build_seq_loader(hand_config(root), workers=workers)
    with pytest.raises(DataError, match=r"0-005\.pcd\.bin: the point file is empty"):
        list(loader)
