"""Files: atomic writing, and reading with errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from remembev.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block ends, and is removed if it raises.

    The folder is created if it is missing. The temporary file has the same suffix, which some writers go by.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def discard_leftovers(*folders: Path) -> None:
    """Remove temporary files that killed writers left; no process may be writing into the folders."""
    for folder in folders:
        for path in folder.glob(".*"):
            if fullmatch(r"\.\d+\..+", path.name):
                path.unlink()


def read_tensors(path: Path, what: str, error: type[UserError]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and header of a safetensors file.

    Args:
        path: The file.
        what: What it should be, such as ``checkpoint``, for the error.
        error: Type of the error that is raised if the file is missing or can't be read.
    """
    if not path.is_file():
        raise error(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as problem:
        raise error(f"{path}: not a {what}, or truncated (safetensors): {problem}") from problem
