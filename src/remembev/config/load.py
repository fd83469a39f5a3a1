"""Reading a configuration: a YAML file or a shipped name in, a validated ``Config`` out, with errors that help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from remembev.config.base import BASE, over_bases, parse_mapping, read_mapping
from remembev.config.former import current_key, rename_former_keys
from remembev.config.schema import Config
from remembev.config.validation import set_key, validated
from remembev.config.variants import former_variant
from remembev.errors import ConfigError

_SHIPPED = Path(__file__).parent


def shipped_configs() -> list[str]:
    """Names of the configurations in the package: ``load_config`` takes them in place of a path."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration at a path, or the shipped one of that name, with ``KEY.PATH=value`` overrides applied.

    A file may name another one as its ``_BASE_CONFIG_``, a shipped name or a path from its own folder, and then holds
    what differs: sections are merged key by key, lists are replaced.

    Raises ConfigError naming the file and the key.
    """
    path = _find(Path(), source)
    if path is None:
        raise ConfigError(f"{source}: no such file, and no shipped configuration{_hint(str(source))}")
    return _validated(_read(path, ()), str(source), overrides)


def config_from_yaml(text: str, *, name: str, overrides: Sequence[str] = ()) -> Config:
    """The whole configuration written in ``text``; ``name`` stands in its errors."""
    return _validated(rename_former_keys(parse_mapping(text, name), name, note=False), name, overrides)


def config_to_yaml(config: Config) -> str:
    """The configuration as YAML: ``config_from_yaml`` reads it back equal."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _hint(name: str) -> str:
    """What a name that is no configuration could have meant."""
    return f" ({former_variant(name) or ', '.join(shipped_configs())})"


def _find(folder: Path, source: str | Path) -> Path | None:
    """The file at a path from ``folder``, or the shipped one of that name."""
    if (folder / source).is_file():
        return folder / source
    return _SHIPPED / f"{source}.yaml" if str(source) in shipped_configs() else None


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of a file over those of its bases; ``above`` are the files whose base it is, nearest last."""
    chain = (*above, path.resolve())
    if path.resolve() in above:
        raise ConfigError(f"{above[0]}: its {BASE} comes back to a file: {' → '.join(str(file) for file in chain)}")

    def read_base(name: str, path: Path) -> dict[str, Any]:
        base = _find(path.parent, name)
        if base is None:
            raise ConfigError(f"{path}: its {BASE} {name} is no file from {path.parent}, nor shipped{_hint(name)}")
        return _read(base, chain)

    return over_bases(rename_former_keys(read_mapping(path), str(path)), path, read_base)


def _validated(tree: dict[str, Any], name: str, overrides: Sequence[str]) -> Config:
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ConfigError(f"{override}: an override is KEY.PATH=value")
        set_key(tree, current_key(key), yaml.safe_load(value))
    return validated(Config, tree, name)
