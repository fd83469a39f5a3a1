"""What the official score can't see: objects out of sight, in the occupancy that the memory gives and in the boxes.

nuScenes scores no object without a point. Here every object of a frame has a ``Sight``: what the sensor has seen of
it, now and before. Boxes and points outside the model's range are nothing that it could have seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from remembev.data import Frame
from remembev.geometry import BEVGrid, rasterise_boxes
from remembev.models import Detections

ENOUGH_POINTS = 5
"""Points of one frame from which on an object counts as seen in it."""
HIDDEN_SECONDS = 4.0
"""An object without a point counts as hidden for so long after a frame in which it was seen."""
NEAR = 2.0
"""Metres between the centres of a box and of an object of its class up to which the box is a hit."""
FALSE_BOXES = 5.0
"""False boxes a frame that are allowed where recall is measured."""


class Sight(IntEnum):
    """What the sensor has seen of an object; of several objects in a cell the highest counts."""

    FREE = 0
    """No object."""
    OUTSIDE = 1
    """Centred outside the model's range."""
    UNSEEN = 2
    """No point in this or an earlier frame of the scene."""
    LOST = 3
    """No point now; seen too little or too long ago to be hidden."""
    HIDDEN = 4
    """No point now; seen within the last ``HIDDEN_SECONDS``."""
    FAINT = 5
    """Fewer points than ``ENOUGH_POINTS``."""
    SEEN = 6
    """Points enough."""


@dataclass(frozen=True)
class SightedFrame:
    """The objects of one frame and what the sensor has seen of each."""

    boxes: Tensor  # [M, 9], LiDAR frame
    labels: Tensor  # [M] int64
    sight: Tensor  # [M] int64, values of Sight

    def cells(self, grid: BEVGrid) -> Tensor:
        """The ``Sight`` of every cell of a grid, int64 [H, W]."""
        covered = rasterise_boxes(self.boxes, grid) * self.sight[:, None, None]
        return torch.cat((covered, covered.new_zeros(1, grid.height, grid.width))).amax(dim=0)


@dataclass(frozen=True)
class OutOfSightScore:
    """How well occupancy and boxes know of objects in sight and out of sight; NaN where there is nothing to tell by."""

    auc_seen: float
    """ROC AUC of the occupancy, cells of seen objects against free ones."""
    auc_hidden: float
    """The same for hidden objects."""
    auc_unseen: float
    """The same for objects that no frame has shown yet: what can be known without having seen them."""
    occupancy_ap: float
    """Average precision of the occupancy, cells of all objects against free ones."""
    hidden_recall: float
    """Share of the hidden objects with a box of their class near them, at ``FALSE_BOXES`` a frame."""
    hidden_objects: int
    """Hidden objects over all frames."""


def sightings(frames: Iterable[Frame], point_cloud_range: Sequence[float]) -> list[SightedFrame]:
    """What the sensor has seen of the objects of a scene's frames, which come in order of time."""
    seen_at: dict[int, float] = {}
    met: set[int] = set()
    sighted = []
    for frame in frames:
        low, high = frame.boxes.new_tensor(point_cloud_range[:2]), frame.boxes.new_tensor(point_cloud_range[3:5])
        inside = ((frame.boxes[:, :2] >= low) & (frame.boxes[:, :2] < high)).all(dim=1).tolist()
        sight = []
        for track, points, within in zip(frame.track_ids.tolist(), frame.num_points.tolist(), inside, strict=True):
            since = frame.timestamp - seen_at.get(track, -math.inf)
            sight.append(_sight(points, since, track in met) if within else Sight.OUTSIDE)
            if within and points >= ENOUGH_POINTS:
                seen_at[track] = frame.timestamp
            if within and points > 0:
                met.add(track)
        sighted.append(SightedFrame(frame.boxes, frame.labels, torch.tensor(sight, dtype=torch.int64)))
    return sighted


def score_out_of_sight(
    frames: Sequence[SightedFrame],
    detections: Sequence[Detections],
    occupancy: Sequence[Tensor],
    grid: BEVGrid,
) -> OutOfSightScore:
    """The score of a detector over the frames of a split.

    detections  one a frame
    occupancy   one [H_m, W_m] on ``grid`` a frame, or none at all where a detector has no occupancy
    """
    none = torch.zeros(0)
    cells = torch.cat([none.long(), *(frame.cells(grid).flatten() for frame in frames if occupancy)])
    values = torch.cat([none, *(one.flatten() for one in occupancy)])
    free = values[cells == Sight.FREE]
    return OutOfSightScore(
        auc_seen=roc_auc(values[cells == Sight.SEEN], free),
        auc_hidden=roc_auc(values[cells == Sight.HIDDEN], free),
        auc_unseen=roc_auc(values[cells == Sight.UNSEEN], free),
        occupancy_ap=average_precision(values[cells >= Sight.UNSEEN], free),
        hidden_recall=recall(frames, detections, Sight.HIDDEN),
        hidden_objects=sum(int((frame.sight == Sight.HIDDEN).sum()) for frame in frames),
    )


def roc_auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive [P] scores above a negative [N], equal ones counted half; NaN without a pair."""
    if not len(positive) or not len(negative):
        return math.nan
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive, right=False)
    not_above = torch.searchsorted(ordered, positive, right=True)
    return float((below + not_above).sum()) / (2 * len(positive) * len(negative))


def average_precision(positive: Tensor, negative: Tensor) -> float:
    """Area under the precision-recall curve as steps, equal scores entering together; NaN without a positive."""
    if not len(positive):
        return math.nan
    hits = len(positive) - torch.searchsorted(positive.sort().values, positive)
    false = len(negative) - torch.searchsorted(negative.sort().values, positive)
    return float((hits.double() / (hits + false)).mean())


def recall(
    frames: Sequence[SightedFrame], detections: Sequence[Detections], sight: Sight, false_boxes: float = FALSE_BOXES
) -> float:
    """Share of the objects of one ``Sight`` that a box finds: one of their class whose centre is at most ``NEAR`` away.

    Boxes count from the score on above which at most ``false_boxes`` a frame have no object of their class near, in
    sight or out of it. NaN without such an object.
    """
    best, false = [torch.zeros(0)], [torch.zeros(0)]
    for frame, found in zip(frames, detections, strict=True):
        near = torch.cdist(found.boxes[:, :2].double(), frame.boxes[:, :2].double()) <= NEAR
        hit = near & (found.labels[:, None] == frame.labels)
        scores = torch.where(hit, found.scores[:, None], -math.inf)
        found_at = torch.cat((scores, scores.new_full((1, len(frame.labels)), -math.inf))).amax(dim=0)
        best.append(found_at[frame.sight == sight])
        false.append(found.scores[~hit.any(dim=1)])
    threshold = score_allowing(torch.cat(false), int(false_boxes * len(frames)))
    objects = torch.cat(best)
    return float((objects > threshold).double().mean()) if len(objects) else math.nan


def score_allowing(scores: Tensor, allowed: int) -> float:
    """The score that at most ``allowed`` of ``scores`` [N] are above: the lowest there is, −∞ if all may be."""
    return -math.inf if len(scores) <= allowed else float(scores.sort(descending=True).values[allowed])


def _sight(points: int, since_seen: float, met: bool) -> Sight:
    """The sight of an object in range that was last seen so many seconds ago, and has or hasn't had a point before."""
    if points:
        return Sight.SEEN if points >= ENOUGH_POINTS else Sight.FAINT
    if round(since_seen, 3) <= HIDDEN_SECONDS:
        return Sight.HIDDEN
    return Sight.LOST if met else Sight.UNSEEN
