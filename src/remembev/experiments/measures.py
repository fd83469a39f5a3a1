"""Measures of trained variants: the place of each value in a run's files, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Measure:
    """A value that every run has, or may have.

    Attributes:
        label: Its name in tables.
        path: Where it stands in a run: its ``result`` or its ``eval`` metrics, then keys and places in lists.
        what: What it means, in a phrase.
        better: Which values are better; None for costs, which are not judged.
        digits: Decimals that are shown.
    """

    label: str
    path: tuple[str | int, ...]
    what: str = ""
    better: Better | None = "higher"
    digits: int = 3

    def of(self, run: Mapping[str, Any]) -> float | None:
        """Return its value for a run; None where the run has none."""
        value: Any = run
        for key in self.path:
            if isinstance(value, Mapping):
                value = value.get(key)
            elif value is not None:
                value = value[key]
        return value


def scored(label: str, *path: str | int, what: str = "", better: Better | None = "higher", digits: int = 3) -> Measure:
    """Return a measure whose path lies in a run's ``metrics.json``."""
    return Measure(label, ("eval", *path), what, better, digits)


MAP = scored("mAP", "mean_ap", what="official nuScenes mean average precision, memory kept over each scene")
NDS = scored("NDS", "nds", what="official nuScenes detection score, memory kept over each scene")
HARD_TO_SEE = (
    scored("mAP at visibility 1", "visibility", "1", "mean_ap", what="mAP of objects that are at most 40 % visible"),
    scored("NDS at visibility 1", "visibility", "1", "nds", what="NDS of the same objects"),
    scored("mAP at visibility 2", "visibility", "2", "mean_ap", what="mAP of objects that are 40 to 60 % visible"),
    scored("NDS at visibility 2", "visibility", "2", "nds", what="NDS of the same objects"),
)
SCORES = (
    MAP,
    NDS,
    scored("mAP ≤ 0.5 s", "tracks", "half_second", "mean_ap", what="mAP with a memory of the last 0.5 s"),
    scored("NDS ≤ 0.5 s", "tracks", "half_second", "nds", what="NDS with a memory of the last 0.5 s"),
    *HARD_TO_SEE,
)
FLICKER = scored(
    "flicker", "flicker", "lost_per_track", what="times that a tracked object is lost and found again", better="lower"
)
FOUND = scored(
    "found share",
    "flicker",
    "found_share",
    what="share of a tracked object's frames in which it is found; a detector that finds nothing never flickers",
)
OCCUPANCY = (
    scored(
        "AUC seen",
        "occupancy",
        "auc_seen",
        what="ROC AUC of the occupancy: cells of well seen objects against free ones",
    ),
    scored(
        "AUC hidden",
        "occupancy",
        "auc_hidden",
        what="ROC AUC for objects without a point that were well seen in the last 4 s",
    ),
    scored("AUC unseen", "occupancy", "auc_unseen", what="ROC AUC for objects that have had no point yet: a control"),
    scored(
        "occupancy AP",
        "occupancy",
        "occupancy_ap",
        what="average precision of the occupancy: cells of all objects against free ones",
    ),
)
TRACKING = (
    scored("AMOTA", "tracking", "amota", what="official nuScenes tracking accuracy, mean over the recalls"),
    scored("AMOTP", "tracking", "amotp", what="mean distance of tracks from objects in m", better="lower"),
    scored("MOTA", "tracking", "mota", what="tracking accuracy at the best score of each class"),
    scored("switches", "tracking", "ids", what="changes of an object's id, at these scores", better="lower", digits=0),
    scored("fragments", "tracking", "frag", what="interruptions of tracks, at these scores", better="lower", digits=0),
)
TIME = Measure("ms a frame", ("result", "step_ms"), "median time of a frame of one scene, one thread", None, 1)
COSTS = (
    Measure("parameters", ("result", "parameters"), "weights of the whole model", None, 0),
    Measure("memory parameters", ("result", "memory_parameters"), "weights of the memory", None, 0),
    TIME,
    Measure("points a frame", ("result", "points"), "median over the same frames", None, 0),
    Measure(
        "s of training",
        ("result", "train_seconds"),
        "wall time after the pretraining, if it was not interrupted",
        None,
        0,
    ),
    Measure("frames trained on", ("result", "frames"), "after the pretraining, each as often as it was seen", None, 0),
)


def permanence_measures(metrics: Mapping[str, Any]) -> list[Measure]:
    """Return permanence at each window of a run's metrics, at the middle number of false boxes."""
    permanence = metrics.get("permanence")
    if not permanence:
        return []
    column = len(permanence["false_boxes"]) // 2
    false_boxes = permanence["false_boxes"][column]
    return [
        scored(
            f"permanence {window:g} s",
            "permanence",
            "recall",
            row,
            column,
            what=f"recall of objects without a point that were well seen in the last {window:g} s, at {false_boxes:g} "
            "false boxes a frame",
        )
        for row, window in enumerate(permanence["windows_s"])
    ]
