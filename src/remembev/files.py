"""Files: written so that nothing half-written is ever left behind, and read with errors that name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from re import fullmatch

from safetensors import SafetensorError, safe_open
from torch import Tensor

from remembev.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and is removed when it doesn't.

    The folder is made if it is not there; the temporary name ends like ``path``, for writers that go by the suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def discard_leftovers(*folders: Path) -> None:
    """Remove the temporary files of writers that were killed; nobody may be writing into the folders."""
    for folder in folders:
        for path in folder.glob(".*"):
            if fullmatch(r"\.\d+\..+", path.name):
                path.unlink()


def read_tensors(path: Path, what: str, error: type[UserError]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file. Raises ``error`` if it is not there, or not ``what`` it should be."""
    if not path.is_file():
        raise error(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as problem:
        raise error(f"{path}: not a {what}, or not all of it (safetensors): {problem}") from problem
