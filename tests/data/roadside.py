"""The handmade data set with points on its objects: eight, at known places of each box, in every cloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .handmade import (
    SWEEP_US,
    THINGS,
    global_from_lidar,
    place_of,
    write_handmade,
)

LOCAL = torch.tensor([[x, y, z] for x in (-0.4, 0.4) for y in (-0.3, 0.3) for z in (-0.3, 0.3)])
"""Where an object's points are, in lengths, widths and heights of its box."""


def write_roadside(root: Path) -> Path:
    """Two scenes of five key frames; the points of thing number i have the intensity 1000 + i."""
    write_handmade(root)
    for path in sorted(root.glob("*/LIDAR_TOP/*.pcd.bin")):
        scene, cloud = (int(part) for part in path.name.split(".")[0].split("-"))
        with path.open("ab") as file:
            file.write(_points_on_things(scene, cloud * SWEEP_US).astype("<f4").tobytes())
    return root


def _points_on_things(scene: int, time_us: int) -> np.ndarray:
    rows = []
    for number, thing in enumerate(THINGS):
        width, length, height = thing.size
        local = LOCAL.numpy() * (length, width, height)
        cos, sin = np.cos(thing.yaw), np.sin(thing.yaw)
        world = place_of(thing, time_us) + local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        pose = np.linalg.inv(global_from_lidar(scene, time_us))
        seen = world @ pose[:3, :3].T + pose[:3, 3]
        rows.append(np.hstack((seen, np.full((len(seen), 1), 1000.0 + number), np.zeros((len(seen), 1)))))
    return np.vstack(rows)
