"""Former import names, which still work with a ``DeprecationWarning``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def former_names(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a package that resolves former names.

    Args:
        package: Name of the package.
        names: By former name, the present one with its package: ``remembev.ops.nms_bev``.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, present = names[name].rpartition(".")
        warnings.warn(f"{package}.{name} is deprecated: use {names[name]}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(module), present)

    return get
