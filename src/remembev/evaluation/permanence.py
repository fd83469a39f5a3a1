"""Measures of a memory that the official score can't show: permanence, flicker, velocities of hidden objects.

All boxes count, observed or remembered, above the score that allows a number of false positives per frame.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from remembev.evaluation.matching import MatchedFrame, threshold_at
from remembev.evaluation.observability import Observability, within
from remembev.evaluation.scoring import nan_to_none

WINDOWS_S = (0.5, 1.0, 2.0, 4.0)
"""Seconds since an object was last well seen."""
FALSE_BOXES = (1.0, 2.0, 5.0, 10.0)
"""False positives per frame at which recall is measured."""
ALLOWED = 5.0
"""False positives per frame at which flicker, velocity errors and recall by age are measured."""


@dataclass(frozen=True)
class Permanence:
    """Recall of hidden objects: without a point now, well seen in the last seconds.

    Attributes:
        windows_s: ``WINDOWS_S``.
        false_boxes: ``FALSE_BOXES``.
        recall: A row per window, a column per number of false positives; NaN for a window without objects.
        objects: Hidden objects over all frames in each window.
    """

    windows_s: tuple[float, ...]
    false_boxes: tuple[float, ...]
    recall: tuple[tuple[float, ...], ...]
    objects: tuple[int, ...]

    def at(self, window_s: float, false_boxes: float) -> float:
        """Return the recall of one window at one number of false positives."""
        return self.recall[self.windows_s.index(window_s)][self.false_boxes.index(false_boxes)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None for NaN."""
        return {key: nan_to_none(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Flicker:
    """How steadily objects are detected; NaN without tracks or gaps.

    A track is an object over the consecutive frames in which a memory can keep it
    (``FrameObservability.to_be_kept``).

    Attributes:
        tracks: Number of tracks.
        lost_per_track: Times per track that the object is detected, then not, then detected again.
        mean_gap_s: Mean seconds from the first frame of such a gap to the next detection.
        found_share: Share of its frames in which an object is detected, mean over the tracks.
        false_boxes: False positives per frame that were allowed.
        score: Score above which boxes count; None if all count.
    """

    tracks: int
    lost_per_track: float
    mean_gap_s: float
    found_share: float
    false_boxes: float
    score: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None for NaN."""
        plain: dict[str, Any] = nan_to_none(asdict(self))
        return plain


def measure_permanence(matched: Sequence[MatchedFrame]) -> Permanence:
    """Return the permanence over the frames of a split."""
    hidden = _cat([frame.observability.level == Observability.HIDDEN for frame in matched], torch.bool)
    since = _cat([frame.observability.since_seen for frame in matched])[hidden]
    scores = _cat([frame.scores for frame in matched])[hidden]
    thresholds = [threshold_at(matched, false_boxes) for false_boxes in FALSE_BOXES]
    recall, objects = [], []
    for window in WINDOWS_S:
        in_window = scores[within(since, window)]
        recall.append(tuple(_mean(in_window > threshold) for threshold in thresholds))
        objects.append(len(in_window))
    return Permanence(WINDOWS_S, FALSE_BOXES, tuple(recall), tuple(objects))


def measure_flicker(scenes: Sequence[Sequence[MatchedFrame]]) -> Flicker:
    """Return the flicker over the scenes of a split, each with its frames in order of time."""
    threshold = threshold_at([frame for scene in scenes for frame in scene], ALLOWED)
    tracks = [track for scene in scenes for track in _tracks(scene, threshold)]
    gaps = [gap for track in tracks for gap in _gaps(track)]
    return Flicker(
        tracks=len(tracks),
        lost_per_track=len(gaps) / len(tracks) if tracks else math.nan,
        mean_gap_s=fmean(gaps) if gaps else math.nan,
        found_share=fmean(fmean(is_found for _, is_found in track) for track in tracks) if tracks else math.nan,
        false_boxes=ALLOWED,
        score=None if math.isinf(threshold) else threshold,
    )


def measure_velocity(
    matched: Sequence[MatchedFrame], class_names: Sequence[str], levels: Sequence[Observability]
) -> dict[str, float]:
    """Return the mean velocity error in m/s of detected objects by class; NaN for a class without any.

    Objects annotated in a single frame have no true velocity and are ignored.

    Args:
        matched: The frames of a split.
        class_names: The classes that labels index.
        levels: Observability of the objects that count.
    """
    threshold = threshold_at(matched, ALLOWED)
    frames_of = Counter(track for frame in matched for track in frame.observability.frame.track_ids.tolist())
    errors: dict[str, list[float]] = {name: [] for name in class_names}
    for frame in matched:
        truth = frame.observability.frame
        counted = (frame.scores > threshold) & torch.isin(frame.observability.level, torch.tensor(levels))
        columns = (truth.labels, truth.track_ids, frame.velocity_errors)
        for label, track, error in zip(*(column[counted].tolist() for column in columns), strict=True):
            if frames_of[track] > 1:
                errors[class_names[label]].append(error)
    return {name: fmean(class_errors) if class_errors else math.nan for name, class_errors in errors.items()}


Track = list[tuple[float, bool]]
"""Time of each frame of a track, and True if the object is detected in it."""


def _tracks(scene: Sequence[MatchedFrame], threshold: float) -> list[Track]:
    """Return the tracks of a scene; an object that can't be kept for a while continues as another track."""
    current: dict[int, Track] = {}
    ended: list[Track] = []
    for frame in scene:
        kept, truth = frame.observability.to_be_kept, frame.observability.frame
        found = dict(zip(truth.track_ids[kept].tolist(), (frame.scores[kept] > threshold).tolist(), strict=True))
        ended += [current.pop(track) for track in current.keys() - found.keys()]
        for track, is_found in found.items():
            current.setdefault(track, []).append((truth.timestamp, is_found))
    return [*ended, *current.values()]


def _gaps(track: Track) -> list[float]:
    """Return the seconds of each stretch without a detection between two with one."""
    stretches = [(found, [time for time, _ in frames]) for found, frames in groupby(track, key=lambda frame: frame[1])]
    return [
        after[0] - times[0]
        for number, ((found, times), (_, after)) in enumerate(pairwise(stretches))
        if not found and number > 0
    ]


def _cat(parts: Sequence[Tensor], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=dtype), *parts])


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else math.nan
