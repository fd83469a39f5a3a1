"""From a checkpoint to an exported file, and from a file to a detector."""

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

_SUFFIX = {"onnx": ".onnx", "aoti": ".pt2"}
_WRITE: dict[str, Callable[..., None]] = {"onnx": write_onnx, "aoti": write_aoti}
_PROGRAM: dict[str, Callable[[Path], OnnxProgram | AotiProgram]] = {".onnx": OnnxProgram, ".pt2": AotiProgram}
_POINTS_OF_A_SWEEP = 35_000
"""What a LiDAR of 32 beams at 20 Hz gives at most (nuScenes: 34,720)."""


def export_checkpoint(
    checkpoint: Path,
    form: Literal["onnx", "aoti"],
    out: Path | None = None,
    *,
    max_points: int | None = None,
    device: str = "cpu",
) -> Path:
    """Write the streaming step of a checkpoint; a file that is there is replaced whole. Where it is written.

    form        ``onnx``, which ONNX Runtime runs on the CPU, or ``aoti``, a package for this kind of machine
    out         file to write; beside the checkpoint if not given
    max_points  points in range that a frame may have at most; 35,000 a sweep if not given
    device      that an AOTInductor package is compiled for, and runs on

    Raises ExportError for what can't be exported, CheckpointError for what can't be read.
    """
    out = out or checkpoint.with_suffix(_SUFFIX[form])
    if out.suffix != _SUFFIX[form]:
        raise ExportError(f"{out}: a file of the format {form} ends in {_SUFFIX[form]}")
    if form == "onnx" and device != "cpu":
        raise ExportError(f"{out}: an ONNX file is exported on the CPU, not for {device}")
    model = load_checkpoint(checkpoint)
    weights = digest(model.state_dict())
    step = StreamingStep(model.to(device))
    example = step.example(max_points or _most_points(model.cfg))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # torch's own, about its pytree
        program = torch.export.export(step, example)
        interface = Interface.of(step, example, _outputs(program), weights)
        with atomic_write(out) as temporary:
            _WRITE[form](program, interface, temporary)
    return out


def load_exported(path: Path, *, streaming: StreamingConfig | None = None) -> StreamingDetector:
    """A detector that runs an exported file; see ``StreamingDetector``, also for ``streaming``.

    Raises ExportError, naming the file, for one that can't be run here.
    """
    if path.suffix not in _PROGRAM:
        raise ExportError(f"{path}: ends in .onnx or .pt2 if it was exported")
    if not path.is_file():
        raise ExportError(f"{path}: no such file")
    program = _PROGRAM[path.suffix](path)
    return StreamingDetector(ExportedEngine(program, program.interface, name=str(path)), streaming=streaming)


def capture_step(
    model: TemporalPointPillar, dtype: torch.dtype = torch.float32, *, max_points: int | None = None
) -> StreamingDetector:
    """A detector on the GPU that replays the step of a model as one CUDA graph; ``max_points`` as in an export.

    Raises ExportError for what can't be captured, or where there is no GPU.
    """
    if not torch.cuda.is_available():
        raise ExportError("a CUDA graph needs a GPU: there is none here")
    weights = digest(model.state_dict())
    step = StreamingStep(model.to("cuda"), dtype)
    example = step.example(max_points or _most_points(model.cfg))
    with torch.no_grad():
        interface = Interface.of(step, example, list(step(*example)), weights)
    program = CUDAGraphProgram(step, example)
    return StreamingDetector(ExportedEngine(program, interface, name="the captured step"))


def open_detector(path: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> StreamingDetector:
    """A detector that runs a checkpoint on ``device``, or an exported file, told by its ending: .onnx, .pt2.

    dtype  see ``StreamingDetector.from_checkpoint``. Raises ExportError for an exported file that has another one
    """
    if path.suffix not in _PROGRAM:
        return StreamingDetector.from_checkpoint(path, device, dtype=dtype)
    if dtype != torch.float32:
        raise ExportError(f"{path}: an exported step is in float32")
    return load_exported(path)


def _most_points(cfg: Config) -> int:
    """Points that a frame of such a model has at most."""
    return _POINTS_OF_A_SWEEP * (cfg.DATA_CONFIG.NUM_SWEEPS + 1)


def _outputs(program: ExportedProgram) -> list[Tensor]:
    """Tensors of the shapes and types of a program's outputs."""
    nodes = program.graph.output_node().args[0]
    return [node.meta["val"] for node in nodes]
