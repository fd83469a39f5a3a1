"""``StreamingDetector``: keeps what a stream needs from frame to frame, so that the caller only brings frames."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from remembev.config import Config
from remembev.errors import StreamError
from remembev.geometry import relative_pose, transform_boxes
from remembev.memory import gate
from remembev.models import Detections, TemporalPointPillar
from remembev.models.checkpoint import load_checkpoint

_RIGID = 1e-3
"""How far a pose's rotation may be from orthonormal."""


@dataclass(frozen=True)
class _Stand:
    """Where a scene's stream stands: its latest frame that reached the memory."""

    frames: int
    pose: Tensor  # global_from_lidar [4, 4] float64
    timestamp: float


class StreamingDetector:
    """Detects on a stream of frames, of one scene or of several in turn; each scene has a memory of its own.

    gate and occupancy hold the latest step's gate [H, W] and occupancy [H_m, W_m], both in [0, 1], for looking at.
    """

    def __init__(self, model: TemporalPointPillar, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.gate: Tensor | None = None
        self.occupancy: Tensor | None = None
        self._stands: OrderedDict[str, _Stand] = OrderedDict()

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str | torch.device = "cpu") -> StreamingDetector:
        """A detector with the weights and the configuration of a checkpoint."""
        return cls(load_checkpoint(path), device)

    @property
    def cfg(self) -> Config:
        """The model's configuration."""
        return self.model.cfg

    @torch.inference_mode()
    def step(
        self,
        points: ArrayLike | Tensor,
        pose: ArrayLike | Tensor,
        timestamp: float,
        scene_token: str,
        *,
        frame: Literal["lidar", "global"] = "lidar",
    ) -> Detections:
        """Detect on the next frame of a scene.

        points       [N, 4 or 5]: x, y, z in the LiDAR frame (m), intensity, and age in s (0 where it is left out)
        pose         global_from_lidar [4, 4], float64
        timestamp    seconds; later than the scene's frame before
        scene_token  any name; a new one starts with an empty memory
        frame        the frame that boxes and velocities are given in; in the global one they are float64
        returns      boxes [K, 9], scores [K], labels [K] on the CPU; velocities [K, 2] are the boxes' last two columns

        A frame without a point in range gives no boxes and leaves the memory as it is. Raises StreamError for a frame
        that can't be used: the stream goes on as if it had not come.
        """
        cloud, global_from_lidar = self._checked(points, pose, timestamp, scene_token)
        if len(cloud) == 0:
            return Detections.empty()
        stand = self._stands.get(scene_token)
        before = global_from_lidar if stand is None else stand.pose
        t = 0 if stand is None else stand.frames
        batch_dict = self.model.forward_single_timestep(
            {
                "points": cloud[None].to(self.device),
                "num_points": torch.tensor([len(cloud)], device=self.device),
                "scene_token": np.array([scene_token]),
                "timestamp": torch.tensor([timestamp], dtype=torch.float64, device=self.device),
                "prev_from_frame": relative_pose(before, global_from_lidar).float()[None].to(self.device),
            },
            t,
        )
        detections = self.model.detect(batch_dict)[0].to("cpu")
        self._keep(scene_token, _Stand(t + 1, global_from_lidar, timestamp))
        self._show(batch_dict["occ_logits"])
        return detections if frame == "lidar" else _in_global(detections, global_from_lidar)

    def reset(self, scene_token: str | None = None) -> None:
        """Forget one scene, or all of them."""
        self.model.memory.memories.forget(scene_token)
        if scene_token is None:
            self._stands.clear()
        else:
            self._stands.pop(scene_token, None)

    def _checked(
        self, points: ArrayLike | Tensor, pose: ArrayLike | Tensor, timestamp: float, scene_token: str
    ) -> tuple[Tensor, Tensor]:
        """Points in range [N, 5] float32 and the pose [4, 4] float64 of a frame that can be used."""
        cloud = torch.as_tensor(points, dtype=torch.float32)
        if cloud.ndim != 2 or cloud.shape[1] not in (4, 5):
            raise StreamError(f"points: expected [N, 4] or [N, 5], got {list(cloud.shape)}")
        if not cloud.isfinite().all():
            raise StreamError(
                f"points: {int((~cloud.isfinite()).any(dim=1).sum())} of {len(cloud)} hold NaN or infinity"
            )
        global_from_lidar = torch.as_tensor(pose, dtype=torch.float64)
        if global_from_lidar.shape != (4, 4):
            raise StreamError(f"pose: expected global_from_lidar [4, 4], got {list(global_from_lidar.shape)}")
        rotation = global_from_lidar[:3, :3]
        if not torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=_RIGID):
            raise StreamError("pose: its upper left 3 × 3 is no rotation")
        if not (np.isfinite(timestamp) and global_from_lidar.isfinite().all()):
            raise StreamError("pose and timestamp have to be finite")
        stand = self._stands.get(scene_token)
        if stand is not None and timestamp <= stand.timestamp:
            raise StreamError(
                f"timestamp {timestamp:.6f} s of scene {scene_token} is not after its last frame's, "
                f"{stand.timestamp:.6f} s; reset(scene_token) starts the scene anew"
            )
        if cloud.shape[1] == 4:
            cloud = torch.cat((cloud, torch.zeros_like(cloud[:, :1])), dim=1)
        return self._in_range(cloud), global_from_lidar

    def _in_range(self, cloud: Tensor) -> Tensor:
        limits = cloud.new_tensor(self.cfg.DATA_CONFIG.POINT_CLOUD_RANGE)
        return cloud[((cloud[:, :3] >= limits[:3]) & (cloud[:, :3] < limits[3:])).all(dim=1)]

    def _keep(self, scene_token: str, stand: _Stand) -> None:
        """Remember where a scene stands, for as long as its memory is kept."""
        self._stands[scene_token] = stand
        self._stands.move_to_end(scene_token)
        for token in [token for token in self._stands if token not in self.model.memory.memories]:
            del self._stands[token]

    def _show(self, occ_logits: Tensor | None) -> None:
        if occ_logits is None:
            return
        grid = self.cfg.feature_grid
        self.occupancy = occ_logits[0, 0].sigmoid().cpu()
        self.gate = gate(occ_logits, occ_logits.new_empty(1, 1, grid.height, grid.width))[0, 0].cpu()


def _in_global(detections: Detections, global_from_lidar: Tensor) -> Detections:
    boxes = transform_boxes(global_from_lidar, detections.boxes.double())
    return Detections(boxes=boxes, scores=detections.scores, labels=detections.labels)
