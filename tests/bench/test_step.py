"""The comparison of steps: every way gives the same boxes, and everything that is to be measured is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.conftest import SMALL
from tests.streaming.frames import cloud, listening_model, pose

from remembev import StreamingDetector, build_model, load_config
from remembev.bench import PlainEngine, compare_steps
from remembev.bench.step import PLAIN, make_selective
from remembev.data import NuScenesIndex


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
    assert list(told["ways"]) == [PLAIN, "fp32", "bf16"]
    assert list(told["ways"][PLAIN]["stages"]) == ["voxelise", "vfe", "scatter", "backbone", "memory", "head", "nms"]
    for way in ("fp32", "bf16"):
        assert list(told["ways"][way]["stages"]) == ["pillars", "backbone", "memory", "head", "nms"]
        assert told["ways"][way]["dense_share_of_convolution"] > 0
        for stage in told["ways"][way]["stages"].values():
            assert stage["median_ms"] > 0
            assert stage["floor_ms"] > 0
            assert stage["bytes"] > 0
    operations = [told["ways"][way]["stages"]["backbone"]["operations"] for way in told["ways"]]
    assert operations[0] == operations[1] == operations[2] > 0
    assert told["bytes_per_s"] > 0
