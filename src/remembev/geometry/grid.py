"""The BEV grid: the area of each cell of a feature map, and rasterised boxes.

Maps are [..., H, W] with rows along +y and columns along +x, as in OpenPCDet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BEVGrid:
    """A regular grid over [x_min, x_max) × [y_min, y_max) metres with ``height`` rows (y) and ``width`` columns (x)."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    height: int
    width: int

    @property
    def cell_x(self) -> float:
        """Width of a cell in metres."""
        return (self.x_max - self.x_min) / self.width

    @property
    def cell_y(self) -> float:
        """Height of a cell in metres."""
        return (self.y_max - self.y_min) / self.height

    def strided(self, stride: int) -> BEVGrid:
        """Return a grid over the same area with cells ``stride`` times as large.

        Raises:
            ValueError: If height or width is not divisible by ``stride``.
        """
        if self.height % stride or self.width % stride:
            raise ValueError(f"a grid of {self.height} × {self.width} cells is not divisible by {stride}")
        return BEVGrid(self.x_min, self.y_min, self.x_max, self.y_max, self.height // stride, self.width // stride)

    def centres(self, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
        """Return the centres of all cells in metres, [H, W, 2] as (x, y)."""
        columns = torch.arange(self.width, dtype=dtype, device=device)
        rows = torch.arange(self.height, dtype=dtype, device=device)
        x = self.x_min + (columns + 0.5) * self.cell_x
        y = self.y_min + (rows + 0.5) * self.cell_y
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)

    def cells(self, xy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return row and column (int64) of points [..., ≥2], and True for points on the grid: three tensors [...].

        NaN and infinity do not; the row and column of a point that does not mean nothing.
        """
        column = ((xy[..., 0] - self.x_min) / self.cell_x).floor()
        row = ((xy[..., 1] - self.y_min) / self.cell_y).floor()
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        return row.long(), column.long(), inside

    def normalised(self, xy: Tensor) -> Tensor:
        """Return points [..., 2] in metres as (x, y) in [-1, 1] for ``grid_sample(align_corners=False)``."""
        x = (xy[..., 0] - self.x_min) / (self.x_max - self.x_min)
        y = (xy[..., 1] - self.y_min) / (self.y_max - self.y_min)
        return torch.stack((x, y), dim=-1) * 2 - 1


def rasterise_boxes(boxes: Tensor, grid: BEVGrid) -> Tensor:
    """Rasterise rotated boxes [M, ≥7]: bool [M, H, W].

    A cell is covered if its centre lies in the box, or if the box's centre lies in the cell: no box on the grid is too
    small to leave a mark.
    """
    centres = grid.centres(dtype=boxes.dtype, device=boxes.device)
    x, y = centres[0, :, 0] - boxes[:, :1], centres[:, 0, 1] - boxes[:, 1:2]
    cos, sin = boxes[:, 6:7].cos(), boxes[:, 6:7].sin()
    along = (x * cos)[:, None, :] + (y * sin)[:, :, None]
    across = (y * cos)[:, :, None] - (x * sin)[:, None, :]
    covered = (along.abs() <= boxes[:, None, None, 3] / 2) & (across.abs() <= boxes[:, None, None, 4] / 2)
    row, column, inside = (cell[:, None, None] for cell in grid.cells(boxes[:, :2]))
    rows = torch.arange(grid.height, device=boxes.device)[:, None]
    columns = torch.arange(grid.width, device=boxes.device)
    return covered | (inside & (rows == row) & (columns == column))
