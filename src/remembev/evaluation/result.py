"""``Evaluation``: everything that is measured of a detector on a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from remembev.config import Config
from remembev.data import Frame
from remembev.data.tables import DETECTION_NAMES
from remembev.evaluation.breakdowns import AtAge, Part, SinceSeen, by_age, by_last_seen, by_visibility, of_samples
from remembev.evaluation.detecting import TRACKS, Records
from remembev.evaluation.matching import match_frame, score_at
from remembev.evaluation.observability import Observability, track_observability
from remembev.evaluation.occupancy import OccupancyScore, score_occupancy
from remembev.evaluation.official import OfficialMatches
from remembev.evaluation.permanence import (
    ALLOWED,
    Flicker,
    Permanence,
    measure_flicker,
    measure_permanence,
    measure_velocity,
)
from remembev.evaluation.scoring import Curve, DetectionScore, without_nan
from remembev.streaming import read_record

TOLD_APART = {"seen": [Observability.SEEN], "faint": [Observability.FAINT], "hidden": [Observability.HIDDEN]}
"""What the sensor sees of objects whose velocities are told apart."""


@dataclass(frozen=True)
class SetOfScenes:
    """What is measured of some of the scenes by themselves."""

    part: Part
    permanence: Permanence

    def to_json(self) -> dict[str, Any]:
        """The part on the uppermost level."""
        return {**self.part.to_json(), "permanence": self.permanence.to_json()}


@dataclass(frozen=True)
class Measures:
    """What is measured of one track beside its official score; ``docs/evaluation.md`` has the formulas."""

    precision_recall: Mapping[str, Curve]
    """Of each class at 2 m."""
    visibility: Mapping[str, Part]
    last_seen: Sequence[SinceSeen]
    permanence: Permanence
    flicker: Flicker
    velocity_error: Mapping[str, float]
    """m/s by class; NaN where none of its objects is found."""
    velocity_error_by_sight: Mapping[str, Mapping[str, float]]
    age: Sequence[AtAge]
    sets: Mapping[str, SetOfScenes]
    """By name of the split that holds a set's scenes."""
    occupancy: OccupancyScore | None
    """Of the memory's occupancy; None for a detector without one."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, null for NaN."""
        return {
            "precision_recall": {name: curve._asdict() for name, curve in self.precision_recall.items()},
            "visibility": {level: part.to_json() for level, part in self.visibility.items()},
            "last_seen": [row.to_json() for row in self.last_seen],
            "permanence": self.permanence.to_json(),
            "flicker": self.flicker.to_json(),
            "velocity_error": without_nan(dict(self.velocity_error)),
            "velocity_error_by_sight": without_nan(dict(self.velocity_error_by_sight)),
            "age": [row.to_json() for row in self.age],
            "sets": {name: one.to_json() for name, one in self.sets.items()},
            "occupancy": None if self.occupancy is None else without_nan(asdict(self.occupancy)),
        }


@dataclass(frozen=True)
class Evaluation:
    """Everything about a detector on a split, and how it came about.

    seconds     time that detecting took, reading included, measuring not
    remembered  whether the submission holds remembered boxes
    tracks      official score of each track that was run; the measures are of the first
    """

    with_memory: bool
    split: str
    frames: int
    seconds: float
    remembered: bool
    tracks: Mapping[str, DetectionScore]
    measures: Measures

    @property
    def track(self) -> str:
        """The track that the measures are of."""
        return next(iter(self.tracks))

    @property
    def score(self) -> DetectionScore:
        """Its official score."""
        return self.tracks[self.track]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values for ``metrics.json``, the official score on the uppermost level."""
        return {
            "with_memory": self.with_memory,
            "split": self.split,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "track": self.track,
            "remembered": self.remembered,
            **self.score.to_json(),
            "tracks": {name: self.tracks[name].to_json() if name in self.tracks else None for name in TRACKS},
            **self.measures.to_json(),
        }


def measure(
    scenes: Sequence[Records],
    occupancy: Sequence[NDArray[np.float32] | None],
    annotated: Sequence[Sequence[Frame]],
    matches: OfficialMatches,
    cfg: Config,
    sets: Mapping[str, Sequence[int]],
) -> Measures:
    """Everything beside the official score.

    scenes     what was detected on each, remembered boxes included
    occupancy  of each scene [F, H_m, W_m], all None for a detector without one
    annotated  their frames with the objects of all detection classes
    matches    the submission and what it finds
    cfg        the detector's configuration
    sets       places of the scenes that are measured by themselves too, by name
    """
    sighted = [track_observability(frames, cfg.DATA_CONFIG.POINT_CLOUD_RANGE) for frames in annotated]
    labels = [DETECTION_NAMES.index(name) for name in cfg.CLASS_NAMES]
    by_scene = [
        [
            match_frame(one.of_classes(labels), read_record(record, DETECTION_NAMES))
            for one, record in zip(frames, records, strict=True)
        ]
        for frames, records in zip(sighted, scenes, strict=True)
    ]
    matched = [one for scene in by_scene for one in scene]
    by_token = {one.frame.sample_token: one for frames in sighted for one in frames}
    tokens = [[frame.sample_token for frame in frames] for frames in annotated]
    return Measures(
        precision_recall=matches.curves(),
        visibility=by_visibility(matches, by_token),
        last_seen=by_last_seen(matches, by_token),
        permanence=measure_permanence(matched),
        flicker=measure_flicker(by_scene),
        velocity_error=measure_velocity(matched, DETECTION_NAMES, list(Observability)),
        velocity_error_by_sight={
            name: measure_velocity(matched, DETECTION_NAMES, sights) for name, sights in TOLD_APART.items()
        },
        age=by_age(matches, tokens, score_at(matched, ALLOWED)),
        sets={
            name: SetOfScenes(
                of_samples(matches, {token for place in places for token in tokens[place]}),
                measure_permanence([one for place in places for one in by_scene[place]]),
            )
            for name, places in sets.items()
        },
        occupancy=score_occupancy(
            [one.of_classes(labels) for frames in sighted for one in frames],
            [torch.from_numpy(grid) for maps in occupancy if maps is not None for grid in maps],
            cfg.memory_grid,
        ),
    )
