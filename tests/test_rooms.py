"""The rooms know only what they may: who imports whom, and what a core installation imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "remembev"

ALL = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
ALLOWED = {
    "geometry": set(),
    "ops": {"geometry"},
    "config": {"geometry"},
    "memory": {"geometry", "ops", "config"},
    "models": {"geometry", "ops", "config", "memory"},
    "data": {"geometry", "ops", "config"},
    "simulate": {"geometry"},
    "experiments": {
        "geometry",
        "ops",
        "config",
        "models",
        "data",
        "training",
        "evaluation",
        "streaming",
        "viewing",
    },
    "export": {"geometry", "ops", "config", "memory", "models", "streaming"},
}


def imported_rooms(room: str) -> set[str]:
    found = set()
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {module.split(".")[1] for module in modules if module.startswith("remembev.")}
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_nobody_above_it(room: str) -> None:
    assert imported_rooms(room) & ALL <= ALLOWED[room] | {room}


@pytest.mark.parametrize("room", sorted(ALL - {"cli"}))
def test_nobody_imports_the_command_line(room: str) -> None:
    assert "cli" not in imported_rooms(room)


@pytest.mark.parametrize("room", sorted(ALL - {"cli", "experiments"}))
def test_only_the_command_line_imports_experiments(room: str) -> None:
    assert "experiments" not in imported_rooms(room)


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
