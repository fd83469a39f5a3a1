"""The comparison of steps: every way gives the same boxes, and everything that is to be measured is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.conftest import SMALL
from tests.streaming.frames import cloud, listening_model, pose

from remembev import StreamingDetector, build_model, load_config
from remembev.bench import PlainEngine, compare_steps
from remembev.bench.step import PLAIN, make_selective
from remembev.bench.table import step_table
from remembev.data import NuScenesIndex
from remembev.precision import has_fast_bf16


@pytest.mark.parametrize(
    "overrides", [[], ["MODEL.DENSE_HEAD.USE_DIRECTION_CLASSIFIER=true"], ["MODEL.VFE.NAME=PillarVFE"]]
)
def test_openpcdets_way_finds_the_same_boxes(overrides: list[str]) -> None:
    model = listening_model(*overrides)
    ours, plain = StreamingDetector(model), StreamingDetector(PlainEngine(model))
    for number in range(3):
        frame = cloud(number), pose(number), 0.5 * number, "a"
        one, other = ours.step(*frame), plain.step(*frame)
        assert len(one) == len(other) > 0
        for label in range(len(model.cfg.CLASS_NAMES)):
            found, expected = one[one.labels == label], other[other.labels == label]
            torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)


def test_a_fresh_model_is_given_as_many_candidates_as_a_trained_one_has(sim_root: Path) -> None:
    index = NuScenesIndex.open(sim_root, "v1.0-sim")
    model = build_model(load_config("tiny", SMALL))
    make_selective(model, index, 0)
    frame = index.load_frame(0, model.cfg.CLASS_NAMES)
    batch_dict = {"points": frame.points[None], "num_points": torch.tensor([len(frame.points)])}
    batch_dict, _ = model.step(batch_dict, model.memory.initial_state(1))
    scores = torch.cat([output.cls_preds.sigmoid().flatten() for output in batch_dict["predictions"]])
    assert 295 <= int((scores >= model.cfg.MODEL.POST_PROCESSING.SCORE_THRESH - 1e-6).sum()) <= 305


def test_every_stage_of_every_way_has_a_time_and_a_floor(sim_root: Path) -> None:
    index = NuScenesIndex.open(sim_root, "v1.0-sim")
    torch.manual_seed(0)
    report = compare_steps(build_model(load_config("tiny", SMALL)), index, 0, frames=2)
    told = json.loads(json.dumps(report.to_json()))
    ways = ["fp32", "bf16"] if has_fast_bf16(torch.device("cpu")) else ["fp32"]
    assert list(told["ways"]) == [PLAIN, *ways]
    assert list(told["ways"][PLAIN]["stages"]) == [
        *("check", "voxelise", "vfe", "scatter", "backbone", "memory", "head", "nms", "observe")
    ]
    for way in ways:
        assert list(told["ways"][way]["stages"]) == [
            *("check", "pillars", "backbone", "memory", "head", "nms", "observe")
        ]
        assert told["ways"][way]["dense_share_of_convolution"] > 0
        for name, stage in told["ways"][way]["stages"].items():
            assert stage["median_ms"] > 0
            assert name == "observe" or min(stage["floor_ms"], stage["bytes"]) > 0  # there may be no box
    operations = [told["ways"][way]["stages"]["backbone"]["operations"] for way in told["ways"]]
    assert operations[0] > 0
    assert len(set(operations)) == 1
    assert told["bytes_per_s"] > 0


def test_where_bfloat16_is_slow_it_is_not_a_way(sim_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remembev.bench.step.has_fast_bf16", lambda device: False)
    index = NuScenesIndex.open(sim_root, "v1.0-sim")
    report = compare_steps(build_model(load_config("tiny", SMALL)), index, 0, frames=1)
    assert list(report.times) == [PLAIN, "fp32"]
    assert report.rates.dtypes == (torch.float32,)
    table = Console(width=200)
    with table.capture() as shown:
        table.print(step_table(report, "a title"))
    assert "bf16" not in shown.get()
