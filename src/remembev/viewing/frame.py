"""What is to be seen of a frame, whatever it is shown with: ``bev.py`` draws it, ``recording.py`` hands it to rerun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from remembev.geometry import BEVGrid
from remembev.memory import TracedRead
from remembev.models import Detections
from remembev.viewing.tracking import Track


@dataclass(frozen=True)
class MemoryView:
    """What the cells of a frame read from the memory, and from where."""

    grid: BEVGrid  # of the cells, in the order of the read's queries
    read: TracedRead  # of one scene: B = 1
    long_term: int  # so many of the read's tokens, the first, are the long-term memory; the others are the working one


@dataclass(frozen=True)
class FrameView:
    """What is to be seen of a frame, all in its LiDAR frame; None is not shown.

    grid                area to show, and the area that ``gate`` and ``occupancy`` cover
    seconds             time since the start of the scene
    points              [N, ≥3]
    gt_boxes, gt_labels, gt_num_points   [M, 9], [M], [M]; the label -1 pads
    detections          boxes, scores and labels, and which are observed
    gate, occupancy     [H, W], [H_m, W_m] in 0..1
    global_from_lidar   [4, 4] float64
    tracks              of the objects that are detected in this frame
    memory              what was read from it
    """

    grid: BEVGrid
    class_names: Sequence[str]
    title: str = ""
    seconds: float | None = None
    points: Tensor | None = None
    gt_boxes: Tensor | None = None
    gt_labels: Tensor | None = None
    gt_num_points: Tensor | None = None
    detections: Detections | None = None
    gate: Tensor | None = None
    occupancy: Tensor | None = None
    global_from_lidar: Tensor | None = None
    tracks: Sequence[Track] = ()
    memory: MemoryView | None = None
