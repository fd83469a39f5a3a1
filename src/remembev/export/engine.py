"""An exported program as what a stream runs on."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from remembev.config import Config
from remembev.errors import ExportError, StreamError
from remembev.export.interface import Interface
from remembev.export.step import MAPS
from remembev.memory import build_memory
from remembev.models import Detections
from remembev.streaming import StepOutput
from remembev.structs import TensorStruct


class Program(Protocol):
    """The exported step: inputs in their order to outputs in theirs."""

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run the step; the outputs are the caller's to keep."""


class ExportedEngine:
    """An exported step, called as ``StreamingDetector`` calls a model; see ``remembev.streaming.Engine``."""

    def __init__(self, program: Program, interface: Interface, *, name: str) -> None:
        """Raises ExportError, naming the file, if its state is not that of its configuration."""
        self.program, self.interface = program, interface
        self.device, self.weights = torch.device(interface.device), interface.weights
        self.cfg: Config = interface.read_config(name)
        self._empty = _initial_state(self.cfg)
        self._points = torch.zeros(1, interface.max_points, 5, device=self.device)
        self._state = [entry.name for entry in interface.state]
        self._check(name)

    def initial_state(self) -> TensorStruct:
        """The memory before a first frame."""
        return self._empty.map(lambda tensor: tensor.to(self.device))

    def step(self, points: Tensor, prev_from_frame: Tensor, timestamp: Tensor, memory: TensorStruct) -> StepOutput:
        """One frame of one scene. Raises StreamError for more points than the file was exported for."""
        count = len(points)
        if count > self.interface.max_points:
            raise StreamError(
                f"{count} points in range, but the file was exported for {self.interface.max_points} at most: "
                f"export it with --max-points {count} or more"
            )
        self._points[0, :count] = points
        state = memory.named()
        frame = (
            self._points,
            torch.tensor([count], device=self.device),
            prev_from_frame.to(self.device),
            _elapsed(timestamp, state).to(self.device),
        )
        outputs = self.program([*frame, *(state[name] for name in self._state)])
        found = dict(zip((entry.name for entry in self.interface.outputs), outputs, strict=True))
        following = {name: found[f"next.{name}"] for name in self._state}
        if "timestamp" in state:
            following["timestamp"] = timestamp.to(state["timestamp"].device)
        occupancy, gate = (found[name].cpu() if name in found else None for name in MAPS)
        return StepOutput(_detections(found), occupancy, gate, memory.with_named(following))

    def _check(self, name: str) -> None:
        own = {key: tensor for key, tensor in self._empty.named().items() if key != "timestamp"}
        theirs = {entry.name: (entry.shape, entry.dtype) for entry in self.interface.state}
        if theirs != {key: (list(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in own.items()}:
            raise ExportError(f"{name}: its state is another one than this version's: export the checkpoint again")


def _initial_state(cfg: Config) -> TensorStruct:
    """The state of the memory that a configuration describes, before a first frame."""
    channels = cfg.MODEL.BACKBONE_2D.num_bev_features
    memory = build_memory(cfg.MODEL.MEMORY, channels, cfg.feature_grid, cfg.DATA_CONFIG.AGENT_SLOTS)
    state: TensorStruct = memory.initial_state(1)
    return state


def _elapsed(timestamp: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Seconds [1] float32 since the frame before, worked out in float64; 0 in a first frame."""
    before = state.get("timestamp", timestamp).cpu()
    return torch.where(before.isnan(), 0.0, timestamp - before).float()


def _detections(found: dict[str, Tensor]) -> Detections:
    """The real rows, on the CPU, as tensors of their own."""
    count = int(found["num_boxes"])
    boxes, scores, labels = (found[name][:count].to("cpu", copy=True) for name in ("boxes", "scores", "labels"))
    return Detections(boxes, scores, labels)
