"""Reading configurations from YAML files, shipped ones by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from remembev.config.base import BASE, merge_bases, parse_mapping, read_mapping
from remembev.config.former import current_key, rename_former, with_former_defaults
from remembev.config.schema import Config
from remembev.config.validation import set_key, validated
from remembev.config.variants import former_variant
from remembev.errors import ConfigError

_SHIPPED = Path(__file__).parent


def shipped_configs() -> list[str]:
    """Return the names of the shipped configurations, which ``load_config`` takes in place of a path."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load a configuration.

    A file may name another one as its ``_BASE_CONFIG_``, a shipped one or a path from its own folder, and override its
    keys: sections are merged key by key, lists are replaced.

    Args:
        source: Path of a YAML file, or a shipped name such as ``small``.
        overrides: New values as ``SECTION.KEY=value``, with the value in YAML.

    Raises:
        ConfigError: Naming the file and the key.
    """
    path = _find(Path(), source)
    if path is None:
        raise ConfigError(f"{source}: no such file, and no shipped configuration{_hint(str(source))}")
    return validate_config(_read(path, ()), str(source), overrides)


def config_from_yaml(text: str, *, name: str) -> Config:
    """Parse a complete, stored configuration, also of a former version. Errors begin with ``name``."""
    tree = rename_former(parse_mapping(text, name), name, warn=False)
    return validate_config(with_former_defaults(tree), name)


def config_to_yaml(config: Config) -> str:
    """Return a configuration as YAML that ``config_from_yaml`` reads back equal."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def validate_config(tree: dict[str, Any], name: str, overrides: Sequence[str] = ()) -> Config:
    """Apply overrides to a tree of keys and validate it. Errors begin with ``name``."""
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ConfigError(f"{override}: an override is KEY.PATH=value")
        try:
            set_key(tree, current_key(key), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ConfigError(f"{override}: the value is not valid YAML: {error}") from error
    return validated(Config, tree, name)


def _hint(name: str) -> str:
    """Return what an unknown name could have meant."""
    return f" ({former_variant(name) or ', '.join(shipped_configs())})"


def _find(folder: Path, source: str | Path) -> Path | None:
    """Return the file at a path from ``folder``, or the shipped one of that name; None if there is neither."""
    if (folder / source).is_file():
        return folder / source
    return _SHIPPED / f"{source}.yaml" if str(source) in shipped_configs() else None


def _read(path: Path, derived: tuple[Path, ...]) -> dict[str, Any]:
    """Read the keys of a file and its bases; ``derived`` are the files that it is a base of, nearest last."""
    chain = (*derived, path.resolve())
    if path.resolve() in derived:
        raise ConfigError(f"{derived[0]}: circular {BASE}: {' → '.join(str(file) for file in chain)}")

    def read_base(name: str, path: Path) -> dict[str, Any]:
        base = _find(path.parent, name)
        if base is None:
            raise ConfigError(
                f"{path}: {BASE} {name} is neither a file in {path.parent} nor a shipped configuration{_hint(name)}"
            )
        return _read(base, chain)

    return merge_bases(rename_former(read_mapping(path), str(path), warn=True), path, read_base)
