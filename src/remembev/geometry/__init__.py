"""Geometry: boxes, poses, the BEV grid, overlap of rotated boxes.

Conventions: right-handed LiDAR frame, metres, radians. Boxes are (x, y, z, l, w, h, yaw, vx, vy): the centre, l along
the heading, yaw counter-clockwise from +x.
"""

from typing import TYPE_CHECKING

from remembev.deprecation import former_names
from remembev.geometry.boxes import (
    bev_corners,
    box_corners,
    nearest_aligned_bev,
    points_in_boxes,
    transform_boxes,
    widen_boxes,
    wrap_angle,
)
from remembev.geometry.grid import BEVGrid, rasterise_boxes
from remembev.geometry.overlap import iou_aligned, iou_bev, pairwise_iou_bev
from remembev.geometry.poses import invert_pose, make_pose, relative_pose, transform_points, turn_vectors

__all__ = [
    "BEVGrid",
    "bev_corners",
    "box_corners",
    "invert_pose",
    "iou_aligned",
    "iou_bev",
    "make_pose",
    "nearest_aligned_bev",
    "pairwise_iou_bev",
    "points_in_boxes",
    "rasterise_boxes",
    "relative_pose",
    "transform_boxes",
    "transform_points",
    "turn_vectors",
    "widen_boxes",
    "wrap_angle",
]

if not TYPE_CHECKING:
    __getattr__ = former_names(
        __name__,
        {
            "nms_bev": "remembev.ops.nms_bev",
            "pick_best_first": "remembev.ops.pick_best_first",
        },
    )
