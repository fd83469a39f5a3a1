"""``remembev view`` as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.streaming.frames import listening_model

from remembev.cli import main
from remembev.models import save_checkpoint

pytest.importorskip("rerun")
pytest.importorskip("nuscenes")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_checkpoint(path, listening_model())
    return path


def view(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command; its exit code."""
    monkeypatch.setattr("sys.argv", ["remembev", "view", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Programs that are started, none of which is."""
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda program, **_: started.append(program))
    return started


def test_a_scene_is_recorded_filmed_and_opened_where_there_is_a_display(
    checkpoint: Path,
    sim_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPLAY", ":0")
    arguments = (checkpoint, "--data", sim_root, "--frames", 2, "--min-score", 0)
    assert view(monkeypatch, *arguments, "--video", "street.gif") == 0
    (recording,) = tmp_path.glob("*.rrd")
    assert recording.read_bytes().startswith(b"RRF")
    assert (tmp_path / "street.gif").read_bytes().startswith(b"GIF")
    assert opened == [[sys.executable, "-m", "rerun", recording.name]]
    assert f"{recording.name}: 2 frames" in capsys.readouterr().out


def test_without_a_display_the_way_to_look_is_said(
    checkpoint: Path,
    sim_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    out = tmp_path / "street.rrd"
    assert view(monkeypatch, checkpoint, "--data", sim_root, "--frames", 1, "--out", out) == 0
    assert not opened
    assert f"rerun --web-viewer {out}" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "name"), [("--out", "street.mp4"), ("--video", "street.avi")])
def test_files_of_another_kind_are_refused_before_anything_is_done(
    option: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert view(monkeypatch, "no.safetensors", "--data", tmp_path, option, tmp_path / name) == 1
    assert name in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
