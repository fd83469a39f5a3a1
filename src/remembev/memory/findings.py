"""Findings: the boxes of a frame as a map on the memory's grid, which goes into the values that are written."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from remembev.geometry import BEVGrid, rasterise_boxes
from remembev.memory.objects import NO_OBJECT, FoundObjects, gather_rows

BOX_CHANNELS = 10
"""Channels of box parameters: centre (x, y from the cell's centre in cells, z in m), logarithms of length, width and
height in m, sine and cosine of the heading, velocity in units of ``_SPEED``."""
_SPEED = 5.0  # m/s
_MOST = 256  # boxes of a frame, the best, so that the cost has a limit


def rasterise_findings(found: FoundObjects, classes: int, grid: BEVGrid) -> Tensor:
    """Rasterise what was found to a map [B, classes + BOX_CHANNELS, H_m, W_m], zero where nothing was.

    A box covers the cells whose centre lies in it, and the one that holds its centre. A cell has the highest score of
    each class, then the parameters of the box of the highest score; of equal ones the first.

    Args:
        found: What was found.
        classes: Number of classes.
        grid: The memory's grid.
    """
    best_first = found.scores.argsort(dim=1, descending=True, stable=True)[:, :_MOST]
    found = found.map(lambda tensor: gather_rows(tensor, best_first))
    boxes, scores, labels = found.boxes.float(), found.scores.float(), found.labels
    (batch, count), cells = labels.shape, grid.height * grid.width

    covered = rasterise_boxes(boxes.flatten(0, 1), grid).view(batch, count, cells)
    covered = covered & (labels != NO_OBJECT)[..., None]
    of_class = labels.clamp(min=0)[..., None].expand_as(covered)
    class_scores = scores.new_zeros(batch, classes, cells)
    class_scores = class_scores.scatter_reduce(1, of_class, covered * scores[..., None], "amax")

    rank = torch.arange(count + 1, device=labels.device)[:, None]
    best = torch.where(F.pad(covered, (0, 0, 0, 1), value=True), rank, count).amin(dim=1)
    is_found = best < count
    parameters = gather_rows(F.pad(_describe(boxes), (0, 0, 0, 1)), best)
    x, y = (parameters[..., :2] - grid.centres(device=boxes.device).flatten(0, 1)).unbind(dim=-1)
    offset = torch.stack((x / grid.cell_x, y / grid.cell_y), dim=-1)
    parameters = torch.cat((offset, parameters[..., 2:]), dim=-1) * is_found[..., None]
    return torch.cat((class_scores, parameters.transpose(1, 2)), dim=1).view(batch, -1, grid.height, grid.width)


def found_velocity(findings: Tensor) -> Tensor:
    """Return the velocities [B, 3, H_m · W_m] (m/s) of the boxes in a map of findings, 0 where there is none."""
    return F.pad(findings[:, -2:].flatten(2) * _SPEED, (0, 0, 0, 1))


def teach(found: FoundObjects, true_objects: FoundObjects, forced: Tensor) -> FoundObjects:
    """Replace what was found by the true objects in the items that are ``forced`` [B] bool."""

    def joined(own: Tensor, true: Tensor) -> Tensor:
        return torch.cat((own, true.to(own.dtype)), dim=1)

    both = found.zip_map(joined, true_objects)
    is_true = torch.arange(both.labels.shape[1], device=forced.device) >= found.labels.shape[1]
    counts = is_true == forced[:, None]
    return FoundObjects(both.boxes, both.scores * counts, torch.where(counts, both.labels, NO_OBJECT))


def _describe(boxes: Tensor) -> Tensor:
    """Return the parameters [B, K, BOX_CHANNELS] of boxes [B, K, 9], their centres still in metres."""
    sizes, yaw = boxes[..., 3:6].clamp(min=0.1).log(), boxes[..., 6:7]
    return torch.cat((boxes[..., :3], sizes, yaw.sin(), yaw.cos(), boxes[..., 7:9] / _SPEED), dim=-1)
