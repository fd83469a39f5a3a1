"""The loader of the document that the project was created from, as it stands there, trains the model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from remembev import NuScenesSeqDataset, build_model, collate_seq
from remembev import build_seq_loader as own_build_seq_loader
from remembev.config import Config
from remembev.errors import ConfigError

from .conftest import hand_config


# fmt: off
def build_seq_loader(cfg, logger, workers, seq_len, stride):  # type: ignore[no-untyped-def]
    dataset_cfg = cfg.DATA_CONFIG
    class_names = cfg.CLASS_NAMES

    train_set = NuScenesSeqDataset(
        dataset_cfg=dataset_cfg,
        class_names=class_names,
        training=True,
        root_path=None,
        logger=logger,
        seq_len=seq_len,
        stride=stride,
        nusc_version=dataset_cfg.VERSION,
        nusc_dataroot=dataset_cfg.DATA_PATH,
    )

    train_loader = DataLoader(
        train_set,
        batch_size=1,
        shuffle=True,
        num_workers=min(workers, cfg.OPTIMIZATION.NUM_WORKERS),
        pin_memory=True,
        collate_fn=collate_seq,
        drop_last=False,
    )

    return train_set, train_loader
# fmt: on


class EasyDict(dict[str, Any]):
    """Dictionary with attributes, nested ones too, as OpenPCDet's."""

    def __init__(self, tree: dict[str, Any]) -> None:
        super().__init__({key: _easy(value) for key, value in tree.items()})

    def __getattr__(self, name: str) -> Any:
        return self[name]


def _easy(value: Any) -> Any:
    if isinstance(value, dict):
        return EasyDict(value)
    return [_easy(entry) for entry in value] if isinstance(value, list) else value


LOGGER = logging.getLogger(__name__)


@pytest.fixture
def cfg(road_root: Path) -> Config:
    return hand_config(road_root, "MODEL.MEMORY.STRIDE=4")


@pytest.mark.parametrize("easy", [False, True])
def test_the_loader_of_the_document_trains_the_model(cfg: Config, easy: bool) -> None:
    given = EasyDict(cfg.model_dump(mode="json")) if easy else cfg
    train_set, train_loader = build_seq_loader(given, LOGGER, 0, 2, 1)
    assert len(train_loader) == len(train_set)
    batch_seq = next(iter(train_loader))
    assert batch_seq["scene_masks"].shape[-2:] == (128, 128)
    assert cfg.memory_grid.height == 16

    model = build_model(given).train()
    losses = model(batch_seq)
    losses["loss"].backward()
    assert losses["occ_loss"] > 0
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_each_frame_of_the_document_s_loader_can_be_back_propagated(cfg: Config) -> None:
    _, train_loader = build_seq_loader(cfg, LOGGER, 0, 2, 1)
    model, batch_seq = build_model(cfg).train(), next(iter(train_loader))
    output = model.forward_single_timestep({k: v[:, 0] for k, v in batch_seq.items()}, 0)
    sum(model.frame_losses(output).values()).backward()
    assert model.vfe.training
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.vfe.parameters())


def test_a_plain_dictionary_gives_the_clips_of_the_typed_section(cfg: Config) -> None:
    sections = cfg.DATA_CONFIG, cfg.DATA_CONFIG.model_dump(mode="json"), cfg.DATA_CONFIG.model_dump()
    sets = [
        NuScenesSeqDataset(dataset_cfg=section, class_names=cfg.CLASS_NAMES, training=False) for section in sections
    ]
    first, *others = (dataset[0] for dataset in sets)
    for clip in others:
        assert torch.equal(clip["points"], first["points"])
        assert torch.equal(clip["gt_boxes"], first["gt_boxes"])


def test_the_package_s_loader_takes_a_dictionary_too(cfg: Config) -> None:
    dataset, _ = own_build_seq_loader(EasyDict(cfg.model_dump(mode="json")), LOGGER, 0, 2, 1)
    assert dataset.cfg == cfg.DATA_CONFIG


def test_an_unknown_key_of_a_dictionary_is_named(cfg: Config) -> None:
    broken = cfg.DATA_CONFIG.model_dump() | {"MAX_SWEEPS": 10}
    with pytest.raises(ConfigError, match=r"dataset_cfg: MAX_SWEEPS: no such key"):
        NuScenesSeqDataset(dataset_cfg=broken, class_names=cfg.CLASS_NAMES)
