"""Masks on the grid of the memory."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pool_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Pool masks [B, A, H, W] to [B, A, height, width]: a cell is occupied as much as the most of its finer cells.

    Raises:
        ValueError: H × W cells that aren't a multiple of height × width.
    """
    rows, columns = masks.shape[-2:]
    if rows % height or columns % width:
        raise ValueError(
            f"masks {list(masks.shape)} can't be pooled to the memory's grid of {height} × {width} cells, "
            f"which doesn't divide {rows} × {columns}"
        )
    if (rows, columns) == (height, width):
        return masks
    return F.max_pool2d(masks.float(), (rows // height, columns // width))
