"""Motion: a Kalman filter with constant velocity on the positions of tracks; both axes are filtered alike.

Its parameters differ by class. Classes that stand still have no filter: they are where they were last detected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from remembev.config.schema import MotionConfig, TrackingConfig
from remembev.tracking.state import Tracks


class MotionModel:
    """Motion of the objects of each class."""

    def __init__(self, class_names: Sequence[str], cfg: TrackingConfig) -> None:
        """Create a model of the classes that labels index."""
        motions = [cfg.CLASS_MOTION.get(name, cfg.MOTION) for name in class_names]

        def by_class(value: Callable[[MotionConfig], float]) -> Tensor:
            return torch.tensor([float(value(motion)) for motion in motions], dtype=torch.float64)

        self.max_distance = by_class(lambda motion: motion.MAX_DISTANCE)
        self._is_still = by_class(lambda motion: motion.STILL).bool()
        self._speed = by_class(lambda motion: motion.SPEED)
        self._acceleration = by_class(lambda motion: motion.ACCELERATION)
        self._noise = float(cfg.POSITION_NOISE)

    def first_covariance(self, labels: Tensor) -> Tensor:
        """Return the covariance [K, 2, 2] of new tracks, which are taken to stand."""
        variances = torch.stack((torch.full_like(self._speed, self._noise), self._speed), dim=1)[labels] ** 2
        return torch.diag_embed(variances)

    def predict(self, tracks: Tracks, seconds: float) -> Tracks:
        """Move tracks by a time."""
        if not len(tracks):  # the time since no frame at all is infinite
            return tracks
        boxes, step = tracks.boxes.clone(), tracks.covariance.new_tensor([[1.0, seconds], [0.0, 1.0]])
        boxes[:, :2] += seconds * boxes[:, 7:9]
        pushed = boxes.new_tensor([seconds**2 / 2, seconds])  # by an acceleration of 1 m/s²
        noise = self._acceleration[tracks.labels, None, None] ** 2 * torch.outer(pushed, pushed)
        return replace(tracks, boxes=boxes, covariance=step @ tracks.covariance @ step.T + noise)

    def correct(self, tracks: Tracks, centres: Tensor) -> Tracks:
        """Correct predicted tracks by the detected centres [N, ≥2]."""
        variance = tracks.covariance[:, :, 0]  # of the position, and with the velocity
        gain = variance / (variance[:, :1] + self._noise**2)
        gain[self._is_still[tracks.labels]] = gain.new_tensor([1.0, 0.0])
        boxes, off = tracks.boxes.clone(), centres[:, :2] - tracks.boxes[:, :2]
        boxes[:, :2] += gain[:, :1] * off
        boxes[:, 7:9] += gain[:, 1:] * off
        return replace(tracks, boxes=boxes, covariance=tracks.covariance - gain[:, :, None] * variance[:, None])
