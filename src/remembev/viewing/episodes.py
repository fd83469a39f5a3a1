"""Objects that go out of sight, and which of two detectors goes on having them: found, counted and ranked.

Nothing is picked by hand. An ``Episode`` is an object that both detectors find while it is seen and that then has no
point for a while; which of them keeps it is told from the boxes alone, at scores that give both the same number of
false boxes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from remembev.data import Frame, NuScenesIndex
from remembev.data.frame import centred_within
from remembev.errors import DataError
from remembev.evaluation.occupancy import NEAR, score_allowing
from remembev.models import Detections
from remembev.streaming import read_record

HIDDEN_FROM_S = 1.0
"""Seconds without a point from which on an object that was seen is an episode."""
HIDDEN_UP_TO_S = 4.0
"""Seconds without a point up to which the boxes near it count."""
FOUND_WITHIN_S = 2.0
"""Before it goes out of sight both detectors have to find it, in some key frame of so many seconds, points on it."""
_JITTER_S = 0.05
"""Key frames come every half second, more or less."""
KEPT_SHARE = 0.5
"""Share of the key frames without a point in which a detector that keeps an object has a box on it."""

Found = Mapping[str, Detections]
"""What a detector says of key frames, each in its LiDAR frame, by sample token."""


@dataclass(frozen=True)
class Episode:
    """An object that was seen and then has no point for at least ``HIDDEN_FROM_S``.

    frames  numbers of the key frames without a point, up to ``HIDDEN_UP_TO_S`` after the last with one
    found   whether each of the two detectors has a box on it, in each of those
    """

    scene: int
    track: int
    label: int
    last_seen: int
    frames: tuple[int, ...]
    found: tuple[tuple[bool, ...], tuple[bool, ...]]

    @property
    def kept(self) -> tuple[bool, bool]:
        """Whether each of the two keeps the object."""
        first, second = (sum(found) >= KEPT_SHARE * len(found) for found in self.found)
        return first, second

    @property
    def lead(self) -> int:
        """In how many more of the key frames the second has a box on it."""
        return sum(self.found[1]) - sum(self.found[0])


@dataclass(frozen=True)
class Search:
    """What was found about two detectors, and the scores that boxes had to be above."""

    episodes: Sequence[Episode]
    thresholds: tuple[float, float]

    def count(self, first: bool, second: bool) -> int:
        """In how many episodes the first keeps the object, or doesn't, and the second does, or doesn't."""
        return sum(episode.kept == (first, second) for episode in self.episodes)

    def only_second(self) -> list[Episode]:
        """Episodes in which the second alone keeps the object: the one with the most frames' lead first."""
        chosen = [episode for episode in self.episodes if episode.kept == (False, True)]
        return sorted(chosen, key=lambda episode: episode.lead, reverse=True)


def read_detections(path: Path, class_names: Sequence[str]) -> dict[str, Detections]:
    """The boxes of a ``detections.jsonl`` by sample token. Raises DataError for what is no such file."""
    try:
        with path.open(encoding="utf-8") as lines:
            records = (json.loads(line) for line in lines)
            return {record["sample_token"]: read_record(record, class_names) for record in records}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no detections that can be read: {error!r}") from error


def match(found: Detections, frame: Frame) -> Tensor:
    """Which object of the frame each box is on [K] int64, -1 for none, as nuScenes matches.

    The best box first, each takes the nearest object of its class that is left, at most ``NEAR`` away from above.
    """
    distance = torch.cdist(found.boxes[:, :2].double(), frame.boxes[:, :2].double())
    distance[found.labels[:, None] != frame.labels] = math.inf
    taken = torch.full((len(found.scores),), -1)
    for box in found.scores.argsort(descending=True, stable=True).tolist():
        if distance.shape[1] and distance[box].min() <= NEAR:
            taken[box] = nearest = int(distance[box].argmin())
            distance[:, nearest] = math.inf
    return taken


