"""``StreamingDetector``: keeps what a stream needs from frame to frame, so that the caller only brings frames."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from remembev.config import Config, StreamingConfig
from remembev.data.points import shuffled
from remembev.errors import StreamError
from remembev.geometry import relative_pose, transform_boxes
from remembev.models import Detections, TemporalPointPillar
from remembev.models.checkpoint import load_checkpoint
from remembev.streaming.engine import Engine, ModelEngine, StepOutput
from remembev.streaming.observed import boxes_with_points
from remembev.streaming.policy import find_break, refuse_late
from remembev.streaming.saved import load_state, save_state
from remembev.streaming.state import Moment, StreamState

_RIGID = 1e-3
"""How far a pose's rotation may be from orthonormal."""

logger = logging.getLogger(__name__)


class StreamingDetector:
    """Detects on a stream of frames, of one scene or of several in turn; each scene has a memory of its own.

    gate and occupancy hold the latest step's gate [H, W] and occupancy [H_m, W_m], both in [0, 1], for looking at.
    """

    def __init__(
        self,
        model: TemporalPointPillar | Engine,
        device: str | torch.device = "cpu",
        *,
        streaming: StreamingConfig | None = None,
    ) -> None:
        """A detector with that model on ``device``, or with what runs one, which has a device of its own.

        ``streaming`` says when a stream breaks off, if not as the model's configuration does.
        """
        self.engine: Engine = ModelEngine(model, device) if isinstance(model, TemporalPointPillar) else model
        self.streaming = streaming or self.cfg.STREAMING
        self.gate: Tensor | None = None
        self.occupancy: Tensor | None = None
        self._scenes: OrderedDict[str, StreamState] = OrderedDict()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
        streaming: StreamingConfig | None = None,
    ) -> StreamingDetector:
        """A detector with the weights and the configuration of a checkpoint, or of the shipped weights of that name.

        dtype  of the convolutions of backbone and head: float32, or bfloat16, which is about twice as fast
        """
        return cls(ModelEngine(load_checkpoint(path), device, dtype), streaming=streaming)

    @property
    def cfg(self) -> Config:
        """The model's configuration."""
        return self.engine.cfg

    @property
    def device(self) -> torch.device:
        """Where the model works."""
        return self.engine.device

    @property
    def scenes(self) -> list[str]:
        """Tokens of the scenes that are remembered, the one used longest ago first."""
        return list(self._scenes)

    def state(self, scene_token: str) -> StreamState:
        """Where the stream of a scene stands. Raises StreamError for a scene that is not remembered."""
        if scene_token not in self._scenes:
            raise StreamError(f"no scene {scene_token!r} is remembered; there are: {', '.join(self._scenes) or 'none'}")
        return self._scenes[scene_token]

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
        returns      boxes [K, 9], scores [K], labels [K] on the CPU; velocities [K, 2] are the boxes' last two columns;
                     observed [K] says whether the current sweep has a point inside, or the box is remembered

        A frame without a point in range gives no boxes and leaves the memory as it is. A frame that can't go on from
        the one before (``STREAMING`` in the configuration) starts the scene anew, with a warning, or is an error.
        Raises StreamError for a frame that can't be used. Whatever a step raises, it leaves the state of every scene
        as it was: the stream goes on as if the frame had not come.
        """
        cloud, now = self._in_range(_cloud(points)), _moment(pose, timestamp)
        before = self._scenes.get(scene_token)
        broken = None if before is None else self._broken(scene_token, before, now)
        if before is None or broken is not None:
            before = StreamState.start(self.engine.initial_state(), now)
        after, seen = self._detect(cloud, now, before)
        detections = Detections.empty() if seen is None else _with_observed(seen.detections, cloud)
        if frame == "global":
            detections = _in_global(detections, now.pose[0])
        # Nothing has been changed so far, and nothing fails from here on.
        self._keep(scene_token, after)
        if seen is not None:
            self.occupancy, self.gate = seen.occupancy, seen.gate
        if broken is not None:
            logger.warning("scene %s starts anew: %s", scene_token, broken)
        return detections

    def reset(self, scene_token: str | None = None) -> None:
        """Forget one scene, or all of them."""
        if scene_token is None:
            self._scenes.clear()
        else:
            self._scenes.pop(scene_token, None)

    def restore(self, scene_token: str, state: StreamState) -> None:
        """Go on with a scene from a ``state`` of this model, in place of what is remembered of it."""
        self._keep(scene_token, state)

    def save_state(self, path: str | Path, scene_token: str) -> None:
        """Write the state of a scene, from which ``load_state`` goes on bit for bit; a file there is replaced whole.

        Raises StreamError for a scene that is not remembered.
        """
        save_state(Path(path), self.state(scene_token), scene_token, self.engine)

    def load_state(self, path: str | Path) -> str:
        """Go on with the scene of a saved state, in place of what is remembered of it; its token.

        Raises StreamError, and changes nothing, if the file is no state or one of another configuration or weights.
        """
        nowhere = Moment(torch.eye(4, dtype=torch.float64)[None], torch.zeros(1, dtype=torch.float64))
        like = StreamState.start(self.engine.initial_state(), nowhere)
        scene_token, state = load_state(Path(path), like, self.engine)
        self.restore(scene_token, state)
        return scene_token

    def _in_range(self, cloud: Tensor) -> Tensor:
        limits = cloud.new_tensor(self.cfg.DATA_CONFIG.POINT_CLOUD_RANGE)
        inside = cloud[((cloud[:, :3] >= limits[:3]) & (cloud[:, :3] < limits[3:])).all(dim=1)]
        return shuffled(inside, fixed=True) if self.cfg.DATA_CONFIG.DATA_PROCESSOR.SHUFFLE_POINTS.test else inside

    def _broken(self, scene_token: str, before: StreamState, now: Moment) -> str | None:
        """Why the scene has to start anew, if it has to. Raises StreamError for a frame that is not to be taken."""
        refuse_late(scene_token, before, now)
        broken = find_break(before, now, self.streaming)
        if broken is not None and self.streaming.ON_BREAK == "error":
            raise StreamError(f"scene {scene_token} breaks off: {broken}; reset(scene_token) starts it anew")
        return broken

    def _detect(self, cloud: Tensor, now: Moment, before: StreamState) -> tuple[StreamState, StepOutput | None]:
        """The state after a frame, and what is on it, None without a point; changes nothing."""
        if len(cloud) == 0:
            return replace(before, latest=now), None
        motion = relative_pose(before.remembered.pose, now.pose).float()
        seen = self.engine.step(cloud, motion, now.timestamp, before.memory)
        return StreamState(memory=seen.memory, frames=before.frames + 1, remembered=now, latest=now), seen

    def _keep(self, scene_token: str, state: StreamState) -> None:
        """Remember where a scene stands; over the limit, the one used longest ago is forgotten."""
        self._scenes[scene_token] = state
        self._scenes.move_to_end(scene_token)
        while len(self._scenes) > self.cfg.MODEL.MEMORY.MAX_SCENES:
            self._scenes.popitem(last=False)


def _cloud(points: ArrayLike | Tensor) -> Tensor:
    """Points [N, 5] float32 of a frame that can be used."""
    cloud = torch.as_tensor(points, dtype=torch.float32)
    if cloud.ndim != 2 or cloud.shape[1] not in (4, 5):
        raise StreamError(f"points: expected [N, 4] or [N, 5], got {list(cloud.shape)}")
    if not cloud.isfinite().all():
        raise StreamError(f"points: {int((~cloud.isfinite()).any(dim=1).sum())} of {len(cloud)} hold NaN or infinity")
    return cloud if cloud.shape[1] == 5 else torch.cat((cloud, torch.zeros_like(cloud[:, :1])), dim=1)


def _moment(pose: ArrayLike | Tensor, timestamp: float) -> Moment:
    """Place and time of a frame that can be used, a copy: a robot may write its next pose into the same array."""
    global_from_lidar = torch.as_tensor(pose, dtype=torch.float64).to("cpu", copy=True)
    if global_from_lidar.shape != (4, 4):
        raise StreamError(f"pose: expected global_from_lidar [4, 4], got {list(global_from_lidar.shape)}")
    if not (np.isfinite(timestamp) and global_from_lidar.isfinite().all()):
        raise StreamError("pose and timestamp have to be finite")
    rotation, last_row = global_from_lidar[:3, :3], global_from_lidar[3]
    unit = torch.eye(4, dtype=torch.float64)
    if not torch.allclose(rotation @ rotation.T, unit[:3, :3], atol=_RIGID) or torch.linalg.det(rotation) < 0:
        raise StreamError("pose: its upper left 3 × 3 is no rotation")
    if not torch.allclose(last_row, unit[3], atol=_RIGID):
        raise StreamError(f"pose: its last row is {last_row.tolist()}, not [0, 0, 0, 1]")
    return Moment(global_from_lidar[None], torch.tensor([timestamp], dtype=torch.float64))


def _in_global(detections: Detections, global_from_lidar: Tensor) -> Detections:
    return replace(detections, boxes=transform_boxes(global_from_lidar, detections.boxes.double()))


def _with_observed(detections: Detections, cloud: Tensor) -> Detections:
    return replace(detections, observed=boxes_with_points(detections.boxes, cloud.cpu()))
