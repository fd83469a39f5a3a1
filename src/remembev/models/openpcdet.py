"""OpenPCDet's weights: the tensors of its multi-head PointPillars by their names, in a model of ours.

Names are the same but for the backbone's blocks, each of which OpenPCDet begins with a layer for the padding.
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
    """The detector whose weights OpenPCDet saved at ``path``, with a memory that changes nothing yet, in eval mode.

    What the memory is made of is drawn with a fixed seed. Raises CheckpointError naming what is wrong with the file, or
    the weights that are missing, left over or misshapen.
    """
    published = read_openpcdet(Path(path))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = build_model(cfg)
    load_openpcdet(model, published, name=str(path))
    return model.eval()


def load_openpcdet(model: TemporalPointPillar, published: dict[str, Tensor], *, name: str) -> None:
    """Put OpenPCDet's weights into the detector of ``model``; its memory stays as it is.

    The counter of steps is left out, the heads' labels have to be those of the configuration, and channels of the box
    code are read in OpenPCDet's order. Raises CheckpointError, with nothing changed, if there is any other weight.
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
    """What OpenPCDet saves of such a detector: by its names, tensors of the right shapes, and the labels themselves."""
    layout = {openpcdet_name(key): own for key, own in model.state_dict().items() if not key.startswith(_MEMORY)}
    for number, head in enumerate(model.dense_head.heads):
        layout[f"dense_head.rpn_heads.{number}.{_LABELS}"] = head.class_ids + 1
    return {**layout, _STEPS: torch.zeros(1, dtype=torch.int64)}


def openpcdet_name(key: str) -> str:
    """OpenPCDet's name of one of the detector's weights; a head's labels stand in for the order of its channels."""
    shifted = re.sub(r"^(backbone_2d\.blocks\.\d+\.)(\d+)", lambda found: f"{found[1]}{int(found[2]) + 1}", key)
    return shifted.replace(_CHANNELS, _LABELS)


def read_openpcdet(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of OpenPCDet's (``model_state``), read without running anything that it holds.

    Raises CheckpointError if it is not there, is broken, holds other objects than tensors and numbers, or no weights.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise CheckpointError(
                f"{path}: holds {refused[1]}, and only tensors, numbers and text are read: save its model_state alone"
            ) from error
        raise CheckpointError(f"{path}: not a checkpoint of PyTorch's, or not all of it") from error
    state = saved.get("model_state") if isinstance(saved, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds no model_state: not saved by OpenPCDet's training")
    strange = [str(key) for key, weight in state.items() if not isinstance(weight, Tensor)]
    if strange:
        raise CheckpointError(f"{path}: {strange[0]} of its model_state is no tensor")
    return state
