"""Objects that go out of sight, and which of two detectors keeps them, told from their boxes alone.

Both detectors have the same number of false boxes; no episode is picked by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from remembev.data import SLACK_SECONDS, NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation.matching import match_frame, threshold_at
from remembev.evaluation.observability import HIDDEN_SECONDS, FrameObservability, Observability, track_observability
from remembev.models import Detections
from remembev.streaming import read_record

HIDDEN_FROM_S = 1.0
"""Seconds without a point from which on an object that was seen makes an episode."""
HIDDEN_UP_TO_S = HIDDEN_SECONDS
"""Seconds without a point up to which boxes on it count."""
FOUND_WITHIN_S = 2.0
"""Both detectors must find it in a key frame at most this many seconds before its last point."""
KEPT_SHARE = 0.5
"""Share of the key frames without a point in which a detector must have a box on an object to keep it."""

DetectionsByToken = Mapping[str, Detections]
"""A detector's boxes by sample token, each in the LiDAR frame of its key frame."""


@dataclass(frozen=True)
class Episode:
    """An object that was seen and then has no point for at least ``HIDDEN_FROM_S``.

    Attributes:
        both_found: Number of the latest key frame in which both detectors find it, with points on it.
        last_seen: Number of the last key frame with a point on it.
        frames: Numbers of the key frames without a point, up to ``HIDDEN_UP_TO_S`` after the last with one.
        found: For each of the two detectors, True for each of these frames in which it has a box on the object.
    """

    scene: int
    track: int
    label: int
    both_found: int
    last_seen: int
    frames: tuple[int, ...]
    found: tuple[tuple[bool, ...], tuple[bool, ...]]

    @property
    def kept(self) -> tuple[bool, bool]:
        """True for each of the two detectors that keeps the object."""
        first, second = (sum(found) >= KEPT_SHARE * len(found) for found in self.found)
        return first, second

    @property
    def lead(self) -> int:
        """Key frames in which the second detector has a box on it, less those of the first."""
        return sum(self.found[1]) - sum(self.found[0])


@dataclass(frozen=True)
class Matched:
    """A detector's boxes that are on an object.

    Attributes:
        threshold: The score above which boxes count: it leaves the allowed number of false boxes.
        scores: Score of the box on each object that has one, by number of the key frame and track id.
    """

    threshold: float
    scores: Mapping[int, Mapping[int, float]]


@dataclass(frozen=True)
class EpisodeSearch:
    """The episodes of two detectors."""

    episodes: Sequence[Episode]
    matched: tuple[Matched, Matched]

    def count(self, first: bool, second: bool) -> int:
        """Return the episodes in which the first keeps the object or not, and the second keeps it or not."""
        return sum(episode.kept == (first, second) for episode in self.episodes)

    def only_second(self) -> list[Episode]:
        """Return the episodes in which only the second keeps the object, by its lead in frames."""
        kept = [episode for episode in self.episodes if episode.kept == (False, True)]
        return sorted(kept, key=lambda episode: episode.lead, reverse=True)


