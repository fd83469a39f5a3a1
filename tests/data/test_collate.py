from __future__ import annotations

import numpy as np
import torch

from remembev.data import Clip, collate_seq
from remembev.data.collate import pad_clouds


def clip(points: int, boxes: int, name: str) -> Clip:
    return {
        "points": torch.rand(2, points, 5) + 1,
        "num_points": torch.tensor([points, points - 1]),
        "gt_boxes": torch.rand(2, boxes, 9) + 1,
        "gt_labels": torch.zeros(2, boxes, dtype=torch.int64),
        "gt_track_ids": torch.ones(2, boxes, dtype=torch.int64),
        "timestamp": torch.tensor([1.5e9, 1.5e9 + 0.5], dtype=torch.float64),
        "scene_token": np.array([name, name]),
        "valids_mask": torch.ones(2, 3, dtype=torch.bool),
    }


def test_clips_are_padded_to_the_longest_of_the_batch() -> None:
    clips = [clip(4, 0, "a"), clip(7, 2, "longer")]
    batch = collate_seq(clips)
    assert batch["points"].shape == (2, 2, 7, 5)
    assert torch.equal(batch["points"][0, :, :4], clips[0]["points"])
    assert torch.equal(batch["points"][1], clips[1]["points"])
    assert not batch["points"][0, :, 4:].any()
    assert batch["gt_boxes"].shape == (2, 2, 2, 9)
    assert not batch["gt_boxes"][0].any()
    assert (batch["gt_labels"][0] == -1).all()
    assert (batch["gt_track_ids"][0] == -1).all()
    assert torch.equal(batch["gt_labels"][1], clips[1]["gt_labels"])
    assert batch["num_points"].tolist() == [[4, 3], [7, 6]]
    assert batch["valids_mask"].dtype == torch.bool


def test_every_value_of_a_batch_splits_by_time() -> None:
    batch = collate_seq([clip(3, 1, "a"), clip(3, 1, "b")])
    at_one = {key: value[:, 1] for key, value in batch.items()}
    assert at_one["scene_token"].tolist() == ["a", "b"]
    assert at_one["points"].shape == (2, 3, 5)
    assert at_one["timestamp"].tolist() == [1.5e9 + 0.5] * 2


def test_timestamps_stay_float64() -> None:
    assert collate_seq([clip(1, 1, "a")])["timestamp"].dtype == torch.float64


def test_clips_without_points_or_boxes_make_a_batch() -> None:
    batch = collate_seq([clip(0, 0, "a"), clip(0, 0, "b")])
    assert batch["points"].shape == (2, 2, 0, 5)
    assert batch["gt_labels"].shape == (2, 2, 0)


def test_clouds_in_pieces_are_padded_with_zeros_to_the_longest() -> None:
    frames = [
        [torch.rand(3, 5) + 1, torch.rand(0, 5)],
        [torch.rand(2, 5) + 1, torch.rand(4, 5) + 1],
        [torch.rand(0, 5)],
    ]
    points, num_points = pad_clouds(frames)
    assert points.shape == (3, 6, 5)
    assert num_points.tolist() == [3, 6, 0]
    for row, pieces, count in zip(points, frames, num_points, strict=True):
        assert torch.equal(row[:count], torch.cat(pieces))
        assert not row[count:].any()
