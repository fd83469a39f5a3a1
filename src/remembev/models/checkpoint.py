"""Weights on disk: one safetensors file with the configuration in its header, so that a file is all it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from remembev.config import config_from_yaml, config_to_yaml
from remembev.errors import CheckpointError
from remembev.files import read_tensors, replacing
from remembev.models.temporal import TemporalPointPillar, build_model

_CONFIG = "remembev_config"


def save_checkpoint(path: str | Path, model: TemporalPointPillar) -> None:
    """Write the weights of a model and its configuration; a file that is there is replaced whole."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(Path(path)) as temporary:
        save_file(weights, temporary, metadata={_CONFIG: config_to_yaml(model.cfg)})


def load_checkpoint(path: str | Path) -> TemporalPointPillar:
    """The model of a checkpoint, in eval mode on the CPU.

    Raises CheckpointError naming the file, and the weights that are missing, left over or of another shape.
    """
    weights, config = _read(Path(path))
    model = build_model(config_from_yaml(config, name=str(path)))
    load_weights(model, weights, name=str(path))
    return model.eval()


def start_from(model: nn.Module, path: str | Path) -> None:
    """Put those weights of a checkpoint into ``model`` that it has by name; its other weights stay as they are.

    Raises CheckpointError, with nothing changed, naming the weights of another shape, or if there are none in common.
    """
    weights, _ = _read(Path(path))
    own = model.state_dict()
    shared = {key: weight for key, weight in weights.items() if key in own}
    if not shared:
        raise CheckpointError(f"{path}: has no weight of the model's")
    load_weights(model, {**own, **shared}, name=str(path))


def load_weights(model: nn.Module, weights: dict[str, Tensor], *, name: str) -> None:
    """Put ``weights`` into ``model``: all of them, and all that it has, or CheckpointError and nothing changed."""
    check_fit(weights, model.state_dict(), name=name)
    with torch.no_grad():
        model.load_state_dict(weights)


def check_fit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, name: str) -> None:
    """Raise CheckpointError, with the names, if weights are missing, left over or of another shape than expected."""
    problems = [f"{key} is missing" for key in expected.keys() - weights.keys()]
    problems += [f"{key} has no place in the model" for key in weights.keys() - expected.keys()]
    problems += [
        f"{key} is {list(weights[key].shape)}, the model wants {list(expected[key].shape)}"
        for key in expected.keys() & weights.keys()
        if weights[key].shape != expected[key].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise CheckpointError(f"{name}: does not fit the model: {shown}")


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights in a checkpoint, and the configuration as YAML."""
    weights, metadata = read_tensors(path, "checkpoint", CheckpointError)
    if _CONFIG not in metadata:
        raise CheckpointError(f"{path}: holds weights but no configuration: not written by RememBEV")
    return weights, metadata[_CONFIG]