def read_detections(path: Path, class_names: Sequence[str]) -> dict[str, Detections]:
    """Return the boxes of a ``detections.jsonl`` by sample token.

    Raises:
        DataError: If the file is missing or no such file.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            records = (json.loads(line) for line in lines)
            return {record["sample_token"]: read_record(record, class_names) for record in records}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no detections that can be read: {error!r}") from error


def find_episodes(
    index: NuScenesIndex,
    scenes: Sequence[int],
    class_names: Sequence[str],
    point_cloud_range: Sequence[float],
    detections: tuple[DetectionsByToken, DetectionsByToken],
    false_boxes: float,
) -> EpisodeSearch:
    """Return all episodes of some scenes, for two detectors with the same number of false boxes a frame.

    Args:
        index: The data set.
        scenes: Numbers of the scenes.
        class_names: Classes of the detectors, in the order of their labels.
        point_cloud_range: Range of the detectors; objects outside are ignored.
        detections: Boxes of the two detectors in every key frame of the scenes.
        false_boxes: Allowed false boxes a frame.

    Raises:
        DataError: If a key frame has no detections.
    """
    objects: dict[int, FrameObservability] = {}
    for scene in scenes:
        numbers = index.scene_frames(scene)
        annotated = (index.load_annotations(number, class_names) for number in numbers)
        objects |= zip(numbers, track_observability(annotated, point_cloud_range), strict=True)
    matched = _match(detections[0], objects, false_boxes), _match(detections[1], objects, false_boxes)
    episodes = [
        episode
        for scene in scenes
        for track_id, track in _tracks(index.scene_frames(scene), objects).items()
        for episode in _episodes(scene, track_id, track, objects, matched)
    ]
    return EpisodeSearch(episodes, matched)


def _match(detections: DetectionsByToken, objects: Mapping[int, FrameObservability], false_boxes: float) -> Matched:
    """Match a detector's boxes to the objects of all frames."""
    tokens = {number: frame.frame.sample_token for number, frame in objects.items()}
    missing = [token for token in tokens.values() if token not in detections]
    if missing:
        raise DataError(f"detections of {len(missing)} key frames are missing, for instance of {missing[0]}")
    matches = {number: match_frame(frame, detections[tokens[number]]) for number, frame in objects.items()}
    threshold = threshold_at(list(matches.values()), false_boxes)
    scores = {}
    for number, match in matches.items():
        counted = match.scores > threshold
        track_ids = match.observability.frame.track_ids[counted].tolist()
        scores[number] = dict(zip(track_ids, match.scores[counted].tolist(), strict=True))
    return Matched(threshold, scores)


@dataclass(frozen=True)
class _Track:
    """An object's label, and its LiDAR points by number of the key frame, where it is in range."""

    label: int
    points: dict[int, int]


def _tracks(numbers: Iterable[int], objects: Mapping[int, FrameObservability]) -> dict[int, _Track]:
    """Return the objects of a scene by track id."""
    tracks: dict[int, _Track] = {}
    for number in numbers:
        frame = objects[number].frame.select_objects(objects[number].level != Observability.OUTSIDE)
        columns = (frame.track_ids.tolist(), frame.labels.tolist(), frame.num_points.tolist())
        for track_id, label, points in zip(*columns, strict=True):
            tracks.setdefault(track_id, _Track(label, {})).points[number] = points
    return tracks


def _episodes(
    scene: int, track_id: int, track: _Track, objects: Mapping[int, FrameObservability], both: tuple[Matched, Matched]
) -> Iterator[Episode]:
    """Yield the episodes of one object."""
    times = {number: objects[number].frame.timestamp for number in track.points}
    for last_seen, hidden in _gaps(track.points):
        since = {number: time - times[last_seen] for number, time in times.items()}
        before = [number for number in track.points if -FOUND_WITHIN_S - SLACK_SECONDS <= since[number] <= 0]
        both_found = [
            number
            for number in before
            if track.points[number] and all(track_id in matched.scores[number] for matched in both)
        ]
        if since[hidden[-1]] >= HIDDEN_FROM_S - SLACK_SECONDS and both_found:
            counted = tuple(number for number in hidden if since[number] <= HIDDEN_UP_TO_S + SLACK_SECONDS)
            first, second = (tuple(track_id in matched.scores[number] for number in counted) for matched in both)
            yield Episode(scene, track_id, track.label, both_found[-1], last_seen, counted, (first, second))


def _gaps(points: Mapping[int, int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each frame with a point that is followed by frames without, and these frames."""
    for last_seen in points:
        end = last_seen + 1
        while points[last_seen] and points.get(end) == 0:
            end += 1
        if end > last_seen + 1:
            yield last_seen, list(range(last_seen + 1, end))
