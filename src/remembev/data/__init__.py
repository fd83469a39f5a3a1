"""Clips of a nuScenes-format data set: index, frames, masks, augmentation and batches.

Only building the index needs the nuScenes devkit. Real and simulated data are treated alike.
"""

from remembev.data.collate import Clip, collate_seq
from remembev.data.dataset import NuScenesSeqDataset
from remembev.data.frame import Frame, Sweep
from remembev.data.index import SLACK_SECONDS, NuScenesIndex
from remembev.data.loader import build_seq_loader
from remembev.data.sampler import ClipSampler, mixed_seed

__all__ = [
    "SLACK_SECONDS",
    "Clip",
    "ClipSampler",
    "Frame",
    "NuScenesIndex",
    "NuScenesSeqDataset",
    "Sweep",
    "build_seq_loader",
    "collate_seq",
    "mixed_seed",
]
