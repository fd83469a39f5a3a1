"""Objects that go out of sight, and which of two detectors goes on having them: found, counted and ranked.

Nothing is picked by hand. An ``Episode`` is an object that both detectors find while it is seen and that then has no
point for a while; which of them keeps it is told from the boxes alone, at scores that give both the same number of
false boxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from remembev.data import SLACK_SECONDS, NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation.matching import match_frame, score_at
from remembev.evaluation.observability import HIDDEN_SECONDS, FrameObservability, Observability, track_observability
from remembev.models import Detections
from remembev.streaming import read_record

HIDDEN_FROM_S = 1.0
"""Seconds without a point from which on an object that was seen is an episode."""
HIDDEN_UP_TO_S = HIDDEN_SECONDS
"""Seconds without a point up to which the boxes near it count."""
FOUND_WITHIN_S = 2.0
"""Both detectors have to find it in some key frame so many seconds at most before its last point."""
KEPT_SHARE = 0.5
"""Share of the key frames without a point in which a detector that keeps an object has a box on it."""

Found = Mapping[str, Detections]
"""What a detector says of key frames, each in its LiDAR frame, by sample token."""


@dataclass(frozen=True)
class Episode:
    """An object that was seen and then has no point for at least ``HIDDEN_FROM_S``.

    both_found  number of the latest key frame in which both detectors find it, with points on it
    last_seen   number of the last key frame with a point on it
    frames      numbers of the key frames without a point, up to ``HIDDEN_UP_TO_S`` after the last with one
    found       whether each of the two detectors has a box on it, in each of those
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
        """Whether each of the two keeps the object."""
        first, second = (sum(found) >= KEPT_SHARE * len(found) for found in self.found)
        return first, second

    @property
    def lead(self) -> int:
        """In how many more of the key frames the second has a box on it."""
        return sum(self.found[1]) - sum(self.found[0])


@dataclass(frozen=True)
class Matched:
    """What of a detector's boxes is on which object, from the score on above which there are so many false boxes.

    scores  the score of the box on each object that has one, by number of the key frame and track id
    """

    threshold: float
    scores: Mapping[int, Mapping[int, float]]


@dataclass(frozen=True)
class Search:
    """What was found about two detectors."""

    episodes: Sequence[Episode]
    matched: tuple[Matched, Matched]

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
    objects: dict[int, FrameObservability] = {}
    for scene in scenes:
        numbers = index.scene_frames(scene)
        annotated = (index.load_annotations(number, class_names) for number in numbers)
        objects |= zip(numbers, track_observability(annotated, point_cloud_range), strict=True)
    both = _matched(detections[0], objects, false_boxes), _matched(detections[1], objects, false_boxes)
    episodes = [
        episode
        for scene in scenes
        for track, seen in _tracks(index.scene_frames(scene), objects).items()
        for episode in _episodes(scene, track, seen, objects, both)
    ]
    return Search(episodes, both)


def _matched(found: Found, objects: Mapping[int, FrameObservability], false_boxes: float) -> Matched:
    """The boxes of a detector on the objects of all frames."""
    missing = [one.frame.sample_token for one in objects.values() if one.frame.sample_token not in found]
    if missing:
        raise DataError(f"detections of {len(missing)} key frames are missing, for instance of {missing[0]}")
    matched = {number: match_frame(one, found[one.frame.sample_token]) for number, one in objects.items()}
    threshold = score_at(list(matched.values()), false_boxes)
    scores = {}
    for number, one in matched.items():
        chosen = one.found_at > threshold
        tracks = one.observability.frame.track_ids[chosen].tolist()
        scores[number] = dict(zip(tracks, one.found_at[chosen].tolist(), strict=True))
    return Matched(threshold, scores)


@dataclass(frozen=True)
class _Track:
    """An object's label, and its LiDAR points by the number of the key frame, where it is in range."""

    label: int
    points: dict[int, int]


def _tracks(numbers: Iterable[int], objects: Mapping[int, FrameObservability]) -> dict[int, _Track]:
    """The objects of a scene by their track ids."""
    tracks: dict[int, _Track] = {}
    for number in numbers:
        frame = objects[number].frame.of_objects(objects[number].sight != Observability.OUTSIDE)
        columns = (frame.track_ids.tolist(), frame.labels.tolist(), frame.num_points.tolist())
        for track, label, points in zip(*columns, strict=True):
            tracks.setdefault(track, _Track(label, {})).points[number] = points
    return tracks


def _episodes(
    scene: int, track: int, seen: _Track, objects: Mapping[int, FrameObservability], both: tuple[Matched, Matched]
) -> Iterator[Episode]:
    """The episodes of one object."""
    for last, hidden in _gaps(seen.points):
        times = {number: objects[number].frame.timestamp for number in seen.points}
        since = {number: time - times[last] for number, time in times.items()}
        recent = [number for number in seen.points if -FOUND_WITHIN_S - SLACK_SECONDS <= since[number] <= 0]
        met = [number for number in recent if seen.points[number] and all(track in one.scores[number] for one in both)]
        if since[hidden[-1]] >= HIDDEN_FROM_S - SLACK_SECONDS and met:
            counted = tuple(number for number in hidden if since[number] <= HIDDEN_UP_TO_S + SLACK_SECONDS)
            first, second = (tuple(track in one.scores[number] for number in counted) for one in both)
            yield Episode(scene, track, seen.label, met[-1], last, counted, (first, second))


def _gaps(points: Mapping[int, int]) -> Iterator[tuple[int, list[int]]]:
    """Runs of consecutive frames without a point right after one with: that one, and the run."""
    for last in points:
        end = last + 1
        while points[last] and points.get(end) == 0:
            end += 1
        if end > last + 1:
            yield last, list(range(last + 1, end))
