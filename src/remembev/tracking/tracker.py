"""``Tracker``: the tracks of a scene after each frame, as a pure step from detections and a state to the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from remembev.config import Config, TrackingConfig
from remembev.data import SLACK_SECONDS
from remembev.errors import StreamError
from remembev.geometry import invert_pose, transform_boxes
from remembev.memory.motion import MotionModel
from remembev.models import Detections
from remembev.ops import nms_bev
from remembev.tracking.association import match_greedily
from remembev.tracking.free_space import count_rays
from remembev.tracking.state import TrackerState, Tracks

AnyDetections = TypeVar("AnyDetections", bound=Detections)

UNTRACKED = -1
"""Track id of a detection that no track has."""


class Tracker:
    """Online greedy tracker in global coordinates.

    Detections join the nearest track of their class, the best first, as in CenterPoint (Yin et al., CVPR 2021). A track
    without a detection coasts: it moves on at its velocity, and its box is added to the frame's with a score that falls
    with time. An unobserved detection, without a point inside, keeps a track in place, but is no sighting. The tracker
    itself never changes, so that one serves any number of scenes.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        cfg: TrackingConfig | None = None,
        *,
        point_cloud_range: Sequence[float] | None = None,
    ) -> None:
        """Create a tracker.

        Args:
            class_names: The classes that labels index.
            cfg: Settings; default: ``TrackingConfig()``.
            point_cloud_range: x_min, y_min, z_min, x_max, y_max, z_max; boxes that coast out of it in x or y are not
                shown. Default: no limit.
        """
        self.class_names = tuple(class_names)
        self.cfg = cfg or TrackingConfig()
        self.point_cloud_range = point_cloud_range
        motions = (self.cfg.MOTION, self.cfg.CLASS_MOTION)
        self.motion = MotionModel(class_names, *motions, noise=self.cfg.POSITION_NOISE)
        reach = [self.cfg.CLASS_MOTION.get(name, self.cfg.MOTION).MAX_DISTANCE for name in class_names]
        self._max_distance = torch.tensor(reach, dtype=torch.float64)

    @classmethod
    def from_config(cls, cfg: Config) -> Self:
        """Create the tracker of a configuration."""
        return cls(cfg.CLASS_NAMES, cfg.TRACKING, point_cloud_range=cfg.DATA_CONFIG.POINT_CLOUD_RANGE)

    def initial_state(self) -> TrackerState:
        """Return the state before a first frame."""
        return TrackerState.empty()

    def step(
        self,
        state: TrackerState,
        detections: AnyDetections,
        global_from_lidar: Tensor,
        timestamp: float,
        points: Tensor | None = None,
    ) -> tuple[AnyDetections, TrackerState]:
        """Track the detections of the next frame of a scene.

        Args:
            state: State after the frame before; it stays as it is.
            detections: In the LiDAR frame, on the CPU; all are taken as observed if ``observed`` is None.
            global_from_lidar: [4, 4], pose of the LiDAR frame.
            timestamp: Seconds; later than the frame before.
            points: [N, 5] of the frame, to tell free space; default: nothing is known of it.

        Returns:
            The detections with ``track_ids`` and the boxes of coasting tracks, best first, and the next state. Coasted
            boxes are not ``observed``: whether points lie in them is not checked here.

        Raises:
            StreamError: If the frame is not later than the one before.
        """
        # Predict.
        seconds = timestamp - float(state.timestamp)
        if seconds <= 0:
            raise StreamError(f"timestamp {timestamp:.6f} s is not after the last tracked frame's")
        tracks = state.tracks[timestamp - state.tracks.last_seen <= self.cfg.COAST + SLACK_SECONDS]
        if len(tracks):  # the time since no frame at all is infinite
            since = torch.tensor(seconds, dtype=torch.float64)
            moved, covariance = self.motion.predict(tracks.boxes, tracks.covariance, tracks.labels, since)
            tracks = replace(tracks, boxes=moved, covariance=covariance)

        # Associate.
        detections = detections[detections.scores.argsort(descending=True, stable=True)]
        boxes = transform_boxes(global_from_lidar.double(), detections.boxes.double())
        track = self._associate(tracks, boxes, detections)
        joins, observed = track >= 0, ~detections.remembered
        starts = ~joins & observed & (detections.scores >= self.cfg.MIN_SCORE)

        # Correct, and start.
        tracks = self._correct(tracks, track[joins], boxes[joins], detections[joins], timestamp)
        started = self._start(boxes[starts], detections[starts], state.next_id, timestamp)
        ids = torch.full_like(track, UNTRACKED)
        ids[joins], ids[starts] = tracks.ids[track[joins]], started.ids

        # Coast.
        coast_scores = self.cfg.coasted_score(tracks.best_score, timestamp - tracks.last_seen)
        coast_scores, held = coast_scores.to(detections.scores.dtype), joins & ~observed
        scores = detections.scores.clone()
        scores[held] = scores[held].maximum(coast_scores[track[held]])
        coasts = torch.ones(len(tracks), dtype=torch.bool).index_fill_(0, track[joins], False)
        coasted = self._coasted(tracks[coasts], coast_scores[coasts], invert_pose(global_from_lidar.double()), points)

        tracked = self._join(replace(detections, scores=scores, track_ids=ids), coasted)
        now = torch.tensor([timestamp], dtype=torch.float64)
        return tracked, TrackerState(Tracks.stack([tracks, started]), state.next_id + len(started), now)

    def _associate(self, tracks: Tracks, boxes: Tensor, detections: Detections) -> Tensor:
        """Return the track [K] that each detection joins, best first; -1 for none."""
        likely = int((detections.scores >= self.cfg.MIN_SCORE).sum())
        labels, centres = detections.labels[:likely], boxes[:likely, :2]
        distance = torch.cdist(centres, tracks.boxes[:, :2], compute_mode="donot_use_mm_for_euclid_dist")
        distance[labels[:, None] != tracks.labels] = torch.inf
        match = torch.full_like(detections.labels, -1)
        match[:likely] = torch.from_numpy(match_greedily(distance.numpy(), self._max_distance[labels].numpy()))
        return match

    def _correct(self, tracks: Tracks, rows: Tensor, boxes: Tensor, detections: Detections, timestamp: float) -> Tracks:
        """Return the tracks after a detection each joined those of ``rows`` [J]; unobserved ones only move a track."""
        before = tracks[rows]
        corrected, covariance = self.motion.correct(before.boxes, before.covariance, before.labels, boxes)
        moved = replace(before, boxes=corrected, covariance=covariance)
        seen = replace(
            moved,
            boxes=torch.cat((moved.boxes[:, :2], boxes[:, 2:7], moved.boxes[:, 7:]), dim=1),
            last_seen=torch.full_like(moved.last_seen, timestamp),
            best_score=moved.best_score.maximum(detections.scores.double()),
        )
        joined = seen.where(~detections.remembered, moved)
        return tracks.zip_map(lambda old, new: old.index_copy(0, rows, new), joined)

    def _start(self, boxes: Tensor, detections: Detections, next_id: Tensor, timestamp: float) -> Tracks:
        """Return a new track for each detection; it is taken to stand until it is seen again."""
        return Tracks(
            ids=next_id + torch.arange(len(boxes)),
            labels=detections.labels,
            boxes=torch.cat((boxes[:, :7], torch.zeros_like(boxes[:, 7:])), dim=1),
            covariance=self.motion.first_covariance(detections.labels, torch.float64),
            last_seen=boxes.new_full((len(boxes),), timestamp),
            best_score=detections.scores.double(),
        )

    def _coasted(self, tracks: Tracks, scores: Tensor, lidar_from_global: Tensor, points: Tensor | None) -> Detections:
        """Return the boxes of coasting tracks in the LiDAR frame, as far as they are in range and likely enough."""
        boxes = transform_boxes(lidar_from_global, tracks.boxes).float()
        if points is not None and len(tracks):
            is_free = count_rays(points, boxes).mostly_through()
            scores = torch.where(is_free, self.cfg.FREE_SPACE_SCORE * scores, scores)
        shown = scores >= self.cfg.MIN_COAST_SCORE
        if self.point_cloud_range is not None:
            limits = boxes.new_tensor(self.point_cloud_range)
            shown &= ((boxes[:, :2] >= limits[:2]) & (boxes[:, :2] < limits[3:5])).all(dim=1)
        return Detections(boxes, scores, tracks.labels, track_ids=tracks.ids)[shown]

    def _join(self, detections: AnyDetections, coasted: Detections) -> AnyDetections:
        """Add coasted boxes to a frame's detections, best first, without those that overlap better ones.

        A detection that could have joined a track is better than any coasted box; fainter ones don't count.
        """
        rivals = detections[detections.scores >= self.cfg.MIN_SCORE]
        boxes, labels = torch.cat((rivals.boxes, coasted.boxes)), torch.cat((rivals.labels, coasted.labels))
        ranks = torch.cat((rivals.scores + 1, coasted.scores))
        kept = nms_bev(boxes, ranks, labels, self.cfg.NMS_THRESH, limit=len(boxes)) - len(rivals)
        coasted = coasted[kept[kept >= 0]]
        assert detections.track_ids is not None
        assert coasted.track_ids is not None
        is_coasted = torch.arange(len(detections) + len(coasted)) >= len(detections)
        joined = replace(
            detections,
            boxes=torch.cat((detections.boxes, coasted.boxes)),
            scores=torch.cat((detections.scores, coasted.scores)),
            labels=torch.cat((detections.labels, coasted.labels)),
            observed=torch.cat((~detections.remembered, torch.zeros(len(coasted), dtype=torch.bool))),
            track_ids=torch.cat((detections.track_ids, coasted.track_ids)),
            coasted=is_coasted,
        )
        return joined[joined.scores.argsort(descending=True, stable=True)]
