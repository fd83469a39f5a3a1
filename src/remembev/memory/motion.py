"""Motion: a Kalman filter with constant velocity on the positions of objects; both axes are filtered alike.

Its parameters differ by class. Classes that stand still have no filter: they are where they were last detected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from remembev.config.schema import MotionConfig


class MotionModel(nn.Module):
    """Motion of the objects of each class, in any coordinates that don't move; it has nothing to train.

    An object has a box [..., 9], a covariance [..., 2, 2] of position (m) and velocity (m/s) along either axis, and a
    label [...] of at least 0, or -1 in a place without one.
    """

    still: Tensor
    _speed: Tensor
    _acceleration: Tensor
    _jump: Tensor

    def __init__(
        self, class_names: Sequence[str], default: MotionConfig, by_class: Mapping[str, MotionConfig], noise: float
    ) -> None:
        """Create a model.

        Args:
            class_names: The classes that labels index.
            default: Motion of the classes that ``by_class`` leaves out.
            by_class: Motion by class.
            noise: Standard deviation of detected centres in m, along each axis.
        """
        super().__init__()
        motions = [by_class.get(name, default) for name in class_names]

        def table(value: Callable[[MotionConfig], float]) -> Tensor:
            return torch.tensor([float(value(motion)) for motion in motions], dtype=torch.float64)

        tables = {
            "still": table(lambda motion: motion.STILL).bool(),
            "_speed": table(lambda motion: motion.SPEED),
            "_acceleration": table(lambda motion: motion.ACCELERATION),
            "_jump": torch.tensor([1.0, 0.0], dtype=torch.float64),  # gain of objects that are where they are seen
        }
        for name, values in tables.items():
            self.register_buffer(name, values, persistent=False)
        self._noise = noise

    def is_still(self, labels: Tensor) -> Tensor:
        """Return True [...] for objects of classes that stand still."""
        return self.still[labels.clamp(min=0)]

    def first_covariance(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the covariance [..., 2, 2] of objects that were detected once."""
        speed = self._speed[labels.clamp(min=0)].to(dtype)
        return torch.diag_embed(torch.stack((torch.full_like(speed, self._noise), speed), dim=-1) ** 2)

    def likely_velocity(self, boxes: Tensor, covariance: Tensor) -> Tensor:
        """Return velocities [..., 2], 0 where they are less than their standard deviation: most objects stand."""
        velocity = boxes[..., 7:9]
        is_less = velocity.square().sum(dim=-1) < covariance[..., 1, 1]
        return torch.where(is_less[..., None], 0.0, velocity)

    def predict(self, boxes: Tensor, covariance: Tensor, labels: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and covariances after a time [...]."""
        seconds = seconds.to(covariance.dtype)
        centres = boxes[..., :2] + seconds[..., None] * boxes[..., 7:9]
        push = self._acceleration[labels.clamp(min=0)].to(covariance.dtype) ** 2
        position, both, velocity = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
        position = position + 2 * seconds * both + seconds**2 * velocity + push * seconds**4 / 4
        both = both + seconds * velocity + push * seconds**3 / 2
        velocity = velocity + push * seconds**2
        covariance = torch.stack((position, both, both, velocity), dim=-1).view(*position.shape, 2, 2)
        return torch.cat((centres, boxes[..., 2:]), dim=-1), covariance

    def correct(self, boxes: Tensor, covariance: Tensor, labels: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted boxes and covariances once centres [..., ≥2] of the same objects were detected."""
        variance = covariance[..., 0]  # of the position, and with the velocity
        gain = variance / (variance[..., :1] + self._noise**2)
        gain = torch.where(self.is_still(labels)[..., None], self._jump.to(gain.dtype), gain)
        off = centres[..., :2] - boxes[..., :2]
        centres, velocity = boxes[..., :2] + gain[..., :1] * off, boxes[..., 7:9] + gain[..., 1:] * off
        corrected = torch.cat((centres, boxes[..., 2:7], velocity), dim=-1)
        return corrected, covariance - gain[..., :, None] * variance[..., None, :]
