"""The measurement of training steps: what is measured, how, and what is left of it."""

from __future__ import annotations

import json
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SMALL

from remembev.bench import train as bench
from remembev.bench.train import StepCost, bench_training
from remembev.cli import main
from remembev.config import Config

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak CPU memory can only be measured on Linux")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures in this process, which is quicker than new ones."""

    class Here:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None: ...

        def submit(self, function: Any, *arguments: Any) -> Future[Any]:
            future: Future[Any] = Future()
            try:
                future.set_result(function(*arguments))
            except torch.OutOfMemoryError as error:
                future.set_exception(error)
            return future

    monkeypatch.setattr(bench, "ProcessPoolExecutor", Here)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.usefixtures("here")
def test_each_length_is_measured_in_each_way_and_one_that_needs_too_much_memory_is_told_apart(
    small_cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(cfg: Config, *_: object) -> tuple[int, float]:
        length, optimization = cfg.DATA_CONFIG.SEQ_LEN, cfg.OPTIMIZATION
        if length == 4 and not optimization.ACTIVATION_CHECKPOINTING and optimization.TBPTT_FRAMES is None:
            raise torch.OutOfMemoryError
        return 10 * length + (optimization.TBPTT_FRAMES or 0), 2.0 if optimization.ACTIVATION_CHECKPOINTING else 1.0

    monkeypatch.setattr(bench, "_measure", measure)
    assert list(bench_training(small_cfg, Path(), [2, 4], tbptt_frames=3)) == [
        StepCost(2, "whole clip", 20, 1.0),
        StepCost(2, "ACTIVATION_CHECKPOINTING", 20, 2.0),
        StepCost(2, "TBPTT_FRAMES: 3", 23, 1.0),
        StepCost(4, "whole clip", None, None),
        StepCost(4, "ACTIVATION_CHECKPOINTING", 40, 2.0),
        StepCost(4, "TBPTT_FRAMES: 3", 43, 1.0),
    ]


@pytest.mark.usefixtures("here")
def test_the_command_shows_and_leaves_memory_and_time_of_real_steps(
    sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [part for change in SMALL for part in ("--set", change)]
    options = ["--lengths", "2", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["remembev", "bench", "train", "tiny", "--data", str(sim_root), *options, *changes])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    costs = json.loads((tmp_path / "training.json").read_text())["costs"]
    assert [cost["way"] for cost in costs] == ["whole clip", "ACTIVATION_CHECKPOINTING", "TBPTT_FRAMES: 2"]
    for cost in costs:
        assert f"{cost['peak_bytes'] / 2**20:,.0f}" in shown
        assert f"{cost['seconds']:.2f}" in shown
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


def test_frames_of_truncation_are_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def measure(*_: object, tbptt_frames: int, device: str) -> list[StepCost]:
        measured.append(tbptt_frames)
        return []

    monkeypatch.setattr("remembev.bench.bench_training", measure)
    monkeypatch.setattr(
        "sys.argv", ["remembev", "bench", "train", "tiny", "--data", ".", "--tbptt-frames", "5", "--json"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert measured == [5]
