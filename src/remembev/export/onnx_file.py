"""ONNX files, written by torch's exporter and run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from remembev.errors import ExportError
from remembev.export.buffers import BufferPool
from remembev.export.interface import KEY, Interface

OPSET = 18
"""The first with scatter-max."""


def write_onnx(program: ExportedProgram, interface: Interface, path: Path) -> None:
    """Write an exported step as ONNX; needs the extra ``export``."""
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
    # ONNX Runtime optimises the graph itself, except for functions, constants and unused nodes.
    model = converted.model
    InlinePass()(model)
    onnxscript.optimizer.fold_constants(model)
    RemoveUnusedNodesPass()(model)
    ClearMetadataAndDocStringPass()(model)  # stack traces with local paths
    model.metadata_props[KEY] = interface.to_json()
    converted.save(path)


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return translations of operations that torch's exporter, or ONNX Runtime after it, doesn't support."""
    from onnx_ir import DataType
    from onnxscript import opset18 as op

    def ints(*values: int) -> Any:
        return op.Constant(value_ints=list(values))

    def sort(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        """TopK is stable: of equal elements the first comes first."""
        return op.TopK(self, ints(self.shape[dim]), axis=dim, largest=int(descending), sorted=1)

    def where(condition: Any, self: Any, other: Any) -> Any:
        """ONNX Runtime's Where takes no booleans."""
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
        """Bags of one size, as in the memory read, are a matrix product instead of a loop over bags."""
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
    """ONNX file in ONNX Runtime on the CPU; inputs and outputs are torch tensors, without copies."""

    def __init__(self, path: Path) -> None:
        """Load a file.

        Raises:
            ExportError: A file that ONNX Runtime can't run, or that RememBEV didn't write.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's errors have no common base class
            raise ExportError(f"{path}: ONNX Runtime {onnxruntime.__version__} can't run it: {problem}") from problem
        metadata = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self.interface = Interface.from_json(metadata, name=str(path))
        self._outputs = [
            BufferPool(tuple(entry.shape), getattr(torch, entry.dtype)) for entry in self.interface.outputs
        ]

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
