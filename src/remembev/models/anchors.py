"""Anchors: boxes of each class's usual size at every cell of the feature map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from remembev.config.schema import AnchorConfig
from remembev.geometry import BEVGrid, nearest_aligned_bev, widen_boxes


class AnchorGrid(nn.Module):
    """Anchors of the K classes of a head: T templates, class after class, each at H rows and W columns.

    Anchors are numbered from 0 to T · H · W - 1 in that order: template (class, size, rotation, height), row, column.
    Without ``align_center`` the first and last anchors of a row lie on the edges of the range, as in OpenPCDet: up to
    half a cell off the cells' centres.
    """

    x: Tensor  # [T, W] m
    y: Tensor  # [T, H] m
    templates: Tensor  # [T, 5] (z, l, w, h, yaw)

    def __init__(self, cfgs: Sequence[AnchorConfig], grid: BEVGrid) -> None:
        super().__init__()
        x: list[Tensor] = []
        y: list[Tensor] = []
        templates: list[Tensor] = []
        self.class_templates: list[slice] = []
        for cfg in cfgs:
            first = len(templates)
            for size, yaw, bottom in product(cfg.anchor_sizes, cfg.anchor_rotations, cfg.anchor_bottom_heights):
                x.append(_positions(grid.x_min, grid.x_max, grid.width, cfg.align_center))
                y.append(_positions(grid.y_min, grid.y_max, grid.height, cfg.align_center))
                templates.append(torch.tensor((bottom + size[2] / 2, *size, yaw), dtype=torch.float32))
            self.class_templates.append(slice(first, len(templates)))
        self.register_buffer("x", torch.stack(x), persistent=False)
        self.register_buffer("y", torch.stack(y), persistent=False)
        self.register_buffer("templates", torch.stack(templates), persistent=False)

    @property
    def per_location(self) -> int:
        """Anchors per cell, T."""
        return len(self.templates)

    def __len__(self) -> int:
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        return len(self.templates), self.y.shape[1], self.x.shape[1]

    def boxes(self, index: Tensor) -> Tensor:
        """Return the anchors [..., 7] (x, y, z, l, w, h, yaw) with numbers [...]."""
        _, height, width = self.shape
        template = index // (height * width)
        x = self.x[template, index % width]
        y = self.y[template, index // width % height]
        return torch.cat((x[..., None], y[..., None], self.templates[template]), dim=-1)

    def touching(self, class_index: int, boxes: Tensor, min_size: float = 0.0) -> Tensor:
        """Return the numbers [Q], ascending, of a class's anchors that touch any of boxes [M, ≥7].

        Anchors count as at least ``min_size`` metres long and wide.

        All are turned to the nearest axis. Such rectangles touch if their extents along x and along y do, so no anchor
        is compared with a box by itself.
        """
        of_class = self.class_templates[class_index]
        _, height, width = self.shape
        x1, y1, x2, y2 = nearest_aligned_bev(boxes).unbind(dim=-1)
        at_origin = widen_boxes(F.pad(self.templates[of_class], (2, 0)), min_size)
        _, _, half_x, half_y = nearest_aligned_bev(at_origin)[:, None].unbind(dim=-1)
        along_x = _touches(self.x[of_class], half_x, x1, x2)
        along_y = _touches(self.y[of_class], half_y, y1, y2)
        touching = torch.einsum("thm,twm->thw", along_y.float(), along_x.float()) > 0
        return touching.flatten().nonzero()[:, 0] + of_class.start * height * width


def _positions(low: float, high: float, count: int, align_center: bool) -> Tensor:
    """Return the coordinates [count] float32 of a row's or a column's anchors."""
    index = torch.arange(count, dtype=torch.float64)
    if align_center:
        return (low + (index + 0.5) * (high - low) / count).float()
    return (low + index * (high - low) / max(count - 1, 1)).float()


def _touches(centre: Tensor, half: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return True for intervals centre [T, S] ± half [T, 1] that touch [low, high] [M]: bool [T, S, M]."""
    return ((centre + half)[..., None] >= low) & ((centre - half)[..., None] <= high)
