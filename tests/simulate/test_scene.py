from __future__ import annotations

import numpy as np
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from remembev.simulate.scene import count_points


def test_point_counts_in_boxes_equal_the_devkits() -> None:
    rng = np.random.default_rng(4)
    points = rng.uniform(-12, 12, (4000, 5)).astype(np.float32)
    boxes = np.column_stack([rng.uniform(-9, 9, (20, 3)), rng.uniform(1, 8, (20, 3)), rng.uniform(-4, 4, 20)])
    counts = count_points(points, np.eye(4), boxes)
    for count, (x, y, z, length, w, h, yaw) in zip(counts, boxes, strict=True):
        box = Box([x, y, z], [w, length, h], Quaternion(axis=[0, 0, 1], radians=yaw))
        assert count == points_in_box(box, points[:, :3].T.astype(np.float64)).sum()