def search(
    index: NuScenesIndex,
    scenes: Sequence[int],
    class_names: Sequence[str],
    point_cloud_range: Sequence[float],
    detections: tuple[Found, Found],
    false_boxes: float,
) -> Search:
    """All episodes of some scenes, for two detectors that may have so many false boxes a frame.

    detections  by sample token, of every key frame of the scenes. Raises DataError if one is missing.
    """
    frames = {
        scene: [index.load_annotations(number, class_names) for number in index.scene_frames(scene)] for scene in scenes
    }
    both = [_Matched.of(found, frames, false_boxes) for found in detections]
    episodes = [
        Episode(scene, track, label, start + seen, tuple(start + row for row in hidden), (found[0], found[1]))
        for scene in scenes
        for start in [index.scene_frames(scene).start]
        for track, label, seen, hidden, found in _episodes(frames[scene], point_cloud_range, both)
    ]
    return Search(episodes, (both[0].threshold, both[1].threshold))


@dataclass(frozen=True)
class _Matched:
    """A detector's boxes on the objects of every frame, by sample token: the track ids that a box is on."""

    tracks: Mapping[str, set[int]]
    threshold: float

    @classmethod
    def of(cls, found: Found, scenes: Mapping[int, Sequence[Frame]], false_boxes: float) -> _Matched:
        frames = [frame for scene in scenes.values() for frame in scene]
        missing = [frame.sample_token for frame in frames if frame.sample_token not in found]
        if missing:
            raise DataError(f"detections of {len(missing)} key frames are missing, for instance of {missing[0]}")
        taken = {frame.sample_token: match(found[frame.sample_token], frame) for frame in frames}
        false = torch.cat([found[token].scores[on < 0] for token, on in taken.items()])
        threshold = score_allowing(false, int(false_boxes * len(frames)))
        tracks = {
            frame.sample_token: set(frame.track_ids[on[(on >= 0) & (found[token].scores > threshold)]].tolist())
            for frame in frames
            for token, on in [(frame.sample_token, taken[frame.sample_token])]
        }
        return cls(tracks, threshold)

    def has(self, frame: Frame, track: int) -> bool:
        return track in self.tracks[frame.sample_token]


def _episodes(
    frames: Sequence[Frame], point_cloud_range: Sequence[float], both: Sequence[_Matched]
) -> Iterator[tuple[int, int, int, list[int], list[tuple[bool, ...]]]]:
    """Track, label, place of the last frame with a point, places of those without, and who finds it in them."""
    for track, (label, points) in _tracks(frames, point_cloud_range).items():
        for seen, hidden in _gaps(points):
            times = {row: frames[row].timestamp - frames[seen].timestamp for row in [*points, *hidden]}
            if times[hidden[-1]] < HIDDEN_FROM_S - _JITTER_S:
                continue
            before = [row for row in points if -FOUND_WITHIN_S - _JITTER_S <= times[row] <= 0 < points[row]]
            if all(any(one.has(frames[row], track) for row in before) for one in both):
                counted = [row for row in hidden if times[row] <= HIDDEN_UP_TO_S + _JITTER_S]
                found = [tuple(one.has(frames[row], track) for row in counted) for one in both]
                yield track, label, seen, counted, found


def _tracks(frames: Sequence[Frame], point_cloud_range: Sequence[float]) -> dict[int, tuple[int, dict[int, int]]]:
    """Label of every track, and its LiDAR points by the place of the frame, where it is in range."""
    tracks: dict[int, tuple[int, dict[int, int]]] = {}
    for row, frame in enumerate(frames):
        inside = centred_within(frame.boxes, point_cloud_range).tolist()
        objects = zip(frame.track_ids.tolist(), frame.labels.tolist(), frame.num_points.tolist(), inside, strict=True)
        for track, label, points, within in objects:
            if within:
                tracks.setdefault(track, (label, {}))[1][row] = points
    return tracks


def _gaps(points: Mapping[int, int]) -> Iterator[tuple[int, list[int]]]:
    """Runs of consecutive frames without a point right after one with: that one, and the run."""
    for seen in points:
        hidden = []
        row = seen + 1
        while points[seen] and points.get(row) == 0:
            hidden.append(row)
            row += 1
        if hidden:
            yield seen, hidden
