"""Validation with errors that name the key and suggest what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from remembev.errors import ConfigError

AnySection = TypeVar("AnySection", bound=BaseModel)


def validated(section: type[AnySection], tree: dict[str, Any], name: str) -> AnySection:
    """Validate ``tree`` as a ``section``. Raises ConfigError with a line per problem, each beginning with ``name``."""
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}: {line}" for line in explain(error, section))) from error


def as_section(source: AnySection | Mapping[str, Any], section: type[AnySection], name: str) -> AnySection:
    """Return a typed section: the source itself, or a mapping such as an ``EasyDict`` or a dictionary, validated.

    Raises:
        ConfigError: As ``validated``.
    """
    return source if isinstance(source, section) else validated(section, _plain(source), name)


def _plain(tree: Any) -> Any:
    """Return a tree of mappings and lists as dictionaries and lists."""
    if isinstance(tree, Mapping):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, list | tuple) else tree


def set_key(tree: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key in a tree, creating the sections above it. Raises ConfigError if one of those is a value."""
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise ConfigError(f"{key}: {parent} is a value, not a section")
    node[last] = value


def explain(error: ValidationError, section: type[BaseModel], *, unknown: str = "no such key") -> list[str]:
    """Return a line for each problem of a file validated as ``section``; ``unknown`` describes unknown keys."""
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
    """Return the section class in an annotation such as ``tuple[AnchorConfig, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_section_of(argument) for argument in get_args(annotation) if argument is not Ellipsis)
