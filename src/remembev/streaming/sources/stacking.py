"""Stacking of LiDAR turns: a turn with the ones before it, in its coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from remembev.data import Sweep
from remembev.data.points import move_cloud
from remembev.geometry import relative_pose


def stack_turns(turns: Sequence[Sweep]) -> Tensor:
    """Return points [N, 5] of the latest turn and of earlier ones, in its coordinates, with their ages.

    Args:
        turns: Single turns, newest first; the earlier ones lose the returns from the ego vehicle.
    """
    latest = turns[0]
    clouds = [
        move_cloud(
            turn.points.clone(),
            relative_pose(latest.global_from_lidar, turn.global_from_lidar),
            latest.timestamp - turn.timestamp,
            without_ego=number > 0,
        )
        for number, turn in enumerate(turns)
    ]
    return torch.cat(clouds)
