"""Frames and their boxes as plain values for JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from remembev.data import Frame
from remembev.models import Detections


def frame_record(frame: Frame, detections: Detections, class_names: Sequence[str]) -> dict[str, Any]:
    """Return a frame and its boxes (LiDAR frame, metres, radians, m/s) as plain values for JSON."""
    columns = (detections.boxes, detections.scores, detections.labels, ~detections.remembered)
    rows = zip(*(_plain(column) for column in columns), strict=True)
    return {
        "sample_token": frame.sample_token,
        "timestamp": frame.timestamp,
        "global_from_lidar": frame.global_from_lidar.tolist(),
        "boxes": [
            {"label": class_names[label], "score": score, "box": box[:7], "velocity": box[7:], "observed": observed}
            for box, score, label, observed in rows
        ],
    }


def read_record(record: Mapping[str, Any], class_names: Sequence[str]) -> Detections:
    """Return the boxes of a ``frame_record``, bit for bit."""
    boxes = record["boxes"]
    return Detections(
        torch.tensor([[*box["box"], *box["velocity"]] for box in boxes]).reshape(-1, 9),
        torch.tensor([float(box["score"]) for box in boxes]),
        torch.tensor([class_names.index(box["label"]) for box in boxes], dtype=torch.int64),
        torch.tensor([box["observed"] for box in boxes], dtype=torch.bool),
    )


def _plain(values: Tensor) -> list[Any]:
    """Return values for JSON; float32 in the fewest digits that restore it bit for bit, half of what float64 needs."""
    array = values.numpy()
    plain: list[Any] = (array.astype(str).astype(float) if values.dtype == torch.float32 else array).tolist()
    return plain
