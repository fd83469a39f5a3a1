"""Reading a configuration: a YAML file or a shipped name in, a validated ``Config`` out, with errors that help."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from remembev.config.base import BASE, over_bases, parse_mapping, read_mapping
from remembev.config.schema import Config
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
        raise ConfigError(f"{source}: no such file, and no shipped configuration ({', '.join(shipped_configs())})")
    return _validated(_read(path, ()), str(source), overrides)


def config_from_yaml(text: str, *, name: str, overrides: Sequence[str] = ()) -> Config:
    """The whole configuration written in ``text``; ``name`` stands in its errors."""
    return _validated(parse_mapping(text, name), name, overrides)


def config_to_yaml(config: Config) -> str:
    """The configuration as YAML: ``config_from_yaml`` reads it back equal."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


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
            shipped = ", ".join(shipped_configs())
            raise ConfigError(f"{path}: its {BASE} {name} is no file from {path.parent}, nor shipped ({shipped})")
        return _read(base, chain)

    return over_bases(read_mapping(path), path, read_base)


def _validated(tree: dict[str, Any], name: str, overrides: Sequence[str]) -> Config:
    for override in overrides:
        _apply_override(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}: {line}" for line in explain(error, Config))) from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"{override}: an override is KEY.PATH=value")
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{override}: {parent} holds a value, not a section")
    node[last] = yaml.safe_load(value)


def explain(error: ValidationError, section: type[BaseModel], *, unknown: str = "no such key") -> list[str]:
    """A line for each problem of a file read as ``section``, with its key; ``unknown`` is said of unknown keys."""
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: {unknown}{_suggestion(problem['loc'], section)}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: this key is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = problem["input"]
            value = f" (given: {given!r})" if isinstance(given, str | int | float | bool | list | tuple) else ""
            lines.append(f"{where}: {message}{value}" if where else message)
    return lines


def _suggestion(location: tuple[int | str, ...], section: type[BaseModel]) -> str:
    keys = _known_keys(location[:-1], section)
    close = get_close_matches(str(location[-1]), keys, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(keys)}"


def _known_keys(location: tuple[int | str, ...], section: type[BaseModel]) -> list[str]:
    for part in location:
        if isinstance(part, str):
            section = _section_of(section.model_fields[part].annotation)
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel]:
    """The section class inside an annotation such as ``tuple[AnchorConfig, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_section_of(argument) for argument in get_args(annotation) if argument is not Ellipsis)
