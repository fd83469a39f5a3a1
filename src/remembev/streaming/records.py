"""Frames and their boxes as plain values for JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from remembev.data import Frame
from remembev.models import Detections


def frame_record(frame: Frame, detections: Detections, class_names: Sequence[str]) -> dict[str, Any]:
    """Return a frame and its boxes (LiDAR frame, metres, radians, m/s) as plain values for JSON.

    Tracked boxes have a ``track_id``, -1 for a box without a track, and are ``coasted`` or not.
    """
    columns = (detections.boxes, detections.scores, detections.labels, ~detections.remembered)
    rows = zip(*(_plain(column) for column in columns), strict=True)
    boxes = [
        {"label": class_names[label], "score": score, "box": box[:7], "velocity": box[7:], "observed": observed}
        for box, score, label, observed in rows
    ]
    if detections.track_ids is not None and detections.coasted is not None:
        tracked = zip(boxes, detections.track_ids.tolist(), detections.coasted.tolist(), strict=True)
        boxes = [{**box, "track_id": track_id, "coasted": coasted} for box, track_id, coasted in tracked]
    return {
        "sample_token": frame.sample_token,
        "timestamp": frame.timestamp,
        "global_from_lidar": frame.global_from_lidar.tolist(),
        "boxes": boxes,
    }


def read_record(record: Mapping[str, Any], class_names: Sequence[str]) -> Detections:
    """Return the boxes of a ``frame_record``, bit for bit."""
    boxes = record["boxes"]
    tracked = bool(boxes) and "track_id" in boxes[0]
    return Detections(
        torch.tensor([[*box["box"], *box["velocity"]] for box in boxes]).reshape(-1, 9),
        torch.tensor([float(box["score"]) for box in boxes]),
        torch.tensor([class_names.index(box["label"]) for box in boxes], dtype=torch.int64),
        torch.tensor([box["observed"] for box in boxes], dtype=torch.bool),
        torch.tensor([box["track_id"] for box in boxes], dtype=torch.int64) if tracked else None,
        torch.tensor([box["coasted"] for box in boxes], dtype=torch.bool) if tracked else None,
    )


def coasting_tracks(detections: Detections, class_names: Sequence[str]) -> str:
    """Return the ids of the tracks that coast, by class, as in ``car 3 7, truck 5``; empty if none does."""
    if detections.track_ids is None or detections.coasted is None:
        return ""
    lost = detections[detections.coasted]
    assert lost.track_ids is not None
    by_class: dict[int, list[int]] = {}
    for label, track_id in sorted(zip(lost.labels.tolist(), lost.track_ids.tolist(), strict=True)):
        by_class.setdefault(label, []).append(track_id)
    return ", ".join(f"{class_names[label]} {' '.join(map(str, ids))}" for label, ids in by_class.items())


def _plain(values: Tensor) -> list[Any]:
    """Return values for JSON; float32 in the fewest digits that restore it bit for bit, half of what float64 needs."""
    array = values.numpy()
    plain: list[Any] = (array.astype(str).astype(float) if values.dtype == torch.float32 else array).tolist()
    return plain
