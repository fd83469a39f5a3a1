"""``remembev view`` as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import RunCli
from tests.streaming.frames import listening_model

from remembev.models import save_checkpoint

pytest.importorskip("rerun")
pytest.importorskip("nuscenes")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_checkpoint(path, listening_model())
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines of programs that would have been started."""
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda program, **_: started.append(program))
    return started


@pytest.fixture
def view(remembev: RunCli, checkpoint: Path, sim_root: Path) -> RunCli:
    """Run the command on the simulated data set."""
    return lambda *options: remembev("view", checkpoint, "--data", sim_root, *options)


def test_a_scene_is_recorded_filmed_and_opened_if_there_is_a_display(
    view: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[list[str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPLAY", ":0")
    ran = view("--frames", 2, "--min-score", 0, "--video", "street.gif")
    assert ran.code == 0
    (recording,) = tmp_path.glob("*.rrd")
    assert recording.read_bytes().startswith(b"RRF")
    assert (tmp_path / "street.gif").read_bytes().startswith(b"GIF")
    assert opened == [[sys.executable, "-m", "rerun", recording.name]]
    assert f"{recording.name}: 2 frames" in ran.out


def test_without_a_display_the_viewer_command_is_printed(
    view: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[list[str]]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    out = tmp_path / "street.rrd"
    ran = view("--frames", 1, "--out", out)
    assert ran.code == 0
    assert not opened
    assert f"rerun --web-viewer {out}" in ran.out


@pytest.mark.parametrize(("option", "name"), [("--out", "street.mp4"), ("--video", "street.avi")])
def test_other_file_types_are_refused_before_anything_is_done(
    option: str, name: str, tmp_path: Path, remembev: RunCli
) -> None:
    ran = remembev("view", "no.safetensors", "--data", tmp_path, option, tmp_path / name)
    assert ran.code == 1
    assert name in ran.err
    assert not list(tmp_path.iterdir())
