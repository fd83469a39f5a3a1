"""``Evaluation``: all measures of a detector on a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from remembev.config import Config
from remembev.config.classes import DETECTION_NAMES
from remembev.data import Frame
from remembev.evaluation.breakdowns import (
    AgeScore,
    LastSeenScore,
    SubsetScore,
    by_age,
    by_last_seen,
    by_visibility,
    score_samples,
)
from remembev.evaluation.detecting import TRACKS, Records
from remembev.evaluation.matching import match_frame, threshold_at
from remembev.evaluation.observability import Observability, track_observability
from remembev.evaluation.occupancy import OccupancyScore, score_occupancy
from remembev.evaluation.official import OfficialMatches
from remembev.evaluation.official_tracking import TrackingScore
from remembev.evaluation.permanence import (
    ALLOWED,
    Flicker,
    Permanence,
    measure_flicker,
    measure_permanence,
    measure_velocity,
)
from remembev.evaluation.scoring import Curve, DetectionScore, nan_to_none
from remembev.streaming import read_record

VELOCITY_LEVELS = {"seen": [Observability.SEEN], "faint": [Observability.FAINT], "hidden": [Observability.HIDDEN]}
"""Levels of observability whose velocity errors are measured separately."""


@dataclass(frozen=True)
class SceneSetScore:
    """Measures of a set of scenes, such as ``doors``, by itself."""

    subset: SubsetScore
    permanence: Permanence

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the score on the top level."""
        return {**self.subset.to_json(), "permanence": self.permanence.to_json()}


@dataclass(frozen=True)
class Measures:
    """Measures of one track beside its official score; the guide on evaluation has the formulas.

    Attributes:
        precision_recall: Curve of each class at 2 m.
        visibility: Score of each visibility level.
        last_seen: Score by the time since objects were last well seen.
        permanence: Recall of hidden objects.
        flicker: How steadily objects are detected.
        velocity_error: m/s by class; NaN for a class without a matched object.
        velocity_error_by_level: The same by level of observability, then by class.
        age: Score by the age of the stream.
        sets: Measures of each set of scenes, by the name of its split.
        occupancy: Score of the memory's occupancy; None for a detector without one.
    """

    precision_recall: Mapping[str, Curve]
    visibility: Mapping[str, SubsetScore]
    last_seen: Sequence[LastSeenScore]
    permanence: Permanence
    flicker: Flicker
    velocity_error: Mapping[str, float]
    velocity_error_by_level: Mapping[str, Mapping[str, float]]
    age: Sequence[AgeScore]
    sets: Mapping[str, SceneSetScore]
    occupancy: OccupancyScore | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None for NaN."""
        return {
            "precision_recall": {name: curve._asdict() for name, curve in self.precision_recall.items()},
            "visibility": {level: subset.to_json() for level, subset in self.visibility.items()},
            "last_seen": [row.to_json() for row in self.last_seen],
            "permanence": self.permanence.to_json(),
            "flicker": self.flicker.to_json(),
            "velocity_error": nan_to_none(dict(self.velocity_error)),
            "velocity_error_by_sight": nan_to_none(dict(self.velocity_error_by_level)),
            "age": [row.to_json() for row in self.age],
            "sets": {name: measures.to_json() for name, measures in self.sets.items()},
            "occupancy": None if self.occupancy is None else nan_to_none(asdict(self.occupancy)),
        }


@dataclass(frozen=True)
class Evaluation:
    """All measures of a detector on a split.

    Attributes:
        with_memory: False if the memory was emptied before every frame.
        split: Name of the split.
        frames: Number of key frames.
        seconds: Time for detection, reading included.
        remembered: True if remembered boxes were submitted.
        tracks: Official score of each track; the measures are of the first one.
        measures: Everything beside the official score.
        tracking: Official tracking score; None without a tracker.
    """

    with_memory: bool
    split: str
    frames: int
    seconds: float
    remembered: bool
    tracks: Mapping[str, DetectionScore]
    measures: Measures
    tracking: TrackingScore | None = None

    @property
    def track(self) -> str:
        """Name of the track that the measures are of."""
        return next(iter(self.tracks))

    @property
    def score(self) -> DetectionScore:
        """Official score of that track."""
        return self.tracks[self.track]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``metrics.json``, the official score on the top level."""
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
            "tracking": None if self.tracking is None else self.tracking.to_json(),
        }


def measure(
    scenes: Sequence[Records],
    occupancy: Sequence[NDArray[np.float32] | None],
    annotated: Sequence[Sequence[Frame]],
    matches: OfficialMatches,
    cfg: Config,
    sets: Mapping[str, Sequence[int]],
) -> Measures:
    """Measure everything beside the official score.

    Args:
        scenes: Detections on each scene, remembered boxes included.
        occupancy: Of each scene [F, H_m, W_m]; None for a detector without one.
        annotated: Frames of each scene with the objects of all detection classes.
        matches: The submission.
        cfg: The detector's configuration.
        sets: Indices of the scenes of each set that is also measured by itself, by name.
    """
    observability = [track_observability(frames, cfg.DATA_CONFIG.POINT_CLOUD_RANGE) for frames in annotated]
    labels = [DETECTION_NAMES.index(name) for name in cfg.CLASS_NAMES]
    by_scene = [
        [
            match_frame(frame.of_classes(labels), read_record(record, DETECTION_NAMES))
            for frame, record in zip(frames, records, strict=True)
        ]
        for frames, records in zip(observability, scenes, strict=True)
    ]
    matched = [frame for frames in by_scene for frame in frames]
    by_token = {frame.frame.sample_token: frame for frames in observability for frame in frames}
    tokens = [[frame.sample_token for frame in frames] for frames in annotated]
    return Measures(
        precision_recall=matches.curves(),
        visibility=by_visibility(matches, by_token),
        last_seen=by_last_seen(matches, by_token),
        permanence=measure_permanence(matched),
        flicker=measure_flicker(by_scene),
        velocity_error=measure_velocity(matched, DETECTION_NAMES, list(Observability)),
        velocity_error_by_level={
            name: measure_velocity(matched, DETECTION_NAMES, levels) for name, levels in VELOCITY_LEVELS.items()
        },
        age=by_age(matches, tokens, threshold_at(matched, ALLOWED)),
        sets={
            name: SceneSetScore(
                score_samples(matches, {token for scene in members for token in tokens[scene]}),
                measure_permanence([frame for scene in members for frame in by_scene[scene]]),
            )
            for name, members in sets.items()
        },
        occupancy=score_occupancy(
            [frame.observability for frame in matched],
            [torch.from_numpy(grid) for maps in occupancy if maps is not None for grid in maps],
            cfg.memory_grid,
        ),
    )
