"""A scene's state on disk: one safetensors file, with the configuration it was made with in its header."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from remembev.errors import StreamError
from remembev.files import atomic_write, read_tensors
from remembev.streaming.engine import Engine
from remembev.streaming.state import StreamState

_SCENE, _MADE_WITH = "remembev_scene", "remembev_made_with"
_TRACKS = "tracker."
"""Prefix of the names of a tracker's tensors, which have a row for each track."""
_NOT_IN_A_STATE = {"MAX_SCENES", "TEACHER_FORCING", "GATE_BIAS", "OCC_LOSS"}
"""Keys of MEMORY that a state doesn't depend on: only training or the number of scenes does."""

_FORMER = {"MODEL.MEMORY.WRITE": "occupancy", "MODEL.MEMORY.READ.NOTHING": False}
"""Values of keys that states saved by former versions lack."""


def save_state(path: Path, state: StreamState, scene_token: str, engine: Engine) -> None:
    """Write a scene's state; replaces a file atomically."""
    tensors = {
        name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.named().items()
    }
    metadata = {_SCENE: scene_token, _MADE_WITH: json.dumps(_made_with(engine))}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_state(path: Path, like: StreamState, engine: Engine) -> tuple[str, StreamState]:
    """Return the scene token and state in a file, on the devices of ``like``, a state of the same model.

    Raises:
        StreamError: Naming the file, and the keys and tensors that differ from the model's.
    """
    tensors, metadata = read_tensors(path, "saved state", StreamError)
    if _MADE_WITH not in metadata:
        raise StreamError(f"{path}: not a saved stream state")
    if not any(name.startswith(_TRACKS) for name in tensors):
        like = replace(like, tracker=None)
    elif like.tracker is None:
        raise StreamError(f"{path}: a tracked stream goes on with a tracker only: pass --track, or tracker=True")
    made_with = {**_FORMER, **json.loads(metadata[_MADE_WITH])}
    problems = _differences(made_with, _made_with(engine)) or _misfits(tensors, like.named())
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise StreamError(f"{path}: does not fit the model: {shown}")
    placed = {name: tensors[name].to(tensor.device) for name, tensor in like.named().items()}
    return metadata[_SCENE], like.with_named(placed)


def _made_with(engine: Engine) -> dict[str, Any]:
    """Return what a state depends on: keys of the configuration by full name, and a digest of the weights."""
    data = engine.cfg.DATA_CONFIG
    memory = engine.cfg.MODEL.MEMORY.model_dump(mode="json", exclude=_NOT_IN_A_STATE)
    return {
        **_flat("MODEL.MEMORY", memory),
        "DATA_CONFIG.AGENT_SLOTS": data.AGENT_SLOTS,
        "DATA_CONFIG.POINT_CLOUD_RANGE": list(data.POINT_CLOUD_RANGE),
        "DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE": list(data.DATA_PROCESSOR.VOXEL_SIZE),
        "the sha256 of its weights": engine.weights,
    }


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in _flat(f"{name}.{part}", inner).items()}


def _differences(saved: dict[str, Any], own: dict[str, Any]) -> list[str]:
    names = dict.fromkeys([*own, *saved])
    return [
        f"{name} is {saved.get(name)} in the file, {own.get(name)} here"
        for name in names
        if saved.get(name) != own.get(name)
    ]


def _misfits(saved: dict[str, Tensor], own: dict[str, Tensor]) -> list[str]:
    return [
        f"{name} is {_kind(name, saved.get(name))} in the file, {_kind(name, own.get(name))} here"
        for name in dict.fromkeys([*own, *saved])
        if _kind(name, saved.get(name)) != _kind(name, own.get(name))
    ]


def _kind(name: str, tensor: Tensor | None) -> str:
    if tensor is None:
        return "missing"
    shape = ["tracks", *tensor.shape[1:]] if name.startswith(f"{_TRACKS}tracks.") else list(tensor.shape)
    return f"[{', '.join(map(str, shape))}] {str(tensor.dtype).removeprefix('torch.')}"
