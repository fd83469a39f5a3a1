"""``StreamingDetector``: detection on a stream of frames, with a memory for every scene."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from typing_extensions import Self

from remembev.config import Config, StreamingConfig
from remembev.data.points import shuffle_points
from remembev.errors import StreamError
from remembev.geometry import relative_pose, transform_boxes
from remembev.memory.scenes import SceneStates
from remembev.models import Detections, TemporalPointPillar
from remembev.models.checkpoint import load_checkpoint
from remembev.ops import stage
from remembev.streaming.engine import Engine, ModelEngine, StepOutput
from remembev.streaming.observed import boxes_with_points
from remembev.streaming.policy import find_break, refuse_late
from remembev.streaming.saved import load_state, save_state
from remembev.streaming.state import Moment, StreamState
from remembev.tracking import Tracker

_ORTHONORMAL_TOLERANCE = 1e-3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamDetections(Detections):
    """K boxes of one frame of a stream, and the maps that the memory made for it.

    The maps are None without an XMem memory and for a frame without points.
    """

    gate: Tensor | None = None  # [H, W] in [0, 1], on the CPU
    occupancy: Tensor | None = None  # [H_m, W_m] in [0, 1], on the CPU


class StreamingDetector:
    """Detects on a stream of frames, of one scene or of several in turn; each scene has its own memory."""

    def __init__(
        self,
        model: TemporalPointPillar | Engine,
        device: str | torch.device = "cpu",
        *,
        streaming: StreamingConfig | None = None,
        tracker: Tracker | bool | None = None,
    ) -> None:
        """Create a detector.

        Args:
            model: The model, or an engine that runs one.
            device: Device for a model; an engine has its own.
            streaming: When a stream breaks off; default: the model's configuration.
            tracker: Tracks the objects; True for the tracker of the model's configuration, False for none. Default: as
                ``TRACKING.ENABLED`` says.
        """
        self.engine: Engine = ModelEngine(model, device) if isinstance(model, TemporalPointPillar) else model
        self.streaming = streaming or self.cfg.STREAMING
        if tracker is None:
            tracker = self.cfg.TRACKING.ENABLED
        if isinstance(tracker, bool):
            tracker = Tracker.from_config(self.cfg) if tracker else None
        self.tracker: Tracker | None = tracker
        self._scenes: SceneStates[str, StreamState] = SceneStates(self.cfg.MODEL.MEMORY.MAX_SCENES)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
        streaming: StreamingConfig | None = None,
        tracker: Tracker | bool | None = None,
    ) -> Self:
        """Create a detector from a checkpoint or the name of shipped weights.

        Args:
            path: The checkpoint, or a name such as ``small``.
            device: Device to run on.
            dtype: Of the convolutions of backbone and head: float32, or bfloat16.
            streaming: When a stream breaks off; default: the checkpoint's configuration.
            tracker: Tracks the objects; see ``StreamingDetector``.

        Raises:
            CheckpointError: If there is no such checkpoint, or it can't be used.
        """
        return cls(ModelEngine(load_checkpoint(path), device, dtype), streaming=streaming, tracker=tracker)

    @property
    def cfg(self) -> Config:
        """Configuration of the model."""
        return self.engine.cfg

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.engine.device

    @property
    def scenes(self) -> list[str]:
        """Tokens of the scenes in memory, the least recently used first."""
        return list(self._scenes)

    def state(self, scene_token: str) -> StreamState:
        """Return the state of a scene. Raises StreamError if the scene is not in memory."""
        state = self._scenes.get(scene_token)
        if state is None:
            raise StreamError(f"no state for scene {scene_token!r}; known scenes: {', '.join(self._scenes) or 'none'}")
        return state

    @torch.inference_mode()
    def step(
        self,
        points: ArrayLike | Tensor,
        pose: ArrayLike | Tensor,
        timestamp: float,
        scene_token: str,
        *,
        frame: Literal["lidar", "global"] = "lidar",
    ) -> StreamDetections:
        """Detect on the next frame of a scene.

        A frame without a point in range leaves the memory unchanged; it gives no boxes but those of tracks that coast.
        A frame that can't follow the previous one (``STREAMING`` in the configuration) restarts the scene with a
        warning, or is an error. If a step raises, the states of all scenes stay as they were: the stream continues as
        if the frame had not come.

        Args:
            points: [N, 4 or 5]: x, y, z in the LiDAR frame (m), intensity, and age in s (default 0).
            pose: global_from_lidar [4, 4], float64.
            timestamp: Seconds; later than the scene's previous frame.
            scene_token: Any name; a new one starts with an empty memory.
            frame: Frame of the returned boxes and velocities; global ones are float64.

        Returns:
            Boxes [K, 9], scores [K] and labels [K] on the CPU, best first; ``observed`` [K] is True if the current
            sweep has a point inside, False if the box is remembered. With a tracker they have ``track_ids`` [K], and
            boxes of lost tracks are among them, which ``coasted`` [K] marks.

        Raises:
            StreamError: If the frame can't be used.
        """
        # Validate.
        with stage("check"):
            cloud, now = _cloud(points), _moment(pose, timestamp)
            in_range = self._crop(cloud)
        previous = self._scenes.get(scene_token)
        break_reason = None if previous is None else self._break_reason(scene_token, previous, now)
        if previous is None or break_reason is not None:
            previous = self._start(now)

        # Compute; nothing is changed.
        state, output = self._detect(in_range, now, previous)
        with stage("observe"):
            detections = _empty() if output is None else _with_observed(output, in_range)
            detections, state = self._track(detections, cloud.cpu(), state)
        if frame == "global":
            detections = _to_global(detections, now.pose[0])

        # Commit; nothing below can fail.
        self._scenes.put(scene_token, state)
        if break_reason is not None:
            logger.warning("scene %s was reset: %s", scene_token, break_reason)
        return detections

    def reset(self, scene_token: str | None = None) -> None:
        """Forget one scene, or all of them."""
        if scene_token is None:
            self._scenes.clear()
        else:
            self._scenes.forget(scene_token)

    def clear_memory(self, scene_token: str) -> None:
        """Forget what the memory holds of a scene, if it is known; its tracks stay."""
        state = self._scenes.get(scene_token)
        if state is not None:
            self._scenes.put(scene_token, replace(self._start(state.latest), tracker=state.tracker))

    def restore(self, scene_token: str, state: StreamState) -> None:
        """Continue a scene from a state of this model, replacing the scene's current state."""
        self._scenes.put(scene_token, state)

    def save_state(self, path: str | Path, scene_token: str) -> None:
        """Write the state of a scene, from which ``load_state`` continues bit for bit; replaces a file atomically.

        Raises:
            StreamError: If the scene is not in memory.
        """
        save_state(Path(path), self.state(scene_token), scene_token, self.engine)

    def load_state(self, path: str | Path) -> str:
        """Continue the scene of a saved state, replacing the scene's current state; return its token.

        Raises:
            StreamError: If the file is not a saved state, or was made with another configuration or other weights.
                Nothing is changed then.
        """
        nowhere = Moment(torch.eye(4, dtype=torch.float64)[None], torch.zeros(1, dtype=torch.float64))
        scene_token, state = load_state(Path(path), self._start(nowhere), self.engine)
        self.restore(scene_token, state)
        return scene_token

    def _start(self, moment: Moment) -> StreamState:
        """Return the state before a first frame."""
        tracks = None if self.tracker is None else self.tracker.initial_state()
        return StreamState.start(self.engine.initial_state(), moment, tracks)

    def _crop(self, cloud: Tensor) -> Tensor:
        limits = cloud.new_tensor(self.cfg.DATA_CONFIG.POINT_CLOUD_RANGE)
        inside = cloud[((cloud[:, :3] >= limits[:3]) & (cloud[:, :3] < limits[3:])).all(dim=1)]
        return shuffle_points(inside, fixed=True) if self.cfg.DATA_CONFIG.DATA_PROCESSOR.SHUFFLE_POINTS.test else inside

    def _break_reason(self, scene_token: str, previous: StreamState, now: Moment) -> str | None:
        """Return why the scene has to restart, if it has to. Raises StreamError for a frame to be refused."""
        refuse_late(scene_token, previous, now)
        reason = find_break(previous, now, self.streaming)
        if reason is not None and self.streaming.ON_BREAK == "error":
            raise StreamError(f"scene {scene_token} breaks off: {reason}; call reset(scene_token) to restart it")
        return reason

    def _detect(self, cloud: Tensor, now: Moment, previous: StreamState) -> tuple[StreamState, StepOutput | None]:
        """Return the state after a frame and the engine's output, None without a point."""
        if len(cloud) == 0:
            return replace(previous, latest=now), None
        motion = relative_pose(previous.remembered.pose, now.pose).float()
        output = self.engine.step(cloud, motion, now.timestamp, previous.memory)
        return StreamState(output.memory, previous.frames + 1, now, now, previous.tracker), output

    def _track(
        self, detections: StreamDetections, cloud: Tensor, state: StreamState
    ) -> tuple[StreamDetections, StreamState]:
        """Return a frame's detections with their tracks, and the state with the tracks after the frame."""
        if self.tracker is None:
            return detections, replace(state, tracker=None)
        tracks = state.tracker or self.tracker.initial_state()  # a restored state may have none
        now = state.latest
        detections, tracks = self.tracker.step(tracks, detections, now.pose[0], float(now.timestamp), cloud)
        return _with_observed_coasting(detections, cloud), replace(state, tracker=tracks)


