"""What an exported file says of itself: how it is called, what its state is, and which model it was made of."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from remembev.config import Config, config_from_yaml, config_to_yaml
from remembev.errors import ExportError
from remembev.export.step import StreamingStep

KEY = "remembev"
"""Key of the description among a file's metadata."""
VERSION = 1
"""Of inputs, outputs and description; a file of another one is not run."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output; dtypes have numpy's names."""

    name: str
    shape: list[int]
    dtype: str


@dataclass(frozen=True)
class StateInfo:
    """A tensor of the state: what it is before a first frame, and where it goes in and comes out."""

    name: str
    shape: list[int]
    dtype: str
    initial: Any
    """A number, or nested lists of the tensor's shape; infinity is the text ``inf``."""


@dataclass(frozen=True)
class Interface:
    """The description of an exported file: JSON under ``remembev`` in its metadata."""

    version: int
    max_points: int
    device: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    state: list[StateInfo]
    classes: list[str]
    weights: str
    config: str

    @classmethod
    def of(cls, step: StreamingStep, example: tuple[Tensor, ...], outputs: list[Tensor], weights: str) -> Interface:
        """The description of a step with such inputs and outputs (which may be fake), of a model with these weights."""
        cfg = step.model.cfg
        return cls(
            version=VERSION,
            max_points=example[0].shape[1],
            device=example[0].device.type,
            inputs=[_info(name, tensor) for name, tensor in zip(step.input_names, example, strict=True)],
            outputs=[_info(name, tensor) for name, tensor in zip(step.output_names, outputs, strict=True)],
            state=[
                StateInfo(**asdict(_info(name, tensor)), initial=_plain(tensor)) for name, tensor in step.state.items()
            ],
            classes=list(cfg.CLASS_NAMES),
            weights=weights,
            config=config_to_yaml(cfg),
        )

    @classmethod
    def from_json(cls, text: str | None, *, name: str) -> Interface:
        """The description that ``to_json`` wrote. Raises ExportError, naming the file, for anything else."""
        if text is None:
            raise ExportError(f"{name}: not exported by RememBEV: its metadata have no {KEY!r}")
        found = json.loads(text)
        if found.get("version") != VERSION:
            raise ExportError(
                f"{name}: of version {found.get('version')} of the exported step, this is version {VERSION}: "
                "export the checkpoint again"
            )
        for key, kind in (("inputs", TensorInfo), ("outputs", TensorInfo), ("state", StateInfo)):
            found[key] = [kind(**entry) for entry in found[key]]
        return cls(**found)

    def to_json(self) -> str:
        """The description as text."""
        return json.dumps(asdict(self))

    def read_config(self, name: str) -> Config:
        """The configuration of the model; ``name`` stands in errors."""
        return config_from_yaml(self.config, name=name)


def _info(name: str, tensor: Tensor) -> TensorInfo:
    return TensorInfo(name, list(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _plain(tensor: Tensor) -> Any:
    """A number if all elements are equal to it, else nested lists."""
    first = tensor.flatten()[0].item()
    if not torch.all(tensor == first):
        return tensor.tolist()
    return "inf" if first == math.inf else first
