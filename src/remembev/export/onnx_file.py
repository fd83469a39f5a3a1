"""ONNX files: written by torch's exporter, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from remembev.errors import ExportError
from remembev.export.buffers import Recycled
from remembev.export.interface import KEY, Interface

OPSET = 18
"""The first with a scatter that takes the maximum."""


def write_onnx(program: ExportedProgram, interface: Interface, path: Path) -> None:
    """Write an exported step; needs the extra ``export``."""
    import onnxscript.optimizer
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, InlinePass, RemoveUnusedNodesPass

    converted = torch.onnx.export(
        program,
        dynamo=True,
        optimize=False,
        verbose=False,
        opset_version=OPSET,
        input_names=[entry.name for entry in interface.inputs],
        output_names=[entry.name for entry in interface.outputs],
        custom_translation_table=_translations(),
    )
    assert converted is not None
    # ONNX Runtime has an optimiser of its own; what is left to do is what it can't: functions, constants, leftovers.
    model = converted.model
    InlinePass()(model)
    onnxscript.optimizer.fold_constants(model)
    RemoveUnusedNodesPass()(model)
    ClearMetadataAndDocStringPass()(model)  # stack traces of every node, with paths of this machine
    model.metadata_props[KEY] = interface.to_json()
    converted.save(path)


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operations that the exporter doesn't know, or that ONNX Runtime doesn't as the exporter writes them."""
    from onnx_ir import DataType
    from onnxscript import opset18 as op

    def ints(*values: int) -> Any:
        return op.Constant(value_ints=list(values))

    def sort(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        """Of equal elements TopK takes the first in the tensor first: it is stable."""
        return op.TopK(self, ints(self.shape[dim]), axis=dim, largest=int(descending), sorted=1)

    def where(condition: Any, self: Any, other: Any) -> Any:
        """ONNX Runtime chooses between numbers, not between truth values."""
        if self.dtype == DataType.BOOL:
            return op.Or(op.And(condition, self), op.And(op.Not(condition), other))
        return op.Where(condition, self, other)

    def weighted_bags(
        weight: Any,
        indices: Any,
        offsets: Any,
        scale_grad_by_freq: bool = False,
        mode: int = 0,
        sparse: bool = False,
        per_sample_weights: Any = None,
        include_last_offset: bool = False,
        padding_idx: int = -1,
    ) -> tuple[Any, Any, Any, Any]:
        """Sums of bags of one size, as the memory read has them: a product of matrices, not a loop over the bags."""
        bags = offsets.shape[0]
        size = indices.shape[0] // bags
        rows = op.Gather(weight, op.Reshape(indices, ints(bags, size)), axis=0)
        weights = op.Reshape(per_sample_weights, ints(bags, 1, size))
        return op.Squeeze(op.MatMul(weights, rows), ints(1)), offsets, offsets, offsets

    aten = torch.ops.aten
    return {
        aten.sort.stable: sort,
        aten.where.self: where,
        aten.embedding_bag.padding_idx: weighted_bags,
        aten._embedding_bag.default: weighted_bags,
        aten._embedding_bag_forward_only.default: weighted_bags,
    }


class OnnxProgram:
    """An ONNX file in ONNX Runtime on the CPU, whose inputs and outputs are torch's memory: nothing is copied."""

    def __init__(self, path: Path) -> None:
        """Raises ExportError for a file that ONNX Runtime can't run, or that RememBEV did not write."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's errors have no common class of their own
            raise ExportError(f"{path}: ONNX Runtime {onnxruntime.__version__} can't run it: {problem}") from problem
        described = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self.interface = Interface.from_json(described, name=str(path))
        self._outputs = [Recycled(tuple(entry.shape), getattr(torch, entry.dtype)) for entry in self.interface.outputs]

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run the step."""
        binding = self._session.io_binding()
        inputs = [tensor.contiguous() for tensor in inputs]
        outputs = [buffer.take() for buffer in self._outputs]
        for entry, tensor in zip(self.interface.inputs, inputs, strict=True):
            binding.bind_input(entry.name, "cpu", 0, entry.dtype, entry.shape, tensor.data_ptr())
        for entry, tensor in zip(self.interface.outputs, outputs, strict=True):
            binding.bind_output(entry.name, "cpu", 0, entry.dtype, entry.shape, tensor.data_ptr())
        self._session.run_with_iobinding(binding)
        return outputs
