"""The scripts in examples/ run as their docstrings say, and show what they promise."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


def example(name: str) -> Callable[[list[str]], Any]:
    """Return an example's ``main``."""
    main: Callable[[list[str]], Any] = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    return main


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(path: Path) -> None:
    assert f"python examples/{path.name}" in path.read_text(encoding="utf-8").split('"""')[1]


def test_a_log_gives_boxes_of_every_frame(tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    out = tmp_path / "boxes.jsonl"
    example("stream_a_log")(["--frames", "2", "--out", str(out)])
    frames = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(frames) == 2
    for frame in frames:
        assert frame["names"]
        assert {len(box) for box in frame["boxes"]} == {9}


def test_a_detector_with_the_memory_learns_what_single_frames_cannot() -> None:
    losses = example("add_memory_to_your_detector")(["--steps", "25"])
    before, after = losses["with memory"]
    assert after < before / 5
    assert after < losses["single frames"][1] / 2


def test_own_data_is_written_trained_on_and_scored(tmp_path: Path) -> None:
    pytest.importorskip("nuscenes")
    pytest.importorskip("lightning")
    example("train_on_your_data")(["--out", str(tmp_path), "--epochs", "1", "--batches", "1"])
    assert (tmp_path / "run" / "model.safetensors").is_file()
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert metrics["frames"] == 6
