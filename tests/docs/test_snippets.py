"""Every command and every piece of code of the README, the start pages and the guides runs.

A page's blocks run in order, in one folder. Bash runs the shell blocks, with commands of the package and of its tools
recorded, then run here (``remembev``) or checked (``make``, ``pip``, …). ``shrinking.py`` says what is made smaller.
``<!-- not run: reason -->`` before a block leaves it out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from tests.conftest import REPOSITORY
from tests.docs.pages import PAGES, blocks, name, without_code
from tests.docs.shrinking import DATA, NUSCENES, WEIGHTS, lidar, shrink, shrink_inside, write_data, write_weights
from torch.distributed.run import get_args_parser
from typer.testing import CliRunner

from remembev.cli import app
from remembev.config import Config, load_config

SHELL, PYTHON, CONFIGURATION = ("bash", "sh", "console"), ("python",), ("yaml",)
SHOWN_ONLY = ("", "text", "json", "cpp", "bibtex")
RECORDED = ("remembev", "torchrun", "make", "pip", "git", "python", "tensorboard", "rerun", "pre-commit")
STUB = '#!/bin/sh\nprintf "%s\\037" "$PWD" "${0##*/}" "$@" >> "$RECORD"; printf "\\036" >> "$RECORD"\n'


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Data, weights and OpenPCDet's files that the pages have from elsewhere."""
    pytest.importorskip("nuscenes")
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "docs"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            write_data(folder / "data")
            write_weights(folder)
    return folder


@pytest.fixture
def place(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a page's blocks run in."""
    for data in DATA:
        (tmp_path / data).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / data).symlink_to(shared / "data")
    for weights in WEIGHTS:
        (tmp_path / weights).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shared / "small.safetensors", tmp_path / weights)
    shutil.copytree(shared / "OpenPCDet", tmp_path / "OpenPCDet")
    (tmp_path / "remembev").symlink_to(tmp_path)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    for folder in (tmp_path / "bin", tmp_path / ".venv" / "bin"):
        folder.mkdir(parents=True)
        for command in RECORDED:
            (folder / command).write_text(STUB)
            (folder / command).chmod(0o755)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    monkeypatch.chdir(tmp_path)
    shrink_inside(monkeypatch)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_blocks_of_a_page_run(page: Path, place: Path) -> None:
    names: dict[str, Any] = {"lidar": lidar(place / DATA[0]), "__name__": "__main__"}
    for block in blocks(page):
        print(f"{name(page)}:{block.line}")
        if block.not_run or block.language in SHOWN_ONLY:
            continue
        if block.language in SHELL:
            for command, arguments in recorded(block.text, place):
                COMMANDS[command](arguments, place)
        elif block.language in PYTHON:
            text = "\n" * (block.line - 1) + block.text.replace(NUSCENES, "data/nuscenes")
            exec(compile(text, str(page), "exec"), names)
        elif block.language in CONFIGURATION:
            check_configuration(block.text, place)
        else:
            pytest.fail(f"there is no way to run {block.language}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_stand_in_fenced_blocks(page: Path) -> None:
    loose = re.findall(r"^    (?:remembev|make|pip|python|torchrun) .*", without_code(page.read_text()), re.MULTILINE)
    assert not loose


def recorded(text: str, place: Path) -> Iterator[tuple[str, list[str]]]:
    """Run a shell block with the commands of RECORDED as stubs; yields what they were called with."""
    record = place / "record"
    record.unlink(missing_ok=True)
    environment = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "RECORD": str(record), "HOME": str(place)}
    text = re.sub(r"^\$ ", "", text, flags=re.MULTILINE)
    subprocess.run(["bash", "-euo", "pipefail", "-c", text], env=environment, cwd=place, check=True, timeout=60)
    for call in record.read_text().split("\036")[:-1] if record.exists() else ():
        _, command, *arguments = call.split("\037")[:-1]
        yield command, arguments


# ------------------------------------------------------------------------------------------------------------ commands


def run_remembev(arguments: list[str], place: Path) -> None:
    result = CliRunner().invoke(app, shrink(arguments, place / "simulated"), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    shutil.rmtree(place / "simulated", ignore_errors=True)


def run_torchrun(arguments: list[str], place: Path) -> None:
    launch = get_args_parser().parse_args(arguments)
    assert launch.module
    run_module([launch.training_script, *launch.training_script_args], place)


def run_module(arguments: list[str], place: Path) -> None:
    assert arguments[0] == "remembev"
    run_remembev(arguments[1:], place)


def run_python(arguments: list[str], place: Path) -> None:
    """``-m remembev …``, ``-m pip …``, ``-m venv …`` or an example, of which the options are checked."""
    if arguments[0] == "-m":
        _, module, *arguments = arguments
        {"remembev": run_remembev, "pip": check_pip, "venv": check_nothing}[module](arguments, place)
        return
    script, *options = arguments
    shown = subprocess.run([sys.executable, place / script, "--help"], capture_output=True, text=True, check=True)
    assert [option for option in options if option.startswith("--") and option not in shown.stdout] == []


def check_nothing(arguments: list[str], place: Path) -> None:
    """A tool of others, whose options are its own."""


def check_make(arguments: list[str], place: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in (argument for argument in arguments if "=" not in argument):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def check_pip(arguments: list[str], place: Path) -> None:
    extras = re.findall(r"^(\w+) = \[", project_file().partition("optional-dependencies]")[2], re.MULTILINE)
    assert arguments[0] == "install"
    for listed in re.findall(r"\[(.*?)\]", " ".join(arguments)):
        assert set(listed.split(",")) <= set(extras)


def check_git(arguments: list[str], place: Path) -> None:
    assert arguments[0] == "clone"
    assert f'Repository = "{arguments[1].removesuffix(".git")}"' in project_file()


def project_file() -> str:
    return (REPOSITORY / "pyproject.toml").read_text()


def check_exists(arguments: list[str], place: Path) -> None:
    """A tool of others: the files that it opens are there."""
    for argument in arguments:
        assert argument.startswith("-") or (place / argument).exists(), argument


COMMANDS: dict[str, Callable[[list[str], Path], None]] = {
    "remembev": run_remembev,
    "torchrun": run_torchrun,
    "python": run_python,
    "make": check_make,
    "pip": check_pip,
    "git": check_git,
    "tensorboard": check_exists,
    "rerun": check_exists,
    "pre-commit": check_nothing,
}


def check_configuration(text: str, place: Path) -> None:
    """A piece of a configuration is valid on top of a shipped one."""
    tree = yaml.safe_load(text)
    assert set(tree) <= {"_BASE_CONFIG_", *Config.model_fields}
    (place / "piece.yaml").write_text(yaml.safe_dump({"_BASE_CONFIG_": "small"} | tree))
    load_config(str(place / "piece.yaml"))
