"""Ground-truth sampling with whole tracks: objects of other scenes, pasted into every frame of a clip.

A pasted object moves consistently, since a memory would notice if it jumped. In the clip's middle frame (the anchor)
it has the same pose relative to the sensor as in its source frame. In the other frames it keeps its motion in the
world and is placed by the clip's ego poses, so that parked objects stay parked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from remembev.config.schema import GTSamplingConfig
from remembev.data.frame import Frame, centred_within
from remembev.data.index import NuScenesIndex, labels_of
from remembev.data.tracks import TrackDatabase, TrackTables, in_box_frame
from remembev.geometry import relative_pose, transform_boxes
from remembev.geometry.overlap import intersection_bev

_TRIES = 4
_SAME_TIME = 0.1  # s: key frames are 0.5 s apart, give or take a sweep
_EGO_SIZE = (4.0, 4.0, 2.0)  # m, about the ego vehicle's, whatever the sensor's yaw


class TrackPaster:
    """Pastes tracks of a database into clips of ``seq_len`` key frames, ``stride`` apart."""

    def __init__(
        self,
        database: TrackDatabase,
        index: NuScenesIndex,
        cfg: GTSamplingConfig,
        class_names: Sequence[str],
        seq_len: int,
        stride: int,
        point_cloud_range: Sequence[float],
    ) -> None:
        """Find the tracks that fill a clip. Classes of ``SAMPLE_GROUPS`` that aren't in ``class_names`` are ignored.

        Raises:
            DataError: If a class of ``SAMPLE_GROUPS`` or ``MIN_POINTS`` isn't a detection class.
        """
        self.database = database
        self.index = index
        self.cfg = cfg
        self.steps = torch.arange(seq_len) * stride
        self.anchor = seq_len // 2
        self.range = tuple(point_cloud_range)
        self.first_track_id = index.num_tracks
        labels_of([*cfg.SAMPLE_GROUPS, *cfg.MIN_POINTS])
        self.counts = {class_names.index(name): n for name, n in cfg.SAMPLE_GROUPS.items() if name in class_names}
        self._keys = _row_keys(database.tables)
        self._windows = self._find_windows(class_names)

    def _find_windows(self, class_names: Sequence[str]) -> dict[int, Tensor]:
        """Return by label the rows from which a track fills a clip, in range at the anchor, with enough points."""
        tables = self.database.tables
        starts = self._keys[:, None] + self.steps
        rows = torch.searchsorted(self._keys, starts).clamp(max=len(self._keys) - 1)
        rows = rows[(self._keys[rows] == starts).all(dim=1)]
        rows = rows[centred_within(tables.box[rows[:, self.anchor]], self.range)]
        most_points = tables.point_start.diff()[rows].amax(dim=1)
        label_of = labels_of(class_names)[tables.box_class[rows[:, 0]].long()]
        windows = {}
        for label in self.counts:
            enough = most_points >= self.cfg.MIN_POINTS.get(class_names[label], 1)
            windows[label] = rows[(label_of == label) & enough, 0]
        return windows

    def paste(self, frames: Sequence[Frame]) -> list[Frame]:
        """Paste objects and their points into a clip's frames, which are in their own LiDAR frames, without points.

        Objects are drawn from torch's default generator, a few candidates for each missing one. A candidate that
        overlaps another object or the ego vehicle in BEV, in any frame, is rejected.
        """
        missing = self._missing(frames)
        labels, rows = self._draw(missing)
        boxes = self._place(rows, frames)
        chosen = self._choose(missing, labels, boxes, self._fits(rows, boxes, frames))
        tracks = self.first_track_id + torch.arange(len(chosen))
        return [
            self._with_objects(frame, rows[chosen, t], boxes[chosen, t], labels[chosen], tracks)
            for t, frame in enumerate(frames)
        ]

    def clearance(self, frame: Frame) -> Tensor:
        """Return the pasted boxes [M, 9], enlarged by ``REMOVE_EXTRA_WIDTH``, to clear of the frame's own points."""
        boxes = frame.boxes[frame.track_ids >= self.first_track_id]
        boxes[:, 3:6] += boxes.new_tensor(self.cfg.REMOVE_EXTRA_WIDTH)
        return boxes

    # ---------------------------------------------------------------------------------------------------------- drawing

    def _missing(self, frames: Sequence[Frame]) -> dict[int, int]:
        """Return the number of objects to paste by label."""
        missing = {label: self.counts[label] for label, starts in self._windows.items() if len(starts)}
        if self.cfg.LIMIT_WHOLE_SCENE:
            targets = {(label, track) for frame in frames for label, track in zip(*self._targets(frame), strict=True)}
            present = Counter(label for label, _ in targets)
            missing = {label: max(0, count - present[label]) for label, count in missing.items()}
        return missing

    def _targets(self, frame: Frame) -> tuple[list[int], list[int]]:
        """Return labels and track ids of the objects in range that have a point."""
        is_target = (frame.num_points > 0) & centred_within(frame.boxes, self.range)
        return frame.labels[is_target].tolist(), frame.track_ids[is_target].tolist()

    def _draw(self, missing: dict[int, int]) -> tuple[Tensor, Tensor]:
        """Draw candidates: labels [N] and rows [N, T], in the order in which they are tried."""
        empty = torch.zeros(0, dtype=torch.int64)
        labels, starts = [empty], [empty]
        for label, count in missing.items():
            windows = self._windows[label]
            starts.append(windows[torch.randint(len(windows), (_TRIES * count,))])
            labels.append(torch.full((_TRIES * count,), label))
        rows = torch.searchsorted(self._keys, self._keys[torch.cat(starts)][:, None] + self.steps)
        return torch.cat(labels), rows

    def _place(self, rows: Tensor, frames: Sequence[Frame]) -> Tensor:
        """Return the boxes [N, T, 9] of rows [N, T] in the LiDAR frames of a clip."""
        tables = self.database.tables
        global_from_source = self.index.global_from_lidar(tables.frame[rows])
        global_from_frame = torch.stack([frame.global_from_lidar for frame in frames])
        frame_from_anchor = relative_pose(global_from_frame, global_from_frame[self.anchor])
        anchor_from_source = relative_pose(global_from_source[:, self.anchor, None], global_from_source)
        boxes = transform_boxes(frame_from_anchor @ anchor_from_source, tables.box[rows][:, :, None].double())
        return boxes[:, :, 0].nan_to_num(nan=0.0).float()

    def _fits(self, rows: Tensor, boxes: Tensor, frames: Sequence[Frame]) -> Tensor:
        """Return True [N] for candidates in step with the clip that overlap none of its objects nor the ego vehicle."""
        source_times = self.index.timestamps(self.database.tables.frame[rows])
        times = torch.tensor([frame.timestamp for frame in frames], dtype=torch.float64)
        late = (source_times - source_times[:, :1]) - (times - times[0])
        fits = (late.abs() <= _SAME_TIME).all(dim=1)
        ego = torch.tensor([[0.0, 0.0, 0.0, *_EGO_SIZE, 0.0, 0.0, 0.0]])
        for t, frame in enumerate(frames):
            fits &= ~overlapping(boxes[:, t], torch.cat((ego, frame.boxes))).any(dim=1)
        return fits

    def _choose(self, missing: dict[int, int], labels: Tensor, boxes: Tensor, fits: Tensor) -> Tensor:
        """Return the numbers of the candidates to paste: in order, without overlaps, until none is missing."""
        overlaps = torch.stack([overlapping(frame, frame) for frame in boxes.unbind(dim=1)]).any(dim=0)
        missing, chosen = dict(missing), list[int]()
        for number in fits.nonzero()[:, 0].tolist():
            label = int(labels[number])
            if missing[label] and not overlaps[number, chosen].any():
                missing[label] -= 1
                chosen.append(number)
        return torch.tensor(chosen, dtype=torch.int64)

    def _with_objects(self, frame: Frame, rows: Tensor, boxes: Tensor, labels: Tensor, tracks: Tensor) -> Frame:
        tables = self.database.tables
        return replace(
            frame,
            points=torch.cat((frame.points, self._points(rows, boxes))),
            boxes=torch.cat((frame.boxes, boxes)),
            labels=torch.cat((frame.labels, labels)),
            track_ids=torch.cat((frame.track_ids, tracks)),
            num_points=torch.cat((frame.num_points, tables.box_points[rows].long())),
            visibility=torch.cat((frame.visibility, tables.box_visibility[rows].long())),
        )

    def _points(self, rows: Tensor, boxes: Tensor) -> Tensor:
        """Return the points [P, 5] of rows [n], moved into their boxes [n, 9]."""
        tables = self.database.tables
        spans = zip(tables.point_start[rows].tolist(), tables.point_start[rows + 1].tolist(), strict=True)
        pieces = [tables.points[start:stop] for start, stop in spans]
        points = torch.cat([torch.zeros(0, 5), *pieces])
        box = boxes.repeat_interleave(torch.tensor([len(piece) for piece in pieces], dtype=torch.int64), dim=0)
        points[:, :3] = in_box_frame(points[:, :3], -box[:, 6]) + box[:, :3]
        return points


def overlapping(first: Tensor, second: Tensor) -> Tensor:
    """Return True [N, M] where boxes [N, ≥7] and [M, ≥7] overlap in BEV."""
    reach = first[:, None, 3:5].norm(dim=-1) + second[None, :, 3:5].norm(dim=-1)
    overlaps = (first[:, None, :2] - second[None, :, :2]).norm(dim=-1) <= reach / 2
    row, column = overlaps.nonzero(as_tuple=True)
    overlaps[row, column] = intersection_bev(first[row], second[column]) > 0
    return overlaps


def _row_keys(tables: TrackTables) -> Tensor:
    """Return increasing keys [R] int64 of the rows; within a track, by one per key frame."""
    track = tables.box_track
    begins = torch.ones_like(track, dtype=torch.bool)
    begins[1:] = track[1:] != track[:-1]
    frames = int(tables.frame.max()) + 1 if len(track) else 1
    return begins.cumsum(dim=0) * 2 * frames + tables.frame
