"""Base files: a section with ``_BASE_CONFIG_`` overrides the keys of the file that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from remembev.errors import ConfigError

BASE = "_BASE_CONFIG_"
"""OpenPCDet's key for the base file of a section."""


def read_mapping(path: Path) -> dict[str, Any]:
    """Read the keys of a YAML file. Raises ConfigError, naming the file, if it isn't one or has no keys."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, name: str) -> dict[str, Any]:
    """Parse the keys in YAML text. Errors begin with ``name``."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: expected a mapping of keys, got {type(tree).__name__}")
    return tree


def merge_bases(
    own: dict[str, Any],
    path: Path,
    read_base: Callable[[str, Path], dict[str, Any]],
    inherited: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Merge a section with its bases: sections key by key, lists as a whole.

    Args:
        own: Keys of the section.
        path: File of the section.
        read_base: Returns the keys of a base, given its name and the file that names it.
        inherited: The same section in the base of a section above. A base that the section names goes before it.

    Raises:
        ConfigError: If a section overrides a value.
    """
    merged = dict(inherited or {})
    if BASE in own:
        merged.update(read_base(str(own[BASE]), path))
    for key, value in own.items():
        if key == BASE:
            continue
        in_base = merged.get(key)
        if isinstance(value, dict):
            if in_base is not None and not isinstance(in_base, dict):
                raise ConfigError(f"{path}: {key} is a section here but a {type(in_base).__name__} in its base")
            value = merge_bases(value, path, read_base, in_base)
        merged[key] = value
    return merged
