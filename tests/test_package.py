"""What a wheel and an installation of it hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from tests.conftest import REPOSITORY

from remembev import __version__

SOURCE = REPOSITORY / "src" / "remembev"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=REPOSITORY, check=True
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_the_package_s_version(wheel: Path) -> None:
    assert wheel.name == f"remembev-{__version__}-py3-none-any.whl"


@pytest.mark.parametrize("pattern", ["py.typed", "config/*.yaml", "weights/*.safetensors", "weights/*.md", "**/*.html"])
def test_the_wheel_holds_the_files_that_the_package_reads(wheel: Path, pattern: str) -> None:
    shipped = {f"remembev/{path.relative_to(SOURCE)}" for path in SOURCE.glob(pattern)}
    assert shipped
    with ZipFile(wheel) as archive:
        assert shipped <= set(archive.namelist())


def test_the_version_option_prints_the_version() -> None:
    done = subprocess.run([sys.executable, "-m", "remembev", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"remembev {__version__} (Python {sys.version.split()[0]}, torch ")


def test_the_citation_has_the_package_s_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == __version__
