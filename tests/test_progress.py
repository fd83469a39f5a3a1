"""Progress: every item comes through; without a terminal a line says how far the work is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from remembev import progress
from remembev.progress import ProgressLines, with_progress


def test_every_item_comes_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress(iter("abc"), "Reading", 3)) == ["a", "b", "c"]
    assert list(with_progress(iter("abc"), "Reading", 3, disable=True)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


def test_a_line_comes_every_half_minute_and_says_how_long_the_rest_takes() -> None:
    out, now = io.StringIO(), [0.0]
    lines = ProgressLines("Simulating scenes", 200, Console(file=out), clock=lambda: now[0])
    for _ in range(100):
        now[0] += 1.0
        lines.advance()
    assert out.getvalue().splitlines() == [
        "Simulating scenes: 30 of 200; 0:30 gone, about 2:50 left",
        "Simulating scenes: 60 of 200; 1:00 gone, about 2:20 left",
        "Simulating scenes: 90 of 200; 1:30 gone, about 1:50 left",
    ]


def test_a_resumed_run_estimates_from_its_own_steps() -> None:
    out, now = io.StringIO(), [0.0]
    lines = ProgressLines("Training", 8000, Console(file=out), done=7000, clock=lambda: now[0])
    now[0] = 3600.0
    lines.advance(500, note=", loss 1.250")
    assert out.getvalue() == "Training: 7500 of 8000, loss 1.250; 1:00:00 gone, about 1:00:00 left\n"


def test_items_count_their_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    list(with_progress([3, 4], "Detecting frames", 7, size=lambda frames: frames))
    assert [line.split(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "Detecting frames: 3 of 7",
        "Detecting frames: 7 of 7",
    ]
