"""Configurations over others: ``_BASE_CONFIG_`` names a file whose keys lie under a section's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from remembev.errors import ConfigError

BASE = "_BASE_CONFIG_"
"""OpenPCDet's key for the file that a section goes over."""


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys of a YAML file as they stand there. Raises ConfigError, naming the file, if it holds none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, name: str) -> dict[str, Any]:
    """The keys of YAML text; ``name`` stands in its errors."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: a configuration is a mapping of keys, this holds {type(tree).__name__}")
    return tree


def over_bases(
    own: dict[str, Any],
    path: Path,
    read_base: Callable[[str, Path], dict[str, Any]],
    below: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A section's keys over those of ``below`` and, nearer, of the base it names: sections key by key, lists whole.

    path       the file that the section is of
    read_base  the keys of a base, from its name and the file that names it

    Raises ConfigError for a section over a value.
    """
    merged = dict(below or {})
    if BASE in own:
        merged.update(read_base(str(own[BASE]), path))
    for key, value in own.items():
        if key == BASE:
            continue
        under = merged.get(key)
        if isinstance(value, dict):
            if under is not None and not isinstance(under, dict):
                raise ConfigError(f"{path}: {key} is a section here, and a {type(under).__name__} in its base")
            value = over_bases(value, path, read_base, under)
        merged[key] = value
    return merged
