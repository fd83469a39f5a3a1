"""MkDocs hooks: the home page made of the README, and the reference made of the package.

No page of the reference is written by hand. API pages come from docstrings through mkdocstrings, one a room; the
configuration's keys from the schema; the commands from the Typer application.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from inspect import getdoc, getsource
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
import yaml
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from remembev.cli import app
from remembev.config import classes, schema, sizes

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "remembev"
MODULES = ("batch", "errors", "structs")
"""Modules outside of rooms that a program may need."""
LINK = re.compile(r"(\]\()(?!https?:|#)([^)\s]+)(\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the generated pages to the group Reference of the navigation."""
    assert config.nav is not None
    (reference,) = (group["Reference"] for group in config.nav if "Reference" in group)
    reference += [
        {"Configuration": "reference/configuration.md"},
        {"Commands": "reference/commands.md"},
        {"Python": ["reference/api/index.md", *({room: f"reference/api/{room}.md"} for room in rooms())]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "index.md": LINK.sub(_from_docs, (ROOT / "README.md").read_text(encoding="utf-8")),
        "reference/configuration.md": configuration_page(),
        "reference/commands.md": commands_page(),
        "reference/api/index.md": api_index(),
        **{f"reference/api/{room}.md": room_page(room) for room in rooms()},
    }
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files outside of docs/ at the repository."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent

    def to_repository(link: re.Match[str]) -> str:
        path, hash_, anchor = link[2].partition("#")
        target = (folder / path).resolve()
        if not target.exists() or (target.is_file() and target.is_relative_to(config.docs_dir)):
            return link[0]
        kind = "tree" if target.is_dir() else "blob"
        return f"{link[1]}{config.repo_url}/{kind}/main/{target.relative_to(ROOT)}{hash_}{anchor}{link[3]}"

    return LINK.sub(to_repository, markdown)


def _from_docs(link: re.Match[str]) -> str:
    """The README's link, as it reads from docs/."""
    return link[1] + (link[2].removeprefix("docs/") if link[2].startswith("docs/") else f"../{link[2]}") + link[3]


# ----------------------------------------------------------------------------------------------------------------- API


def rooms() -> list[str]:
    """Return the names of the package's rooms."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name != "cli")


def exports(module: Path) -> list[str]:
    """Return ``__all__`` of a module without importing it; empty where there is none."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def summary(module: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def api_index() -> str:
    """Return the page of the rooms, and of the names that ``remembev`` itself has."""
    home = {name: room for room in rooms() for name in exports(PACKAGE / room / "__init__.py")}
    names = [name for name in exports(PACKAGE / "__init__.py") if name in home]
    return "\n".join(
        [
            "# Python",
            "",
            "`import remembev` gives the names that most programs need; every subpackage has more.",
            "",
            "| name | subpackage |",
            "|---|---|",
            *(f"| [`{name}`][remembev.{home[name]}.{name}] | [`{home[name]}`]({home[name]}.md) |" for name in names),
            "",
            "| subpackage | |",
            "|---|---|",
            *(f"| [`remembev.{room}`]({room}.md) | {summary(PACKAGE / room / '__init__.py')} |" for room in rooms()),
            "",
            *(f"## remembev.{name}\n\n::: remembev.{name}\n    options:\n      heading_level: 3\n" for name in MODULES),
        ]
    )


def room_page(room: str) -> str:
    """Return the page of a room: its docstring and its public names."""
    members = exports(PACKAGE / room / "__init__.py")
    return f"# remembev.{room}\n\n::: remembev.{room}\n    options:\n      members: {members}\n"


# ------------------------------------------------------------------------------------------------------- configuration


def configuration_page() -> str:
    """Return the page of every key of the configuration, a table a section."""
    intro = (
        "# Configuration\n\n"
        "Every key of a configuration file, with its default; keys without one are required. A key is set on the "
        "command line by `--set SECTION.KEY=value`, in code by `cfg.with_changes({...})`. Unknown keys are errors.\n"
    )
    return "\n".join([intro, *(_section(path, model) for path, model in _sections("", schema.Config))])


def _sections(path: str, model: type[schema.Section]) -> Iterator[tuple[str, type[schema.Section]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for section in _models(field.annotation):
            yield from _sections(f"{path}.{name}".lstrip("."), section)


def _models(annotation: Any) -> list[type[schema.Section]]:
    if isinstance(annotation, type) and issubclass(annotation, schema.Section):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _section(path: str, model: type[schema.Section]) -> str:
    bases = [base for base in reversed(model.__mro__) if issubclass(base, schema.Section)]
    docs = {name: text for base in bases for name, text in field_docs(base).items()}
    types = {name: kind for base in bases for name, kind in base.__annotations__.items()}
    heading = "#" * min(2 + path.count("."), 6)
    label = path.rpartition(".")[2] or "Top level"
    lines = [f'{heading} {path or label} {{ #{path or "top"} data-toc-label="{label}" }}', "", getdoc(model) or "", ""]
    lines += ["| key | type | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{as_yaml(field.get_default(call_default_factory=True))}`"
        kind, text = type_words(ast.parse(types[name], mode="eval").body), docs.get(name, "")
        for section in _models(field.annotation):
            kind = kind.replace(f"`{section.__name__}`", f"[section](#{f'{path}.{name}'.lstrip('.')})")
            default = default if "null" in kind or field.is_required() else ""
            text = text or (getdoc(section) or "").partition("\n")[0]
        lines.append(f"| `{name}` | {kind} | {default} | {' '.join(text.split())} |")
    return "\n".join([*lines, ""])


def field_docs(model: type[schema.Section]) -> dict[str, str]:
    """Return the docstrings below the fields that a section itself defines, by field."""
    (body,) = (node.body for node in ast.parse(getsource(model)).body if isinstance(node, ast.ClassDef))
    return {
        field.target.id: text.value.value
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


_WORDS = {"int": "integer", "float": "number", "str": "text", "bool": "`true`, `false`"}
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "min_length": "length ≥", "max_length": "length ≤"}
_ALIASES = {
    node.targets[0].id: node.value
    for module in (sizes, classes, schema)
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
}


def type_words(node: ast.expr) -> str:
    """Return an annotation of the schema in words, such as ``integer ≥ 1 or null``."""
    match node:
        case ast.Constant(None):
            return "`null`"
        case ast.Name(name) if name in _ALIASES:
            return type_words(_ALIASES[name])
        case ast.Name(name) if issubclass(getattr(sizes, name, object), sizes.Size):
            return f"size in {getattr(sizes, name).unit}"
        case ast.Name(name):
            return _WORDS.get(name, f"`{name}`")
        case ast.BinOp(left, ast.BitOr(), right):
            return f"{type_words(left)} or {type_words(right)}"
        case ast.Subscript(ast.Name("Literal"), choices):
            return ", ".join(f"`{value}`" for value in _items(ast.literal_eval(choices)))
        case ast.Subscript(ast.Name("tuple"), ast.Tuple([item, ast.Constant(value)])) if value is Ellipsis:
            return f"list of {type_words(item)}"
        case ast.Subscript(ast.Name("tuple"), ast.Tuple(items)):
            return f"list of {len(items)}: {type_words(items[0])}"
        case ast.Subscript(ast.Name("dict"), ast.Tuple([key, value])):
            return f"mapping of {type_words(key)} to {type_words(value)}"
        case ast.Subscript(ast.Name("Annotated"), ast.Tuple([inner, ast.Name("_IN_ORDER")])):
            return f"{type_words(inner)}, in ascending order"
        case ast.Subscript(ast.Name("Annotated"), ast.Tuple([inner, ast.Call() as rule])):
            bounds = [f"{_BOUNDS[word.arg]} {ast.unparse(word.value)}" for word in rule.keywords if word.arg in _BOUNDS]
            return ", ".join([type_words(inner), *bounds]).replace(", >", " >").replace(", ≥", " ≥")
    raise PluginError(f"type of the schema that the docs have no words for: {ast.unparse(node)}")


def _items(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def as_yaml(value: Any) -> str:
    """Return a default as a configuration file would have it; nothing for a section or a mapping to sections."""
    values = value.values() if isinstance(value, dict) else [value]
    if any(isinstance(item, schema.Section) for item in values):
        return ""
    if isinstance(value, sizes.Size):
        return str(value)
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


# ------------------------------------------------------------------------------------------------------------ commands


def commands_page() -> str:
    """Return the page of every command with its arguments and options."""
    return "\n".join(["# Commands", "", *_command("remembev", typer.main.get_command(app))])


def _command(path: str, command: Any) -> Iterator[str]:
    yield f"## `{path}`\n\n{command.help or ''}\n"
    types = get_type_hints(command.callback) if command.callback else {}
    shown = [parameter for parameter in command.params if not parameter.hidden and parameter.name in types]
    if shown:
        yield "| | type | default | |\n|---|---|---|---|"
        yield from (_parameter(parameter, types[parameter.name]) for parameter in shown)
        yield ""
    for name, inner in getattr(command, "commands", {}).items():
        yield from _command(f"{path} {name}", inner)


def _parameter(parameter: Any, annotation: Any) -> str:
    argument = parameter.param_type_name == "argument"
    name = f"`{parameter.name.upper()}`" if argument else " ".join(f"`{option}`" for option in parameter.opts)
    name += "".join(f" `{option}`" for option in parameter.secondary_opts)
    default = parameter.default
    if parameter.required:
        default = "required"
    elif default in (None, "", (), []) or annotation is bool:
        default = "" if not default else "on"
    else:
        default = f"`{default}`"
    return f"| {name} | {_python_words(annotation)} | {default} | {' '.join((parameter.help or '').split())} |"


def _python_words(annotation: Any) -> str:
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in parts)
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(map(_python_words, parts))
    if get_origin(annotation) is list:
        return f"{_python_words(parts[0])}, repeatable"
    return {bool: "flag", int: "integer", float: "number", str: "text", Path: "path"}[annotation]
