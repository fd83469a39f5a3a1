from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remembev.data import NuScenesIndex, NuScenesSeqDataset
from remembev.data.resampling import balanced_resampling

from .conftest import hand_config

ON = "DATA_CONFIG.BALANCED_RESAMPLING=true"


def openpcdet_counts(holds: Tensor) -> list[int]:
    """How many frames OpenPCDet draws for each class (``balanced_infos_resampling``), from its formula."""
    per_class = holds.sum(dim=0).tolist()
    pairs = sum(per_class)
    return [int(count * ((1 / len(per_class)) / (count / pairs)) + 1e-9) for count in per_class]


presences = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=30)


@given(presences)
def test_resampling_draws_as_many_items_as_openpcdet(rows: list[list[bool]]) -> None:
    holds = torch.tensor([[*row[:3], True] for row in rows])
    holds[0] = True  # OpenPCDet needs every class to occur
    drawn = balanced_resampling(holds)
    assert len(drawn) == sum(openpcdet_counts(holds))
    share = len(drawn) // 4
    for label in range(4):
        assert holds[drawn[label * share : (label + 1) * share], label].all()


@given(presences)
def test_a_class_that_never_occurs_takes_no_share_from_the_others(rows: list[list[bool]]) -> None:
    holds = torch.tensor(rows)
    occurring = holds[:, holds.any(dim=0)]
    torch.manual_seed(0)
    drawn = balanced_resampling(holds)
    torch.manual_seed(0)
    assert torch.equal(drawn, balanced_resampling(occurring))


def test_rare_classes_get_closer_to_common_ones() -> None:
    holds = torch.zeros(1000, 3, dtype=torch.bool)
    holds[:, 0] = True
    holds[::10, 1] = True
    holds[::50, 2] = True
    shares = holds[balanced_resampling(holds)].float().mean(dim=0)
    assert holds.float().mean(dim=0).tolist() == pytest.approx([1.0, 0.1, 0.02])
    assert shares[0] == 1.0
    assert shares[1] > 0.6
    assert shares[2] > 0.3


def test_boxes_without_points_or_out_of_range_are_no_presence(index: NuScenesIndex) -> None:
    near, far = (-40, -40, -5, 40, 40, 3), (-400, -400, -5, 400, 400, 3)
    names = ["pedestrian", "car"]
    presence = index.class_presence(names, near)
    assert presence.shape == (10, 2)
    assert presence[:, 0].tolist() == [number in (2, 7) for number in range(10)]
    assert presence[:, 1].all()
    assert not index.class_presence(names, (200, -5, -5, 400, 5, 3)).any(dim=0)[0]
    hidden = replace(index._tables, box_points=torch.zeros_like(index._tables.box_points))
    assert not NuScenesIndex(index.root, hidden, index.file, "").class_presence(names, far).any()


@pytest.mark.parametrize("seq_len", [1, 3])
def test_an_epoch_has_clips_with_the_rare_class_more_often(hand_root: Path, seq_len: int) -> None:
    def share_with_pedestrian(*overrides: str) -> float:
        cfg = hand_config(hand_root, f"DATA_CONFIG.SEQ_LEN={seq_len}", *overrides)
        dataset = NuScenesSeqDataset(cfg.DATA_CONFIG, ["car", "pedestrian"])
        epoch = [dataset.clips[item] for item in dataset.draw_epoch()]
        return sum(2 in clip or 7 in clip for clip in epoch) / len(epoch)

    torch.manual_seed(0)
    plain = share_with_pedestrian()
    assert plain == {1: 0.2, 3: 1.0}[seq_len]
    assert share_with_pedestrian(ON) >= max(0.5, plain)


def test_epochs_differ_but_repeat_with_a_seed(hand_root: Path) -> None:
    cfg = hand_config(hand_root, ON)
    dataset = NuScenesSeqDataset(cfg.DATA_CONFIG, cfg.CLASS_NAMES)
    torch.manual_seed(1)
    first, second = dataset.draw_epoch(), dataset.draw_epoch()
    torch.manual_seed(1)
    assert dataset.draw_epoch() == first != second
    assert len(first) == len(second)
    assert set(first) <= set(range(len(dataset)))


def test_classes_without_a_clip_are_named(hand_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = hand_config(hand_root, ON)
    with caplog.at_level(logging.WARNING):
        assert len(NuScenesSeqDataset(cfg.DATA_CONFIG, ["bus", "car"])) > 0
    assert "no training clip contains bus;" in caplog.text
