"""Conventions of points and boxes on a real key frame."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from remembev.data.points import read_points
from remembev.geometry import points_in_boxes

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "nuscenes_keyframe"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real nuScenes key frame at {FOLDER}")


@pytest.fixture(scope="module")
def annotations() -> dict[str, Any]:
    return json.loads((FOLDER / "frame.json").read_text())


@pytest.fixture(scope="module")
def points() -> Tensor:
    return read_points(FOLDER / "LIDAR_TOP.pcd.bin")


def counted(points: Tensor, boxes: Tensor) -> np.ndarray:
    return points_in_boxes(points, boxes).sum(dim=1).numpy()


def test_the_points_of_a_real_file_are_read(points: Tensor) -> None:
    assert points.shape == (34688, 5)
    assert set(points[:, 4].unique().tolist()) == set(range(32))
    assert points[:, 3].min() >= 0
    assert points[:, 3].max() <= 255


def test_real_boxes_hold_the_points_that_were_annotated(annotations: dict[str, Any], points: Tensor) -> None:
    boxes = torch.tensor([entry["box"] for entry in annotations["boxes"]])
    truth = np.array([entry["num_lidar_pts"] for entry in annotations["boxes"]])
    ours = counted(points, boxes)
    assert (ours == truth).mean() > 0.87
    assert np.corrcoef(ours, truth)[0, 1] > 0.999


@pytest.mark.parametrize("mistake", ["width for length", "yaw from y", "clockwise"])
def test_the_check_would_notice_other_conventions(annotations: dict[str, Any], points: Tensor, mistake: str) -> None:
    boxes = torch.tensor([entry["box"] for entry in annotations["boxes"]])
    truth = np.array([entry["num_lidar_pts"] for entry in annotations["boxes"]])
    if mistake == "width for length":
        boxes[:, 3:5] = boxes[:, 3:5].flip(1)
    else:
        boxes[:, 6] = -boxes[:, 6] if mistake == "clockwise" else boxes[:, 6] + math.pi / 2
    assert (counted(points, boxes) == truth).mean() < 0.82
