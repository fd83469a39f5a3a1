"""A batch of clips: typed, and a mapping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch.utils.data._utils.pin_memory import pin_memory

from remembev.batch import ClipBatch, FrameBatch


def clip() -> ClipBatch:
    return ClipBatch(
        points=torch.arange(60.0).view(2, 3, 2, 5),
        num_points=torch.tensor([[2, 1, 2], [1, 2, 0]]),
        timestamp=torch.arange(6).view(2, 3).double(),
        scene_token=np.array([["a"] * 3, ["b"] * 3]),
    )


def test_a_batch_has_the_keys_of_what_it_holds() -> None:
    batch = clip()
    assert list(batch) == ["points", "num_points", "timestamp", "scene_token"]
    assert len(batch) == 4
    assert batch["points"] is batch.points
    assert "gt_boxes" not in batch
    assert batch.get("gt_boxes") is None
    with pytest.raises(KeyError, match="map"):
        batch["map"]


def test_batches_are_equal_by_identity() -> None:
    batch = clip()
    assert batch == batch
    assert batch != clip()
    assert batch != dict(batch)
    assert len({batch, clip()}) == 2


def test_the_literal_of_the_design_gives_the_frame() -> None:
    batch_seq = clip()
    for t in range(batch_seq.num_frames):
        batch_dict_t = {k: v[:, t] for k, v in batch_seq.items()}
        frame = batch_seq.frame(t)
        assert isinstance(frame, FrameBatch)
        assert list(frame) == list(batch_dict_t)
        assert torch.equal(frame.points, batch_dict_t["points"])
        assert frame.scene_token is not None
        assert frame.scene_token.tolist() == ["a", "b"]


def test_a_plain_mapping_becomes_a_batch_and_names_what_is_wrong_with_it() -> None:
    values = dict(clip())
    assert list(ClipBatch.from_mapping(values)) == list(values)
    with pytest.raises(ValueError, match="batch: num_points missing"):
        ClipBatch.from_mapping({"points": values["points"]})
    with pytest.raises(ValueError, match="batch: unknown prev_from_frames; known keys: points, num_points"):
        ClipBatch.from_mapping({**values, "prev_from_frames": torch.eye(4)})
    with pytest.raises(ValueError, match="batch: gt_boxes, gt_labels missing"):
        clip().require("points", "gt_boxes", "gt_labels")


def test_lightning_moves_a_batch_as_one() -> None:
    moved = move_data_to_device(clip(), torch.device("meta"))
    assert isinstance(moved, ClipBatch)
    assert moved.points.device.type == moved.num_points.device.type == "meta"
    assert moved.scene_token is not None


def test_a_loader_pins_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: self.clone())
    batch = clip()
    pinned = pin_memory(batch)  # a dictionary up to torch 2.6
    assert list(ClipBatch.from_mapping(pinned)) == list(batch)
    assert pinned["points"] is not batch.points
    assert torch.equal(batch.pin_memory().points, batch.points)
