"""Remembered objects: boxes that were found, moved on to the present, until they are found again or forgotten.

An object is known by its box, class, highest score and the time since a frame last showed it. Found boxes replace the
remembered ones that they overlap; the others stay, each with a score of its own for still being there.
Only boxes that a frame shows are ever written, so that what is remembered can't confirm itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from remembev.config.schema import ObjectsConfig
from remembev.geometry import BEVGrid, invert_pose, transform_boxes, widen_boxes
from remembev.geometry.overlap import overlap_more, rectangles
from remembev.memory.motion import MotionModel
from remembev.ops import VISIBILITY_CHANNELS
from remembev.structs import TensorStruct

NO_OBJECT = -1


@dataclass(frozen=True)
class ObjectMemory(TensorStruct):
    """Remembered objects in N places, those without one labelled NO_OBJECT."""

    boxes: Tensor  # [B, N, 9] in the LiDAR frame of the latest step
    labels: Tensor  # [B, N] int64 into CLASS_NAMES
    best: Tensor  # [B, N] in [0, 1], the highest score so far
    age: Tensor  # [B, N], seconds since a frame last showed it
    presence: Tensor  # [B, N], logit of its score in the latest frame
    covariance: Tensor  # [B, N, 2, 2], of its position (m) and velocity (m/s) along either axis

    @classmethod
    def empty(cls, batch: int, places: int, device: torch.device) -> Self:
        """Return a memory without objects."""
        zeros = torch.zeros(batch, places, device=device)
        labels = torch.full((batch, places), NO_OBJECT, device=device)
        covariance = torch.zeros(batch, places, 2, 2, device=device)
        return cls(torch.zeros(batch, places, 9, device=device), labels, zeros, zeros, zeros, covariance)

    @property
    def valid(self) -> Tensor:
        """[B, N] bool, True for places with an object."""
        return self.labels != NO_OBJECT

    @property
    def scores(self) -> Tensor:
        """Scores [B, N] in the latest frame; 0 for places without an object."""
        return self.presence.sigmoid() * self.valid

    def gather(self, index: Tensor) -> Self:
        """Return the objects at ``index`` [B, M], in that order."""
        return self.map(lambda tensor: gather_rows(tensor, index))


@dataclass(frozen=True)
class FoundObjects(TensorStruct):
    """K boxes that a head found in a frame."""

    boxes: Tensor  # [B, K, 9]
    scores: Tensor  # [B, K], zeros pad
    labels: Tensor  # [B, K] int64 into CLASS_NAMES, -1 pads

    @classmethod
    def empty(cls, batch: int, device: torch.device) -> Self:
        """Return no boxes."""
        labels = torch.zeros(batch, 0, dtype=torch.int64, device=device)
        return cls(torch.zeros(batch, 0, 9, device=device), torch.zeros(batch, 0, device=device), labels)


def move_objects(
    objects: ObjectMemory, prev_from_frame: Tensor | None, elapsed: Tensor, motion: MotionModel
) -> ObjectMemory:
    """Move objects by their velocities and into the coordinates of the current frame.

    Args:
        objects: Objects after the frame before.
        prev_from_frame: Transform [B, 4, 4] from the current frame to theirs; None: the same frame.
        elapsed: Seconds since their frame [B].
        motion: The motion of the classes.
    """
    seconds = elapsed[:, None].expand_as(objects.age)
    moved, covariance = motion.predict(objects.boxes, objects.covariance, objects.labels, seconds)
    if prev_from_frame is not None:
        moved = transform_boxes(invert_pose(prev_from_frame), moved)
    return replace(objects, boxes=moved, covariance=covariance, age=objects.age + seconds)


def merge_found(
    objects: ObjectMemory, found: FoundObjects, grid: BEVGrid, cfg: ObjectsConfig, motion: MotionModel
) -> tuple[FoundObjects, ObjectMemory]:
    """Merge the boxes that a frame shows with the objects remembered from before.

    A box that shows an object gets the object's velocity, unless its class stands still.

    Args:
        objects: Objects in the frame's coordinates, with their presence.
        found: What the head found, after its NMS.
        grid: Objects off this grid are remembered, but not returned.
        cfg: The configuration's OBJECTS.
        motion: The motion of the classes.

    Returns:
        The frame's boxes and those of the objects that it doesn't show, best first; and the objects from now on.
    """
    same = are_same(objects, found, cfg)
    found, shown_boxes, covariance = _follow(objects, found, same, motion)
    unseen = objects.valid & ~same.any(dim=1)
    on_grid = grid.cells(objects.boxes)[2]
    likely = motion.likely_velocity(objects.boxes, objects.covariance)
    remembered = FoundObjects(
        torch.cat((objects.boxes[..., :7], likely), dim=-1),
        objects.scores * (unseen & on_grid),
        torch.where(unseen & on_grid, objects.labels, NO_OBJECT),
    )
    both = found.zip_map(lambda one, two: torch.cat((one, two.to(one.dtype)), dim=1), remembered)
    best_first = both.scores.argsort(dim=1, descending=True, stable=True)

    best = torch.maximum(found.scores, (same * objects.best[:, None]).amax(dim=2))
    is_new = (found.labels != NO_OBJECT) & (found.scores >= cfg.MIN_SCORE)
    shown = ObjectMemory(
        boxes=shown_boxes,
        labels=torch.where(is_new, found.labels, NO_OBJECT),
        best=best.to(objects.best.dtype),
        age=torch.zeros_like(best),
        presence=found.scores.to(best.dtype).logit(eps=1e-6),
        covariance=covariance,
    )
    kept = replace(objects, labels=torch.where(unseen & (objects.age < cfg.FORGET_AFTER), objects.labels, NO_OBJECT))
    candidates = shown.zip_map(lambda one, two: torch.cat((one, two), dim=1), kept)
    places = objects.labels.shape[1]
    chosen = candidates.scores.argsort(dim=1, descending=True, stable=True)[:, :places]
    return both.map(lambda tensor: gather_rows(tensor, best_first)), candidates.gather(chosen)


def _follow(
    objects: ObjectMemory, found: FoundObjects, same: Tensor, motion: MotionModel
) -> tuple[FoundObjects, Tensor, Tensor]:
    """Follow objects to the found boxes that show them, ``same`` [B, K, N].

    Returns:
        The found boxes with the velocities of the objects; the objects' boxes [B, K, 9] and covariances [B, K, 2, 2]
        from now on. New objects have the velocities that they were found with.
    """
    boxes, covariance = found.boxes.to(objects.boxes.dtype), motion.first_covariance(found.labels, objects.boxes.dtype)
    still = motion.is_still(found.labels)[..., None]
    followed = torch.cat((boxes[..., :7], torch.where(still, 0.0, boxes[..., 7:])), dim=-1)
    if not same.shape[2]:
        return found, followed, covariance
    distance = (boxes[:, :, None, :2] - objects.boxes[:, None, :, :2]).norm(dim=-1)
    before = objects.gather(distance.masked_fill(~same, torch.inf).argmin(dim=2))
    corrected, corrected_covariance = motion.correct(before.boxes, before.covariance, found.labels, boxes)
    corrected = torch.cat((corrected[..., :2], boxes[..., 2:7], corrected[..., 7:]), dim=-1)
    is_known = same.any(dim=2)[..., None]
    likely = motion.likely_velocity(corrected, corrected_covariance)
    velocity = torch.where(is_known & ~still, likely, boxes[..., 7:])
    return (
        replace(found, boxes=torch.cat((boxes[..., :7], velocity), dim=-1)),
        torch.where(is_known, corrected, followed),
        torch.where(is_known[..., None], corrected_covariance, covariance),
    )


def are_same(objects: ObjectMemory, found: FoundObjects, cfg: ObjectsConfig) -> Tensor:
    """Return True for found boxes that show remembered objects: bool [B, K, N].

    A box shows the objects of its class that it overlaps. A box and an object that overlap none are the same if each is
    the nearest to the other, and less than the object's length and ``SAME_WITHIN`` twice away: objects don't always
    move as they were expected to.

    A box of less than ``MIN_SCORE`` that is worse than an object doesn't show it: most such boxes are chance, and with
    them the object would be lost.
    """
    labels = found.labels[..., None]
    is_class = (labels == objects.labels[:, None]) & (labels != NO_OBJECT)
    is_class &= found.scores[..., None] >= objects.scores[:, None].clamp(max=cfg.MIN_SCORE)
    shown, remembered = (widen_boxes(boxes.float(), cfg.MIN_SIDE) for boxes in (found.boxes, objects.boxes))
    overlap = overlap_more(rectangles(shown)[..., None], rectangles(remembered)[:, :, None], cfg.SAME_ABOVE) & is_class
    free = is_class & ~overlap.any(dim=2, keepdim=True) & ~overlap.any(dim=1, keepdim=True)
    distance = (shown[:, :, None, :2] - remembered[:, None, :, :2]).norm(dim=-1)
    reach = remembered[:, None, :, 3].clamp(max=2 * cfg.SAME_WITHIN)
    distance = distance.masked_fill(~free | (distance > reach), torch.inf)
    nearest = (distance == _least(distance, 1)) & (distance == _least(distance, 2)) & distance.isfinite()
    return overlap | nearest


def _least(distance: Tensor, dim: int) -> Tensor:
    """Return the least of distances along a dimension, which is kept and may be empty; infinity of none."""
    return F.pad(distance, (0, 1) if dim == 2 else (0, 0, 0, 1), value=torch.inf).amin(dim=dim, keepdim=True)


def gather_rows(table: Tensor, index: Tensor) -> Tensor:
    """Gather rows [B, M, ...] of a table [B, K, ...] at ``index`` [B, M]."""
    return table.gather(1, index.view(*index.shape, *[1] * (table.dim() - 2)).expand(-1, -1, *table.shape[2:]))


class Presence(nn.Module):
    """Estimates whether remembered objects are still there, from what the memory and the frame's rays say of the place.

    The last layer is zero-initialised: at first an object has the score that a coasting tracker would give it, and what
    is learnt corrects that.
    """

    def __init__(self, channels: int, classes: int, cfg: ObjectsConfig, hidden_dim: int = 64) -> None:
        """Create the network for a map of ``channels`` channels."""
        super().__init__()
        self.classes = classes
        self.cfg = cfg
        self.hidden = nn.Linear(channels + VISIBILITY_CHANNELS + classes + 5, hidden_dim)
        self.logit = nn.Linear(hidden_dim, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)

    def forward(self, features: Tensor, visibility: Tensor, objects: ObjectMemory, grid: BEVGrid) -> Tensor:
        """Return the logits of the presence of objects [B, N], float32.

        Args:
            features: The memory's map [B, C, H_m, W_m].
            visibility: ``ray_visibility`` [B, 3, H_m, W_m].
            objects: Objects in the frame's coordinates.
            grid: The maps' grid.
        """
        places = grid.normalised(_inner_points(objects.boxes))
        maps = torch.cat((features.float(), visibility), dim=1)
        place = F.grid_sample(maps, places, align_corners=False).mean(dim=3).transpose(1, 2)
        known = torch.cat((place, self._describe(objects)), dim=-1)
        correction: Tensor = self.logit(F.relu(self.hidden(known)))[..., 0]
        beyond, _, before = place[..., -VISIBILITY_CHANNELS:].unbind(dim=-1)
        scores = self.cfg.coasted_score(objects.best, objects.age)
        scores = torch.where(beyond > before, self.cfg.FREE_SPACE_SCORE * scores, scores)
        return scores.logit(eps=1e-6) + correction.float()

    def _describe(self, objects: ObjectMemory) -> Tensor:
        """Return numbers [B, N, classes + 5] near 1 for what is known of each object."""
        is_class = F.one_hot(objects.labels.clamp(min=0), self.classes).float()
        speed = objects.boxes[..., 7:9].norm(dim=-1)
        extent = objects.boxes[..., :2].norm(dim=-1) / 40
        known = (objects.best.clamp(0.01, 0.99).logit(), objects.age / 2, (-objects.age).exp(), speed / 5, extent)
        return torch.cat((is_class, torch.stack(known, dim=-1)), dim=-1)


def _inner_points(boxes: Tensor) -> Tensor:
    """Return five points [B, N, 5, 2] of boxes [B, N, 9]: the centre, and halfway to each corner."""
    length, width = boxes[..., 3:4] / 4, boxes[..., 4:5] / 4
    along = torch.cat((0 * length, length, length, -length, -length), dim=-1)
    across = torch.cat((0 * width, width, -width, width, -width), dim=-1)
    cos, sin = boxes[..., 6:7].cos(), boxes[..., 6:7].sin()
    x = boxes[..., 0:1] + along * cos - across * sin
    y = boxes[..., 1:2] + along * sin + across * cos
    return torch.stack((x, y), dim=-1)
