"""Import of OpenPCDet's weights of a multi-head PointPillars.

Weights have the same names in both, except in the backbone's blocks, which OpenPCDet starts with a padding layer.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from zipfile import BadZipFile

import torch
from torch import Tensor

from remembev.config import Config
from remembev.errors import CheckpointError
from remembev.models.checkpoint import check_fit, load_weights
from remembev.models.temporal import TemporalPointPillar, build_model

_MEMORY = "memory."
_STEPS = "global_step"
_LABELS, _CHANNELS = "head_label_indices", "box_channels"


def import_openpcdet(path: str | Path, cfg: Config) -> TemporalPointPillar:
    """Return a detector with OpenPCDet's weights and a new memory that changes nothing yet, in eval mode.

    The memory's weights are drawn with a fixed seed.

    Raises:
        CheckpointError: A file that can't be read, or weights that don't fit, by name.
    """
    published = read_openpcdet(Path(path))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = build_model(cfg)
    load_openpcdet(model, published, name=str(path))
    return model.eval()


def load_openpcdet(model: TemporalPointPillar, published: dict[str, Tensor], *, name: str) -> None:
    """Load OpenPCDet's weights into the detector of ``model``; its memory is unchanged.

    The step counter is dropped, the heads' labels have to match the configuration, and the channels of the box code
    are read in OpenPCDet's order.

    Raises:
        CheckpointError: Weights that don't fit; the model is unchanged.
    """
    expected = published_layout(model)
    check_fit(published, expected, name=name)
    for key in expected:
        if key.endswith(_LABELS) and not torch.equal(published[key], expected[key]):
            raise CheckpointError(
                f"{name}: {key} is {published[key].tolist()}, by CLASS_NAMES it is {expected[key].tolist()}"
            )
    weights = model.state_dict()
    for key, own in weights.items():
        if key.endswith(_CHANNELS):
            weights[key] = torch.arange(len(own))
        elif not key.startswith(_MEMORY):
            weights[key] = published[openpcdet_name(key)]
    load_weights(model, weights, name=name)


def published_layout(model: TemporalPointPillar) -> dict[str, Tensor]:
    """Return tensors of the shapes that OpenPCDet saves for such a detector, by its names; labels have values."""
    layout = {openpcdet_name(key): own for key, own in model.state_dict().items() if not key.startswith(_MEMORY)}
    for number, head in enumerate(model.dense_head.heads):
        layout[f"dense_head.rpn_heads.{number}.{_LABELS}"] = head.class_ids + 1
    return {**layout, _STEPS: torch.zeros(1, dtype=torch.int64)}


def openpcdet_name(key: str) -> str:
    """Return OpenPCDet's name of a weight; a head's channel order is replaced by its labels."""
    shifted = re.sub(r"^(backbone_2d\.blocks\.\d+\.)(\d+)", lambda match: f"{match[1]}{int(match[2]) + 1}", key)
    return shifted.replace(_CHANNELS, _LABELS)


def read_openpcdet(path: Path) -> dict[str, Tensor]:
    """Read the weights (``model_state``) of an OpenPCDet checkpoint without running code in it.

    Raises:
        CheckpointError: A file that is missing, broken, without weights, or with other objects than tensors and
            numbers.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise CheckpointError(
                f"{path}: contains {refused[1]}; only tensors, numbers and strings are loaded: "
                "save its model_state alone"
            ) from error
        raise CheckpointError(f"{path}: not a PyTorch checkpoint, or truncated") from error
    state = saved.get("model_state") if isinstance(saved, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: no key model_state: not an OpenPCDet training checkpoint")
    others = [str(key) for key, weight in state.items() if not isinstance(weight, Tensor)]
    if others:
        raise CheckpointError(f"{path}: model_state[{others[0]}] is not a tensor")
    return state
