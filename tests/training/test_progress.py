"""Lines on a training where output is no terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.test_pretrain import QUICK

from remembev import load_config, progress
from remembev.training import train


def test_a_training_says_how_far_it_is(
    sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    train(load_config("tiny", [*QUICK, "OPTIMIZATION.NUM_EPOCHS=2"]), sim_root, tmp_path, workers=0)
    lines = capsys.readouterr().err.splitlines()
    steps = [line.split(", loss")[0] for line in lines if "step: " in line]
    assert steps == [
        "Training on single frames, step: 1 of 1",
        "Training on clips of 3 frames, step: 1 of 2",
        "Training on clips of 3 frames, step: 2 of 2",
    ]
    assert all(", loss " in line for line in lines if "step: " in line)
