"""Kernels, one signature each: in PyTorch, with Triton twins in ``triton/`` and plain twins in ``reference.py``."""

from remembev.ops.memory_read import read_memory, similarity
from remembev.ops.nms import nms_bev, pick_best_first
from remembev.ops.pillars import encode_pillars
from remembev.ops.rank import argmax_in_group, rank_in_group
from remembev.ops.scatter import scatter_pillars
from remembev.ops.stages import StageObserver, StageTimer, stage
from remembev.ops.visibility import VISIBILITY_CHANNELS, ray_visibility
from remembev.ops.voxelise import PillarAssignment, Pillars, assign_pillars, voxelise

__all__ = [
    "VISIBILITY_CHANNELS",
    "PillarAssignment",
    "Pillars",
    "StageObserver",
    "StageTimer",
    "argmax_in_group",
    "assign_pillars",
    "encode_pillars",
    "nms_bev",
    "pick_best_first",
    "rank_in_group",
    "ray_visibility",
    "read_memory",
    "scatter_pillars",
    "similarity",
    "stage",
    "voxelise",
]
