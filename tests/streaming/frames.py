"""Frames and models that the tests of the stream share."""

from __future__ import annotations

import math

import torch
from tests.conftest import SMALL, awaken
from torch import Tensor

from remembev import Detections, StreamingDetector, build_model, load_config
from remembev.models import TemporalPointPillar

FINDS_BOXES = [
    "MODEL.POST_PROCESSING.SCORE_THRESH=0.0098",
    "MODEL.POST_PROCESSING.NMS_CONFIG={NMS_PRE_MAXSIZE: 20, NMS_POST_MAXSIZE: 5}",
]
"""Overrides with which an untrained model finds boxes, but so few that suppressing the others takes no time."""

MEMORIES = {
    "xmem": [
        "DATA_CONFIG.AGENT_SLOTS=3",
        "MODEL.MEMORY.AGENTS.MIN_SCORE=0.0",
        "MODEL.MEMORY.OBJECTS={MAX_OBJECTS: 8, MIN_SCORE: 0}",
    ],
    "findings": ["MODEL.MEMORY.WRITE=findings", "MODEL.MEMORY.READ={DISTANCE: 5 m, NOTHING: true}"],
    "gru": ["MODEL.MEMORY.NAME=ConvGRUBEVModule"],
    "none": ["MODEL.MEMORY.FUSION=none"],
}
"""Overrides for one memory of each kind; xmem with agents, and with the long-term memory that all small models have."""


def listening_model(*overrides: str) -> TemporalPointPillar:
    """An untrained model with a low threshold that finds boxes, which depend on its memory."""
    torch.manual_seed(0)
    return awaken(build_model(load_config("tiny", [*SMALL, *FINDS_BOXES, *overrides])))


def cloud(seed: int) -> Tensor:
    """2,000 points [N, 4] around the car."""
    generator = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(2000, 3, generator=generator) - 0.5) * torch.tensor([80.0, 80.0, 3.0])
    return torch.cat((xyz, torch.rand(2000, 1, generator=generator) * 100), dim=1)


def pose(frame: int, *, forward: float = 0.0, turn: float = 0.0) -> Tensor:
    """Pose of a car at 6 m/s in a gentle bend, moved by ``forward`` and ``turn``."""
    yaw = 0.05 * frame + turn
    made = torch.eye(4, dtype=torch.float64)
    made[:2, :2] = torch.tensor([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    made[:2, 3] = torch.tensor([1500.0 + 3.0 * frame + forward, 700.0])
    return made


def run(detector: StreamingDetector, scene: str, frames: int, *, first: int = 0, offset: int = 0) -> list[Detections]:
    """Stream frames of a scene at 2 Hz, from the ``first`` on."""
    numbers = range(first, first + frames)
    return [detector.step(cloud(offset + i), pose(i), 0.5 * i, scene) for i in numbers]


def state_of(detector: StreamingDetector) -> dict[str, dict[str, Tensor]]:
    """Every tensor of every scene's state, in the order in which scenes are forgotten."""
    return {scene: detector.state(scene).named() for scene in detector.scenes}


def assert_same(first: Detections, second: Detections) -> None:
    """Detections are equal bit for bit."""
    assert torch.equal(first.boxes, second.boxes)
    assert torch.equal(first.scores, second.scores)
    assert torch.equal(first.labels, second.labels)


def assert_same_state(first: dict[str, dict[str, Tensor]], second: dict[str, dict[str, Tensor]]) -> None:
    """States are equal bit for bit, and scenes in the same order."""
    assert list(first) == list(second)
    for scene, tensors in first.items():
        assert list(tensors) == list(second[scene])
        for name, tensor in tensors.items():
            assert tensor.dtype == second[scene][name].dtype, name
            assert torch.equal(tensor, second[scene][name]), name
