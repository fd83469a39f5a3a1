"""Association: greedy one-to-one matching by distance, the best box first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def match_greedily(distance: NDArray[np.float64], limit: float | NDArray[np.float64]) -> NDArray[np.int64]:
    """Match boxes with objects, the best box first.

    Each box takes the nearest object nearer than ``limit`` that no earlier box has taken, the first of several.

    Args:
        distance: [P, G] distances of boxes from objects; rows by decreasing score, inf for another class.
        limit: Metres, one for all or [P].

    Returns:
        The index of each box's object [P], -1 for none.
    """
    match = np.full(len(distance), -1)
    free = np.where(distance < np.reshape(limit, (-1, 1)), distance, np.inf)
    for row in np.flatnonzero((free < np.inf).any(axis=1)):
        column = free[row].argmin()
        if free[row, column] < np.inf:
            match[row] = column
            free[:, column] = np.inf
    return match
