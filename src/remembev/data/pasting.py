"""Ground-truth sampling with whole tracks: objects from elsewhere in the split, pasted into every frame of a clip.

A memory sees through a clip in which an object jumps, so what is kept is the object's course in the world. In the
clip's middle frame, its anchor, a pasted object stands before the sensor as it stood before its own: at the same range,
seen from the same side, as high above the ground. In the other frames it has moved on from there as it did in its own
world, and is placed by the clip's own ego poses: what was parked stays where it is.
"""

from __future__ import annotations

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
_EGO_SIZE = (4.0, 4.0, 2.0)  # m, about the recording car's, whichever way its sensor is turned


class TrackPaster:
    """Pastes tracks of a database into clips of ``seq_len`` key frames, ``stride`` apart.

    Classes are those of ``class_names``; others of ``SAMPLE_GROUPS`` are left out. Raises DataError if one isn't a
    detection class at all.
    """

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
        """By label, the rows at which a track begins to fill a clip: in range at the anchor, with points enough."""
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
        """The frames of a clip, each in its own LiDAR frame and without points, with objects and their points added.

        Objects are drawn from torch's default generator. One that in some frame overlaps another object, seen from
        above, or the recording car is not taken; there are a few draws for each that is missing.
        """
        missing = self._missing(frames)
        labels, rows = self._draw(missing)
        boxes = self._placed(rows, frames)
        chosen = self._choose(missing, labels, boxes, self._fits(rows, boxes, frames))
        tracks = self.first_track_id + torch.arange(len(chosen))
        return [
            self._with_objects(frame, rows[chosen, t], boxes[chosen, t], labels[chosen], tracks)
            for t, frame in enumerate(frames)
        ]

    def clearance(self, frame: Frame) -> Tensor:
        """Boxes [M, 9] that no other points may be in: the pasted ones, ``REMOVE_EXTRA_WIDTH`` wider."""
        boxes = frame.boxes[frame.track_ids >= self.first_track_id]
        boxes[:, 3:6] += boxes.new_tensor(self.cfg.REMOVE_EXTRA_WIDTH)
        return boxes

    # ---------------------------------------------------------------------------------------------------------- drawing

    def _missing(self, frames: Sequence[Frame]) -> dict[int, int]:
        """How many objects of each label are to be pasted."""
        missing = {label: self.counts[label] for label, starts in self._windows.items() if len(starts)}
        if self.cfg.LIMIT_WHOLE_SCENE:
            there = {(label, track) for frame in frames for label, track in zip(*self._learnt_from(frame), strict=True)}
            missing = {
                label: max(0, count - sum(found == label for found, _ in there)) for label, count in missing.items()
            }
        return missing

    def _learnt_from(self, frame: Frame) -> tuple[list[int], list[int]]:
        """Labels and track ids of the objects in range that have a point."""
        counts = (frame.num_points > 0) & centred_within(frame.boxes, self.range)
        return frame.labels[counts].tolist(), frame.track_ids[counts].tolist()

    def _draw(self, missing: dict[int, int]) -> tuple[Tensor, Tensor]:
        """Labels [N] and rows [N, T] of the objects to try, in the order in which they are tried."""
        nothing = torch.zeros(0, dtype=torch.int64)
        labels, starts = [nothing], [nothing]
        for label, count in missing.items():
            windows = self._windows[label]
            starts.append(windows[torch.randint(len(windows), (_TRIES * count,))])
            labels.append(torch.full((_TRIES * count,), label))
        rows = torch.searchsorted(self._keys, self._keys[torch.cat(starts)][:, None] + self.steps)
        return torch.cat(labels), rows

    def _placed(self, rows: Tensor, frames: Sequence[Frame]) -> Tensor:
        """Boxes [N, T, 9] of rows [N, T] in the LiDAR frames of a clip."""
        tables = self.database.tables
        global_from_source = self.index.global_from_lidar(tables.frame[rows])
        global_from_frame = torch.stack([frame.global_from_lidar for frame in frames])
        frame_from_anchor = relative_pose(global_from_frame, global_from_frame[self.anchor])
        anchor_from_source = relative_pose(global_from_source[:, self.anchor, None], global_from_source)
        boxes = transform_boxes(frame_from_anchor @ anchor_from_source, tables.box[rows][:, :, None].double())
        return boxes[:, :, 0].nan_to_num(nan=0.0).float()

    def _fits(self, rows: Tensor, boxes: Tensor, frames: Sequence[Frame]) -> Tensor:
        """Which objects keep the clip's time, clear of its objects and the recording car in all frames: bool [N]."""
        source_times = self.index.timestamps(self.database.tables.frame[rows])
        times = torch.tensor([frame.timestamp for frame in frames], dtype=torch.float64)
        late = (source_times - source_times[:, :1]) - (times - times[0])
        fits = (late.abs() <= _SAME_TIME).all(dim=1)
        ego = torch.tensor([[0.0, 0.0, 0.0, *_EGO_SIZE, 0.0, 0.0, 0.0]])
        for t, frame in enumerate(frames):
            fits &= ~overlapping(boxes[:, t], torch.cat((ego, frame.boxes))).any(dim=1)
        return fits

    def _choose(self, missing: dict[int, int], labels: Tensor, boxes: Tensor, fits: Tensor) -> Tensor:
        """Numbers of the objects that are pasted: in their order, none that overlaps one before."""
        clash = torch.stack([overlapping(frame, frame) for frame in boxes.unbind(dim=1)]).any(dim=0)
        wanted, chosen = dict(missing), list[int]()
        for number in fits.nonzero()[:, 0].tolist():
            label = int(labels[number])
            if wanted[label] and not clash[number, chosen].any():
                wanted[label] -= 1
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
        """Points [P, 5] of rows [n], each where its box [n, 9] is."""
        tables = self.database.tables
        spans = zip(tables.point_start[rows].tolist(), tables.point_start[rows + 1].tolist(), strict=True)
        pieces = [tables.points[start:stop] for start, stop in spans]
        points = torch.cat([torch.zeros(0, 5), *pieces])
        box = boxes.repeat_interleave(torch.tensor([len(piece) for piece in pieces], dtype=torch.int64), dim=0)
        points[:, :3] = in_box_frame(points[:, :3], -box[:, 6]) + box[:, :3]
        return points


def overlapping(first: Tensor, second: Tensor) -> Tensor:
    """Which of boxes [N, ≥7] share some ground with which of [M, ≥7], seen from above: bool [N, M]."""
    reach = first[:, None, 3:5].norm(dim=-1) + second[None, :, 3:5].norm(dim=-1)
    overlaps = (first[:, None, :2] - second[None, :, :2]).norm(dim=-1) <= reach / 2
    one, other = overlaps.nonzero(as_tuple=True)
    overlaps[one, other] = intersection_bev(first[one], second[other]) > 0
    return overlaps


def _row_keys(tables: TrackTables) -> Tensor:
    """Numbers [R] int64 that grow from row to row, and within a track by one from key frame to key frame."""
    track = tables.box_track
    begins = torch.ones_like(track, dtype=torch.bool)
    begins[1:] = track[1:] != track[:-1]
    frames = int(tables.frame.max()) + 1 if len(track) else 1
    return begins.cumsum(dim=0) * 2 * frames + tables.frame
