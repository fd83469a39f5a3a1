"""A small model of few parts, its exported files, and a stream in which everything happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tests.conftest import SMALL, awaken
from tests.streaming.frames import cloud, pose
from torch import Tensor

from remembev import Detections, StreamingDetector, build_model, load_config
from remembev.models import TemporalPointPillar
from remembev.streaming import StreamDetections

_ANCHORS = (
    "{anchor_rotations: [0, 1.57], anchor_bottom_heights: [-0.9], matched_threshold: 0.5, unmatched_threshold: 0.4"
)
SMALLEST = [
    *SMALL,
    "CLASS_NAMES=[car, pedestrian]",
    "MODEL.DENSE_HEAD.RPN_HEAD_CFGS=[{HEAD_CLS_NAME: [car, pedestrian]}]",
    "MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG=["
    f"{_ANCHORS}, class_name: car, anchor_sizes: [[4.6, 2.0, 1.7]]}}, "
    f"{_ANCHORS}, class_name: pedestrian, anchor_sizes: [[0.7, 0.7, 1.8]]}}]",
    "MODEL.BACKBONE_2D={LAYER_NUMS: [1], LAYER_STRIDES: [2], NUM_FILTERS: [8], UPSAMPLE_STRIDES: [1], "
    "NUM_UPSAMPLE_FILTERS: [8]}",
    "MODEL.POST_PROCESSING={SCORE_THRESH: 0.5, NMS_CONFIG: {NMS_PRE_MAXSIZE: 50, NMS_POST_MAXSIZE: 8}}",
]
MEMORIES = {
    "agents": [
        "DATA_CONFIG.AGENT_SLOTS=3",
        "MODEL.MEMORY.AGENTS.MIN_SCORE=0.6",
        "MODEL.MEMORY.READ={DISTANCE: 5 m, AGE: 2 s}",
        "MODEL.MEMORY.SENSORY=difference",
        "MODEL.MEMORY.OBJECTS={MAX_OBJECTS: 8}",
    ],
    "findings": [
        "MODEL.MEMORY.WRITE=findings",
        "MODEL.MEMORY.READ={DISTANCE: 5 m, NOTHING: true}",
        "MODEL.MEMORY.OBJECTS={MAX_OBJECTS: 8}",
    ],
    "gate": ["MODEL.MEMORY.FUSION=gate", "MODEL.MEMORY.SENSORY=recurrent"],
    "gru": ["MODEL.MEMORY.NAME=ConvGRUBEVModule"],
    "none": ["MODEL.MEMORY.FUSION=none", "MODEL.VFE.NAME=PillarVFE"],
}


def drawn_model(memory: str) -> TemporalPointPillar:
    """A model whose scores differ, so that rounding does not decide which boxes are best, and that its memory moves."""
    torch.manual_seed(0)
    model = awaken(build_model(load_config("tiny", [*SMALLEST, *MEMORIES[memory]])).eval(), std=0.2)
    for head in model.dense_head.heads:
        torch.nn.init.normal_(head.conv_cls[-1].weight, std=0.5)
        torch.nn.init.zeros_(head.conv_cls[-1].bias)
    return model


@dataclass(frozen=True)
class Given:
    """A frame as it is given to a stream."""

    points: Tensor
    pose: Tensor
    timestamp: float
    scene_token: str


def forty_frames() -> Iterator[Given]:
    """Two scenes: the first loses frames for 2 s and has an empty one, and is gone on with while the second runs."""
    start = 1.6e9  # seconds since 1970, of which float32 knows minutes
    for i in range(40):
        scene = "b" if i in range(26, 36) else "a"
        late = 2.0 if i >= 12 else 0.0
        points = torch.zeros(0, 4) if i == 17 else cloud(i)
        yield Given(points, pose(i), start + 0.25 * i + late, scene)


def run(detector: StreamingDetector) -> list[StreamDetections]:
    """What is found on each of the forty frames."""
    return [detector.step(one.points, one.pose, one.timestamp, one.scene_token) for one in forty_frames()]


def assert_same_boxes(found: Detections, expected: Detections, tolerance: float = 1e-4) -> None:
    """The same boxes to the rounding of float32; those of equal scores in any order."""
    assert len(found) == len(expected)
    if not len(found):
        return
    apart = torch.cdist(_rows(expected), _rows(found), p=torch.inf)
    distance, match = apart.min(dim=1)
    assert torch.equal(match.sort().values, torch.arange(len(found)))
    assert distance.max() < tolerance


def _rows(found: Detections) -> Tensor:
    """Boxes with their headings as directions, scores and labels: [K, 12]."""
    boxes, yaw = found.boxes.double(), found.boxes[:, 6:7].double()
    return torch.cat(
        (boxes[:, :6], yaw.cos(), yaw.sin(), boxes[:, 7:], found.scores[:, None], 10.0 * found.labels[:, None]), dim=1
    )
