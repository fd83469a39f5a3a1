"""The official score of subsets of the objects: by visibility, time since well seen, age of the stream."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from remembev.evaluation.observability import FrameObservability, within
from remembev.evaluation.official import OfficialMatches
from remembev.evaluation.scoring import DetectionScore, nan_to_none

VISIBILITY = ("1", "2", "3", "4")
"""nuScenes' levels: share of an object that the cameras see, up to 40, 60, 80, 100 %."""
AGES = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 40))
"""Ranges of the number of a frame in its stream, from 1 on, first and last included."""
_LIMITS_S = (0.0, 0.5, 1.0, 2.0, 4.0, math.inf)


@dataclass(frozen=True)
class SubsetScore:
    """The score of a subset of the objects, NaN if it is empty, and the number of its objects."""

    score: DetectionScore
    objects: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values on one level."""
        return {**self.score.to_json(), "objects": self.objects}


@dataclass(frozen=True)
class LastSeenScore:
    """The score of objects last well seen more than ``from_s`` and up to ``to_s`` seconds ago; 0 and 0 is now.

    The last row has ``to_s`` None; objects that were never well seen count there too.
    """

    from_s: float
    to_s: float | None
    subset: SubsetScore

    def to_json(self) -> dict[str, Any]:
        """Return plain values on one level."""
        return {"from_s": self.from_s, "to_s": self.to_s, **self.subset.to_json()}


@dataclass(frozen=True)
class AgeScore:
    """The score of the frames from ``from_frame`` to ``to_frame`` of every stream, and the recall of their objects."""

    from_frame: int
    to_frame: int
    subset: SubsetScore
    recall: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values on one level."""
        ages = {"from_frame": self.from_frame, "to_frame": self.to_frame}
        return {**ages, **self.subset.to_json(), "recall": nan_to_none(self.recall)}


def by_visibility(matches: OfficialMatches, observability: Mapping[str, FrameObservability]) -> dict[str, SubsetScore]:
    """Return the score of each visibility level.

    Args:
        matches: The submission.
        observability: Of the objects of all detection classes, by sample token.
    """
    level = np.array([int(observability[token].frame.visibility[index]) for token, index in matches.truth.objects])
    return {name: _score_subset(matches, level == int(name)) for name in VISIBILITY}


def by_last_seen(matches: OfficialMatches, observability: Mapping[str, FrameObservability]) -> list[LastSeenScore]:
    """Return the score by the time since objects were last well seen; arguments as of ``by_visibility``."""
    since = torch.tensor([float(observability[token].since_seen[index]) for token, index in matches.truth.objects])
    up_to = [within(since, limit).numpy() for limit in _LIMITS_S]
    rows = [LastSeenScore(0.0, 0.0, _score_subset(matches, up_to[0]))]
    for number, (low, high) in enumerate(pairwise(_LIMITS_S)):
        subset = _score_subset(matches, up_to[number + 1] & ~up_to[number])
        rows.append(LastSeenScore(low, None if math.isinf(high) else high, subset))
    return rows


def by_age(matches: OfficialMatches, scenes: Sequence[Sequence[str]], threshold: float) -> list[AgeScore]:
    """Return the score by the age of the stream, as far as the streams go.

    Args:
        matches: The submission.
        scenes: Sample tokens of each scene in order of time.
        threshold: Score above which a matching box counts for the recall.
    """
    is_found = matches.matched_scores() > threshold
    rows = []
    for first, last in AGES:
        samples = {token for scene in scenes for token in scene[first - 1 : last]}
        if samples:
            in_samples = _in_samples(matches, samples)
            recall = float(is_found[in_samples].mean()) if in_samples.any() else math.nan
            rows.append(AgeScore(first, last, score_samples(matches, samples), recall))
    return rows


def score_samples(matches: OfficialMatches, samples: Collection[str]) -> SubsetScore:
    """Return the score of some samples by themselves."""
    return SubsetScore(matches.score(samples=samples), int(_in_samples(matches, samples).sum()))


def _in_samples(matches: OfficialMatches, samples: Collection[str]) -> NDArray[np.bool_]:
    """Return True for objects [n] in some samples."""
    return np.array([token in samples for token, _ in matches.truth.objects], dtype=np.bool_)


def _score_subset(matches: OfficialMatches, counted: NDArray[np.bool_]) -> SubsetScore:
    return SubsetScore(matches.score(counted), int(counted.sum()))
