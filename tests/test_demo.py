"""The demo, on a smaller model and data set than its own."""

from __future__ import annotations

import json
import shlex
from functools import partial
from pathlib import Path

import pytest
from tests.conftest import SMALL
from typer.main import get_command

from remembev import demo
from remembev.cli import app
from remembev.config import load_config

pytest.importorskip("nuscenes")
pytest.importorskip("lightning")


def test_the_demo_leaves_a_report_and_skips_finished_stages_when_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain = "OPTIMIZATION.PRETRAIN={EPOCHS: 1, LR: 0.001, BATCH_SIZE_PER_GPU: 1, BATCHES_PER_EPOCH: 2}"
    changes = [change for change in SMALL if "PRETRAIN" not in change and "START" not in change]
    monkeypatch.setattr(demo, "load_config", lambda name: load_config(name, [*changes, pretrain]))
    small_data = partial(demo.SimulationSettings, seconds=2.0, azimuths=180)
    monkeypatch.setattr(demo, "SimulationSettings", small_data)
    report = demo.run_demo(tmp_path, scenes=2)
    assert "RememBEV demo" in report.read_text()
    seconds = (tmp_path / "seconds.json").read_text()
    assert list(json.loads(seconds)) == [
        "simulate",
        "train",
        "score the untrained model",
        "score with memory",
        "score without memory",
        "stream and draw a scene",
    ]
    demo.run_demo(tmp_path, scenes=2)
    assert (tmp_path / "seconds.json").read_text() == seconds


@pytest.mark.parametrize("line", demo.demo_commands(Path("runs/demo"), 24))
def test_the_reports_command_lines_can_be_typed(line: str) -> None:
    command, (_, *arguments) = get_command(app), shlex.split(line)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    assert command.make_context(None, arguments).params
