"""The official score of some of the objects: by visibility, by when they were well seen, by age of the stream."""

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
from remembev.evaluation.scoring import DetectionScore, without_nan

VISIBILITY = ("1", "2", "3", "4")
"""nuScenes' levels: share of an object that the cameras see, up to 40, 60, 80, 100 %."""
AGES = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 40))
"""First and last frame of a stream, from 1 on, between which its age counts as the same."""
_LIMITS_S = (0.0, 0.5, 1.0, 2.0, 4.0, math.inf)


@dataclass(frozen=True)
class Part:
    """The score of some objects, and how many they are; NaN where there are none."""

    score: DetectionScore
    objects: int

    def to_json(self) -> dict[str, Any]:
        """On one level."""
        return {**self.score.to_json(), "objects": self.objects}


@dataclass(frozen=True)
class SinceSeen:
    """Objects that were last well seen more than ``from_s`` and up to ``to_s`` seconds ago; 0 and 0 are those of now.

    The last part, without an end, holds those that never were, too.
    """

    from_s: float
    to_s: float | None
    part: Part

    def to_json(self) -> dict[str, Any]:
        """On one level."""
        return {"from_s": self.from_s, "to_s": self.to_s, **self.part.to_json()}


@dataclass(frozen=True)
class AtAge:
    """Objects of the frames of streams from one age to another."""

    from_frame: int
    to_frame: int
    part: Part
    recall: float
    """Share of the objects that a box finds."""

    def to_json(self) -> dict[str, Any]:
        """On one level."""
        ages = {"from_frame": self.from_frame, "to_frame": self.to_frame}
        return {**ages, **self.part.to_json(), "recall": without_nan(self.recall)}


def by_visibility(matches: OfficialMatches, sighted: Mapping[str, FrameObservability]) -> dict[str, Part]:
    """The score of each visibility level; ``sighted`` has all detection classes of a sample, by its token."""
    level = np.array([int(sighted[token].frame.visibility[place]) for token, place in matches.truth.objects])
    return {name: _part(matches, level == int(name)) for name in VISIBILITY}


def by_last_seen(matches: OfficialMatches, sighted: Mapping[str, FrameObservability]) -> list[SinceSeen]:
    """The score by how long ago objects were last well seen."""
    since = torch.tensor([float(sighted[token].since_seen[place]) for token, place in matches.truth.objects])
    up_to = [within(since, limit).numpy() for limit in _LIMITS_S]
    rows = [SinceSeen(0.0, 0.0, _part(matches, up_to[0]))]
    for number, (low, high) in enumerate(pairwise(_LIMITS_S)):
        part = _part(matches, up_to[number + 1] & ~up_to[number])
        rows.append(SinceSeen(low, None if math.isinf(high) else high, part))
    return rows


def by_age(matches: OfficialMatches, scenes: Sequence[Sequence[str]], score: float) -> list[AtAge]:
    """The score against the age of the stream, as far as it goes.

    scenes  sample tokens of each, in order of time
    score   a box finds an object (2 m) above it
    """
    found = matches.found_at() > score
    rows = []
    for first, last in AGES:
        samples = {token for scene in scenes for token in scene[first - 1 : last]}
        if samples:
            there = _on(matches, samples)
            recall = float(found[there].mean()) if there.any() else math.nan
            rows.append(AtAge(first, last, of_samples(matches, samples), recall))
    return rows


def of_samples(matches: OfficialMatches, samples: Collection[str]) -> Part:
    """The score of some samples by themselves."""
    return Part(matches.score(samples=samples), int(_on(matches, samples).sum()))


def _on(matches: OfficialMatches, samples: Collection[str]) -> NDArray[np.bool_]:
    """Which objects are on some samples."""
    return np.array([token in samples for token, _ in matches.truth.objects], dtype=np.bool_)


def _part(matches: OfficialMatches, counted: NDArray[np.bool_]) -> Part:
    return Part(matches.score(counted), int(counted.sum()))
