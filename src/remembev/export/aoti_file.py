"""AOTInductor packages: the step compiled ahead of time, run without Python."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from remembev.errors import ExportError
from remembev.export.interface import KEY, Interface


def write_aoti(program: ExportedProgram, interface: Interface, path: Path) -> None:
    """Compile an exported step and write the package.

    Raises:
        ExportError: No C++ compiler.
    """
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    metadata = {"aot_inductor.metadata": {KEY: interface.to_json()}}
    try:
        aoti_compile_and_package(program, package_path=str(path), inductor_configs=metadata)
    except (CppCompileError, InvalidCxxCompiler) as problem:
        raise ExportError(f"{path}: a package needs a C++ compiler, such as g++: {problem}") from problem


class AotiProgram:
    """An AOTInductor package."""

    def __init__(self, path: Path) -> None:
        """Load a package.

        Raises:
            ExportError: A file that torch can't run, or that RememBEV didn't write.
        """
        from torch._inductor import aoti_load_package

        try:
            self._package = aoti_load_package(str(path))
        except RuntimeError as problem:
            raise ExportError(f"{path}: torch {torch.__version__} can't run it: {problem}") from problem
        self.interface = Interface.from_json(self._package.get_metadata().get(KEY), name=str(path))

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run the step."""
        return list(self._package(*inputs))
