"""Measures of what a memory is for, which the official score can't see: permanence, flicker, velocities out of sight.

All boxes count here, observed or remembered, from the score on above which there are so many false boxes a frame.
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

from remembev.evaluation.matching import MatchedFrame, score_at
from remembev.evaluation.observability import Observability, within
from remembev.evaluation.scoring import without_nan

WINDOWS_S = (0.5, 1.0, 2.0, 4.0)
"""Seconds since an object was last well seen."""
FALSE_BOXES = (1.0, 2.0, 5.0, 10.0)
"""False boxes a frame that are allowed where recall is measured."""
ALLOWED = 5.0
"""Of these the one at which flicker, velocities and the recall against age are told."""


@dataclass(frozen=True)
class Permanence:
    """Recall of objects without a point now that were well seen in the last seconds; NaN where there is none."""

    windows_s: tuple[float, ...]
    false_boxes: tuple[float, ...]
    recall: tuple[tuple[float, ...], ...]
    """A row a window, a column a number of false boxes."""
    objects: tuple[int, ...]
    """Hidden objects over all frames, a number a window."""

    def at(self, window_s: float, false_boxes: float) -> float:
        """One of the recalls."""
        return self.recall[self.windows_s.index(window_s)][self.false_boxes.index(false_boxes)]

    def to_json(self) -> dict[str, Any]:
        """Plain values, null for NaN."""
        return {key: without_nan(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Flicker:
    """How steadily objects are found; NaN where there is nothing to tell by.

    A track is an object while a memory can keep it (``FrameObservability.to_be_kept``), frame after frame.
    """

    tracks: int
    lost_per_track: float
    """How often it is found, then not, then found again."""
    mean_gap_s: float
    """Seconds from the first frame in which it is not found to the one in which it is again."""
    found_share: float
    """Share of its frames in which it is found, mean over the tracks."""
    false_boxes: float
    """False boxes a frame that were allowed."""
    score: float | None
    """The score above which boxes count, None if all do."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, null for NaN."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


def measure_permanence(matched: Sequence[MatchedFrame]) -> Permanence:
    """Over the frames of a split."""
    hidden = _joined([one.observability.level == Observability.HIDDEN for one in matched], torch.bool)
    since = _joined([one.observability.since_seen for one in matched])[hidden]
    found_at = _joined([one.found_at for one in matched])[hidden]
    scores = [score_at(matched, false_boxes) for false_boxes in FALSE_BOXES]
    recall, objects = [], []
    for window in WINDOWS_S:
        asked = found_at[within(since, window)]
        recall.append(tuple(_mean(asked > score) for score in scores))
        objects.append(len(asked))
    return Permanence(WINDOWS_S, FALSE_BOXES, tuple(recall), tuple(objects))


def measure_flicker(scenes: Sequence[Sequence[MatchedFrame]]) -> Flicker:
    """Over the scenes of a split, the frames of each in order of time."""
    score = score_at([one for scene in scenes for one in scene], ALLOWED)
    tracks = [track for scene in scenes for track in _tracks(scene, score)]
    gaps = [gap for track in tracks for gap in _gaps(track)]
    return Flicker(
        tracks=len(tracks),
        lost_per_track=len(gaps) / len(tracks) if tracks else math.nan,
        mean_gap_s=fmean(gaps) if gaps else math.nan,
        found_share=fmean(fmean(found for _, found in track) for track in tracks) if tracks else math.nan,
        false_boxes=ALLOWED,
        score=None if math.isinf(score) else score,
    )


def measure_velocity(
    matched: Sequence[MatchedFrame],
    class_names: Sequence[str],
    sights: Sequence[Observability],
) -> dict[str, float]:
    """Mean error in m/s of the velocities of found objects by class, of some sights; NaN where none is found.

    An object that is annotated in one frame alone has no velocity to compare with.
    """
    score = score_at(matched, ALLOWED)
    times = Counter(track for one in matched for track in one.observability.frame.track_ids.tolist())
    errors: dict[str, list[float]] = {name: [] for name in class_names}
    for one in matched:
        asked = (one.found_at > score) & torch.isin(one.observability.level, torch.tensor(sights))
        columns = (one.observability.frame.labels, one.observability.frame.track_ids, one.velocity_error)
        for label, track, error in zip(*(column[asked].tolist() for column in columns), strict=True):
            if times[track] > 1:
                errors[class_names[label]].append(error)
    return {name: fmean(of_class) if of_class else math.nan for name, of_class in errors.items()}


Track = list[tuple[float, bool]]
"""Time of each frame of a track, and whether it is found."""


def _tracks(scene: Sequence[MatchedFrame], score: float) -> list[Track]:
    """The tracks of a scene: an object that can't be kept for a while is another one afterwards."""
    going: dict[int, Track] = {}
    ended: list[Track] = []
    for one in scene:
        kept = one.observability.to_be_kept
        found = dict(
            zip(one.observability.frame.track_ids[kept].tolist(), (one.found_at[kept] > score).tolist(), strict=True)
        )
        ended += [going.pop(track) for track in going.keys() - found.keys()]
        for track, is_found in found.items():
            going.setdefault(track, []).append((one.observability.frame.timestamp, is_found))
    return [*ended, *going.values()]


def _gaps(track: Track) -> list[float]:
    """Seconds of each stretch without being found between two with."""
    stretches = [(found, [time for time, _ in frames]) for found, frames in groupby(track, key=lambda frame: frame[1])]
    return [
        after[0] - times[0]
        for number, ((found, times), (_, after)) in enumerate(pairwise(stretches))
        if not found and number > 0
    ]


def _joined(parts: Sequence[Tensor], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=dtype), *parts])


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else math.nan
