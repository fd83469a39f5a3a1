"""Description of an exported file: inputs, outputs, state, and the model it was made from."""

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
"""Version of inputs, outputs and description; a file of another version isn't run."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output; dtypes have numpy's names."""

    name: str
    shape: list[int]
    dtype: str


@dataclass(frozen=True)
class StateInfo:
    """A tensor of the state, ``state.NAME`` among the inputs and ``next.NAME`` among the outputs."""

    name: str
    shape: list[int]
    dtype: str
    initial: Any
    """Value before a first frame: a number, or nested lists of the tensor's shape; infinity is ``"inf"``."""


@dataclass(frozen=True)
class Interface:
    """Description of an exported file, stored as JSON under ``remembev`` in its metadata."""

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
        """Describe a step.

        Args:
            step: The step.
            example: Example inputs.
            outputs: Their outputs, which may be fake tensors.
            weights: Digest of the model's weights.
        """
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
        """Parse the description of a file.

        Args:
            text: The metadata, None if the file has none.
            name: Name of the file, for errors.

        Raises:
            ExportError: No description, or another version.
        """
        if text is None:
            raise ExportError(f"{name}: not exported by RememBEV: no {KEY!r} in its metadata")
        values = json.loads(text)
        if values.get("version") != VERSION:
            raise ExportError(
                f"{name}: exported step has version {values.get('version')}, this release reads {VERSION}: "
                "export the checkpoint again"
            )
        for key, kind in (("inputs", TensorInfo), ("outputs", TensorInfo), ("state", StateInfo)):
            values[key] = [kind(**entry) for entry in values[key]]
        return cls(**values)

    def to_json(self) -> str:
        """Return the description as JSON."""
        return json.dumps(asdict(self))

    def read_config(self, name: str) -> Config:
        """Return the model's configuration; ``name`` is the file's, for errors."""
        return config_from_yaml(self.config, name=name)


def _info(name: str, tensor: Tensor) -> TensorInfo:
    return TensorInfo(name, list(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _plain(tensor: Tensor) -> Any:
    """Return a number if all elements are equal, else nested lists."""
    first = tensor.flatten()[0].item()
    if not torch.all(tensor == first):
        return tensor.tolist()
    return "inf" if first == math.inf else first
