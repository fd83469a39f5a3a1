"""Export of checkpoints, and detectors that run exported files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

from remembev.config import Config, StreamingConfig
from remembev.errors import ExportError
from remembev.export.aoti_file import AotiProgram, write_aoti
from remembev.export.cuda_graph import CUDAGraphProgram
from remembev.export.engine import ExportedEngine
from remembev.export.interface import Interface
from remembev.export.onnx_file import OnnxProgram, write_onnx
from remembev.export.step import StreamingStep
from remembev.files import atomic_write
from remembev.models import TemporalPointPillar, load_checkpoint
from remembev.streaming import StreamingDetector
from remembev.streaming.engine import digest
from remembev.tracking import Tracker

_SUFFIX = {"onnx": ".onnx", "aoti": ".pt2"}
_WRITE: dict[str, Callable[..., None]] = {"onnx": write_onnx, "aoti": write_aoti}
_PROGRAM: dict[str, Callable[[Path], OnnxProgram | AotiProgram]] = {".onnx": OnnxProgram, ".pt2": AotiProgram}
_POINTS_PER_SWEEP = 35_000
"""Upper bound for a LiDAR of 32 beams at 20 Hz (nuScenes: 34,720)."""


def export_checkpoint(
    checkpoint: Path,
    form: Literal["onnx", "aoti"],
    out: Path | None = None,
    *,
    max_points: int | None = None,
    device: str = "cpu",
) -> Path:
    """Export the streaming step of a checkpoint.

    Args:
        checkpoint: Path of the checkpoint.
        form: ``onnx``, run by ONNX Runtime on the CPU, or ``aoti``, an AOTInductor package for this kind of machine.
        out: File to write or replace; by default beside the checkpoint.
        max_points: Most points in range that a frame may have; by default 35,000 a sweep.
        device: Device that an AOTInductor package is compiled for.

    Returns:
        The path of the file.

    Raises:
        ExportError: A model or file that can't be exported.
        CheckpointError: A checkpoint that can't be read.
    """
    out = out or checkpoint.with_suffix(_SUFFIX[form])
    if out.suffix != _SUFFIX[form]:
        raise ExportError(f"{out}: a file of format {form} ends in {_SUFFIX[form]}")
    if form == "onnx" and device != "cpu":
        raise ExportError(f"{out}: ONNX files run on the CPU, not on {device}")
    model = load_checkpoint(checkpoint)
    weights = digest(model.state_dict())
    step = StreamingStep(model.to(device))
    example = step.example(max_points or _default_max_points(model.cfg))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # torch's own, about its pytree
        program = torch.export.export(step, example)
        interface = Interface.of(step, example, _outputs(program), weights)
        with atomic_write(out) as temporary:
            _WRITE[form](program, interface, temporary)
    return out


def load_exported(
    path: Path, *, streaming: StreamingConfig | None = None, tracker: Tracker | bool | None = None
) -> StreamingDetector:
    """Return a detector that runs an exported file.

    Args:
        path: The file.
        streaming: See ``StreamingDetector``.
        tracker: See ``StreamingDetector``.

    Raises:
        ExportError: A file that can't be run here.
    """
    if path.suffix not in _PROGRAM:
        raise ExportError(f"{path}: an exported file ends in .onnx or .pt2")
    if not path.is_file():
        raise ExportError(f"{path}: no such file")
    program = _PROGRAM[path.suffix](path)
    engine = ExportedEngine(program, program.interface, name=str(path))
    return StreamingDetector(engine, streaming=streaming, tracker=tracker)


def capture_step(
    model: TemporalPointPillar, dtype: torch.dtype = torch.float32, *, max_points: int | None = None
) -> StreamingDetector:
    """Return a detector on the GPU that replays the step of a model as one CUDA graph.

    Args:
        model: The model.
        dtype: Dtype of the convolutions of backbone and head.
        max_points: Most points in range that a frame may have; by default 35,000 a sweep.

    Raises:
        ExportError: A model that can't be captured, or no GPU.
    """
    if not torch.cuda.is_available():
        raise ExportError("a CUDA graph needs a GPU, and torch finds none")
    weights = digest(model.state_dict())
    step = StreamingStep(model.to("cuda"), dtype)
    example = step.example(max_points or _default_max_points(model.cfg))
    with torch.no_grad():
        interface = Interface.of(step, example, list(step(*example)), weights)
    program = CUDAGraphProgram(step, example)
    return StreamingDetector(ExportedEngine(program, interface, name="the captured step"))


def open_detector(
    path: Path,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    tracker: Tracker | bool | None = None,
) -> StreamingDetector:
    """Return a detector that runs a checkpoint, or an exported file by its suffix, .onnx or .pt2.

    Args:
        path: The file.
        device: Device of a checkpoint.
        dtype: Dtype of a checkpoint's backbone and head; exported files are float32.
        tracker: See ``StreamingDetector``.

    Raises:
        ExportError: An exported file that can't be run here, or another dtype for one.
    """
    if path.suffix not in _PROGRAM:
        return StreamingDetector.from_checkpoint(path, device, dtype=dtype, tracker=tracker)
    if dtype != torch.float32:
        raise ExportError(f"{path}: exported steps are float32, not {dtype}")
    return load_exported(path, tracker=tracker)


def _default_max_points(cfg: Config) -> int:
    """Return the default of ``max_points``."""
    return _POINTS_PER_SWEEP * (cfg.DATA_CONFIG.NUM_SWEEPS + 1)


def _outputs(program: ExportedProgram) -> list[Tensor]:
    """Return (fake) tensors of the shapes and dtypes of a program's outputs."""
    nodes = program.graph.output_node().args[0]
    return [node.meta["val"] for node in nodes]
