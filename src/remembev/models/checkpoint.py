"""Checkpoints: one safetensors file with the weights, and the configuration in its header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from remembev.config import config_from_yaml, config_to_yaml
from remembev.errors import CheckpointError
from remembev.files import atomic_write, read_tensors
from remembev.models.temporal import TemporalPointPillar, build_model

SHIPPED = Path(__file__).parents[1] / "weights"
"""Folder of the checkpoints that come with the package."""

_CONFIG = "remembev_config"


def shipped_weights() -> list[str]:
    """Return the names of the checkpoints in the package, which ``load_checkpoint`` takes in place of a path."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def find_checkpoint(source: str | Path) -> Path:
    """Return the path of a checkpoint, given a path or the name of shipped weights.

    Raises:
        CheckpointError: Neither a file nor a name of shipped weights.
    """
    if Path(source).is_file():
        return Path(source)
    if str(source) in shipped_weights():
        return SHIPPED / f"{source}.safetensors"
    raise CheckpointError(f"{source}: no such file, and no shipped weights ({', '.join(shipped_weights()) or 'none'})")


def save_checkpoint(path: str | Path, model: TemporalPointPillar, dtype: torch.dtype = torch.float32) -> None:
    """Write a model's weights and configuration, atomically.

    Args:
        path: File to write or replace.
        model: The model.
        dtype: Dtype of the parameters in the file, float16 for half the size; buffers keep theirs.
    """
    weights = {
        name: (tensor.to(dtype) if isinstance(tensor, nn.Parameter) else tensor).detach().cpu().contiguous()
        for name, tensor in model.state_dict(keep_vars=True).items()
    }
    with atomic_write(Path(path)) as temporary:
        save_file(weights, temporary, metadata={_CONFIG: config_to_yaml(model.cfg)})


def load_checkpoint(path: str | Path) -> TemporalPointPillar:
    """Return the model of a checkpoint, or of shipped weights by name, in eval mode on the CPU, in float32.

    Raises:
        CheckpointError: A file that can't be read, or weights that don't fit, by name.
    """
    weights, config = _read(path)
    model = build_model(config_from_yaml(config, name=str(path)))
    load_weights(model, weights, name=str(path))
    return model.eval()


def load_pretrained(model: nn.Module, path: str | Path) -> None:
    """Load the weights of a checkpoint that ``model`` has by name; its other weights are unchanged.

    Raises:
        CheckpointError: No weight in common, or weights of another shape; the model is unchanged.
    """
    weights, _ = _read(path)
    own = model.state_dict()
    shared = {key: weight for key, weight in weights.items() if key in own}
    if not shared:
        raise CheckpointError(f"{path}: shares no weights with the model")
    load_weights(model, {**own, **shared}, name=str(path))


def load_weights(model: nn.Module, weights: dict[str, Tensor], *, name: str) -> None:
    """Load all of a model's weights.

    Raises:
        CheckpointError: Weights that don't fit; the model is unchanged.
    """
    check_fit(weights, model.state_dict(), name=name)
    with torch.no_grad():
        model.load_state_dict(weights)


def check_fit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, name: str) -> None:
    """Raise CheckpointError if weights are missing, left over or of another shape than expected.

    Args:
        weights: Weights of the file.
        expected: Weights of the model.
        name: Name of the file, for the error.
    """
    problems = [f"{key} is missing" for key in expected.keys() - weights.keys()]
    problems += [f"{key} is not in the model" for key in weights.keys() - expected.keys()]
    problems += [
        f"{key} is {list(weights[key].shape)}, the model's is {list(expected[key].shape)}"
        for key in expected.keys() & weights.keys()
        if weights[key].shape != expected[key].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise CheckpointError(f"{name}: does not fit the model: {shown}")


def _read(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Read a checkpoint's weights, and its configuration as YAML."""
    weights, metadata = read_tensors(find_checkpoint(path), "checkpoint", CheckpointError)
    if _CONFIG not in metadata:
        raise CheckpointError(f"{path}: has no configuration: not a RememBEV checkpoint")
    return weights, metadata[_CONFIG]
