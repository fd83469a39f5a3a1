"""The direction of imports: which room may import which, no circles, and what a core installation imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "remembev"

ALLOWED = {
    "geometry": set(),
    "ops": {"geometry"},
    "config": {"geometry"},
    "memory": {"geometry", "ops", "config"},
    "models": {"geometry", "ops", "config", "memory"},
    "data": {"geometry", "ops", "config"},
    "tracking": {"geometry", "ops", "config", "memory", "models", "data"},
    "simulate": {"geometry"},
    "training": {"geometry", "ops", "config", "memory", "models", "data"},
    "streaming": {"geometry", "ops", "config", "memory", "models", "data", "simulate", "tracking"},
    "export": {"geometry", "ops", "config", "memory", "models", "streaming", "tracking"},
    "evaluation": {"geometry", "config", "models", "data", "training", "streaming", "export", "tracking"},
    "viewing": {"geometry", "config", "memory", "models", "data", "streaming", "evaluation", "tracking"},
    "bench": {"geometry", "ops", "config", "memory", "models", "data", "training", "streaming", "export", "viewing"},
    "experiments": {
        *("geometry", "ops", "config", "memory", "models", "data", "training", "streaming", "evaluation", "viewing"),
        "bench",
    },
}
"""The rooms that each room may import; ``cli`` may import them all."""
FOUNDATIONS = {
    "lazy": set(),
    "errors": set(),
    "deprecation": set(),
    "structs": set(),
    "batch": {"structs"},
    "files": {"errors"},
    "distributed": {"errors"},
    "precision": set(),
    "progress": set(),
}
"""Top-level modules that every room may import, and what they may import themselves."""
FOR_CLI_ALONE = {"cli", "experiments", "demo"}


def module_files() -> dict[str, Path]:
    """The modules of the package by their full names."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(("remembev", *(part for part in parts if part != "__init__")))] = path
    return names


MODULES = module_files()
ROOMS = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}


def import_statements(node: ast.AST, *, at_import_time: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements under a node; with ``at_import_time`` those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if at_import_time and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if at_import_time and isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        yield from import_statements(child, at_import_time=at_import_time)


def imported_modules(module: str, *, at_import_time: bool) -> set[str]:
    """The modules of the package that a module imports."""
    imported = set()
    for statement in import_statements(ast.parse(MODULES[module].read_text()), at_import_time=at_import_time):
        if isinstance(statement, ast.Import):
            imported |= {alias.name for alias in statement.names}
        else:
            names = (f"{statement.module}.{alias.name}" for alias in statement.names)
            imported |= {name if name in MODULES else str(statement.module) for name in names}
    return imported & MODULES.keys()


def room_of(module: str) -> str:
    """The room or top-level module that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def room_graph() -> dict[str, set[str]]:
    """The rooms and top-level modules that each of them imports, inside functions too."""
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        imported = {room_of(name) for name in imported_modules(module, at_import_time=False)}
        graph.setdefault(room_of(module), set()).update(imported - {room_of(module)})
    return graph


GRAPH = room_graph()


def test_every_room_has_its_rule() -> None:
    assert ALLOWED.keys() == ROOMS - {"cli"}


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_no_room_above_it(room: str) -> None:
    assert GRAPH[room] <= ALLOWED[room] | FOUNDATIONS.keys()


@pytest.mark.parametrize("module", FOUNDATIONS)
def test_a_foundation_imports_no_room(module: str) -> None:
    assert GRAPH[module] <= FOUNDATIONS[module]


@pytest.mark.parametrize("module", sorted(FOR_CLI_ALONE))
def test_only_the_command_line_imports_what_stands_at_the_top(module: str) -> None:
    importers = {name for name, imported in GRAPH.items() if module in imported}
    assert importers <= {"cli", "__main__"}


def test_rooms_import_each_other_in_no_circle() -> None:
    assert circle(GRAPH) == []


def test_modules_import_each_other_in_no_circle() -> None:
    assert circle({module: imported_modules(module, at_import_time=True) for module in MODULES}) == []


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of a circle, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) != []


def test_streaming_and_training_data_need_no_optional_package() -> None:
    program = (
        "import sys\n"
        "from remembev import *\n"
        "import remembev.cli, remembev.export, remembev.streaming\n"
        "optional = {'triton', 'nuscenes', 'lightning', 'trimesh', 'embreex', 'matplotlib', 'PIL', 'scipy'}\n"
        "optional |= {'onnx', 'onnx_ir', 'onnxscript', 'onnxruntime', 'torch._inductor', 'rerun', 'imageio_ffmpeg'}\n"
        "sys.exit(', '.join(optional & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["stream", "--no-such-option"]])
def test_help_and_errors_in_arguments_wait_for_neither_torch_nor_the_schema(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from remembev.cli import app\n"
        f"sys.argv[1:] = {arguments}\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "sys.exit(100 + len({'torch', 'numpy', 'remembev.config.schema'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 100, done.stderr