def _cloud(points: ArrayLike | Tensor) -> Tensor:
    """Return points as [N, 5] float32. Raises StreamError if they can't be used."""
    cloud = torch.as_tensor(points, dtype=torch.float32)
    if cloud.ndim != 2 or cloud.shape[1] not in (4, 5):
        raise StreamError(f"points: expected [N, 4] or [N, 5], got {list(cloud.shape)}")
    if not cloud.isfinite().all():
        raise StreamError(
            f"points: {int((~cloud.isfinite()).any(dim=1).sum())} of {len(cloud)} contain NaN or infinity"
        )
    return cloud if cloud.shape[1] == 5 else torch.cat((cloud, torch.zeros_like(cloud[:, :1])), dim=1)


def _moment(pose: ArrayLike | Tensor, timestamp: float) -> Moment:
    """Return place and time of a frame. Raises StreamError if they can't be used."""
    # A copy: a robot may write its next pose into the same array.
    global_from_lidar = torch.as_tensor(pose, dtype=torch.float64).to("cpu", copy=True)
    if global_from_lidar.shape != (4, 4):
        raise StreamError(f"pose: expected global_from_lidar [4, 4], got {list(global_from_lidar.shape)}")
    if not (np.isfinite(timestamp) and global_from_lidar.isfinite().all()):
        raise StreamError("pose and timestamp have to be finite")
    rotation, last_row = global_from_lidar[:3, :3], global_from_lidar[3]
    identity = torch.eye(4, dtype=torch.float64)
    is_orthonormal = torch.allclose(rotation @ rotation.T, identity[:3, :3], atol=_ORTHONORMAL_TOLERANCE)
    if not is_orthonormal or torch.linalg.det(rotation) < 0:
        raise StreamError("pose: its upper left 3 × 3 is not a rotation")
    if not torch.allclose(last_row, identity[3], atol=_ORTHONORMAL_TOLERANCE):
        raise StreamError(f"pose: its last row is {last_row.tolist()}, not [0, 0, 0, 1]")
    return Moment(global_from_lidar[None], torch.tensor([timestamp], dtype=torch.float64))


def _empty() -> StreamDetections:
    none = Detections.empty()
    return StreamDetections(none.boxes, none.scores, none.labels, torch.zeros(0, dtype=torch.bool))


def _to_global(detections: StreamDetections, global_from_lidar: Tensor) -> StreamDetections:
    return replace(detections, boxes=transform_boxes(global_from_lidar, detections.boxes.double()))


def _with_observed(output: StepOutput, cloud: Tensor) -> StreamDetections:
    found = output.detections
    return StreamDetections(
        found.boxes,
        found.scores,
        found.labels,
        observed=boxes_with_points(found.boxes, cloud.cpu()),
        gate=output.gate,
        occupancy=output.occupancy,
    )


def _with_observed_coasting(detections: StreamDetections, cloud: Tensor) -> StreamDetections:
    """Check coasted boxes for points too."""
    assert detections.observed is not None
    assert detections.coasted is not None
    rows = torch.nonzero(detections.coasted)[:, 0]
    with_points = boxes_with_points(detections.boxes[rows], cloud)
    return replace(detections, observed=detections.observed.index_copy(0, rows, with_points))
