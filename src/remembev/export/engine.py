"""Engine of a stream that runs an exported program."""

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
    """An exported step: inputs to outputs, each in the order of the interface."""

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run the step; later runs don't change its outputs."""


class ExportedEngine:
    """``remembev.streaming.Engine`` that runs an exported step."""

    def __init__(self, program: Program, interface: Interface, *, name: str) -> None:
        """Create an engine.

        Args:
            program: The exported step.
            interface: Its description.
            name: Name of the file, for errors.

        Raises:
            ExportError: A state that doesn't match the configuration.
        """
        self.program, self.interface = program, interface
        self.device, self.weights = torch.device(interface.device), interface.weights
        self.cfg: Config = interface.read_config(name)
        self._empty = _initial_state(self.cfg)
        self._points = torch.zeros(1, interface.max_points, 5, device=self.device)
        self._state = [entry.name for entry in interface.state]
        self._check_state(name)

    def initial_state(self) -> TensorStruct:
        """Return the memory before a first frame."""
        return self._empty.map(lambda tensor: tensor.to(self.device))

    def step(self, points: Tensor, prev_from_frame: Tensor, timestamp: Tensor, memory: TensorStruct) -> StepOutput:
        """Run one frame of one scene; see ``Engine``.

        Raises:
            StreamError: More points than the step was exported for.
        """
        count = len(points)
        if count > self.interface.max_points:
            raise StreamError(
                f"{count} points in range, but the file was exported for at most {self.interface.max_points}: "
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
        named = dict(zip((entry.name for entry in self.interface.outputs), outputs, strict=True))
        next_state = {name: named[f"next.{name}"] for name in self._state}
        if "timestamp" in state:
            next_state["timestamp"] = timestamp.to(state["timestamp"].device)
        occupancy, gate = (named[name].cpu() if name in named else None for name in MAPS)
        return StepOutput(_detections(named), occupancy, gate, memory.with_named(next_state))

    def _check_state(self, name: str) -> None:
        own = {key: tensor for key, tensor in self._empty.named().items() if key != "timestamp"}
        exported = {entry.name: (entry.shape, entry.dtype) for entry in self.interface.state}
        if exported != {key: (list(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in own.items()}:
            raise ExportError(f"{name}: its state differs from this version's: export the checkpoint again")


def _initial_state(cfg: Config) -> TensorStruct:
    """Return the initial state of a configuration's memory."""
    channels = cfg.MODEL.BACKBONE_2D.num_bev_features
    memory = build_memory(cfg.MODEL.MEMORY, channels, cfg.feature_grid, cfg.DATA_CONFIG.AGENT_SLOTS)
    state: TensorStruct = memory.initial_state(1)
    return state


def _elapsed(timestamp: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Return the seconds [1] since the frame before, 0 in a first one; computed in float64, returned in float32."""
    before = state.get("timestamp", timestamp).cpu()
    return torch.where(before.isnan(), 0.0, timestamp - before).float()


def _detections(outputs: dict[str, Tensor]) -> Detections:
    """Copy the real boxes to the CPU."""
    count = int(outputs["num_boxes"])
    boxes, scores, labels = (outputs[name][:count].to("cpu", copy=True) for name in ("boxes", "scores", "labels"))
    return Detections(boxes, scores, labels)
