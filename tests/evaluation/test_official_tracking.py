"""The official tracking score: the devkit's own, also on splits that it doesn't know, and what it says of tracks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from tests.conftest import RunCli
from torch import Tensor

pytest.importorskip("nuscenes")
pytest.importorskip("motmetrics")

from remembev import load_config
from remembev.config import Config
from remembev.data import NuScenesIndex
from remembev.errors import DataError, UserError
from remembev.evaluation import TRACKS, evaluate, score_tracking, tracking_table
from remembev.evaluation.official import OfficialTruth
from remembev.evaluation.run import TRACKING_FILE
from remembev.models import Detections

VERSION = "v1.0-sim"


@pytest.fixture(scope="module")
def index(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> NuScenesIndex:
    return NuScenesIndex.open(sim_root, VERSION, cache=tmp_path_factory.mktemp("index") / "index.safetensors")


class TrackingOracle:
    """Detects what is annotated and has a point, with the annotated ids; from a time on with others."""

    def __init__(self, index: NuScenesIndex, switch_at: float = float("inf")) -> None:
        self.cfg: Config = load_config("tiny")
        self.switch_at = switch_at
        numbers = [number for scene in range(index.num_scenes) for number in index.scene_frames(scene)]
        frames = [index.load_frame(number, self.cfg.CLASS_NAMES) for number in numbers]
        self.frames = {(frame.scene_token, frame.timestamp): frame for frame in frames}
        self.start: dict[str, float] = {}

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Detections:
        frame, start = self.frames[scene_token, timestamp], self.start.setdefault(scene_token, timestamp)
        seen = frame.num_points > 0
        ids = frame.track_ids[seen] + 10_000 * (timestamp - start >= self.switch_at)
        coasted = torch.zeros(len(ids), dtype=torch.bool)
        scores = torch.full((len(ids),), 0.5)
        return Detections(frame.boxes[seen], scores, frame.labels[seen], ~coasted, ids, coasted)

    def reset(self, scene_token: str | None = None) -> None:
        """Nothing is remembered."""

    def clear_memory(self, scene_token: str) -> None:
        """Nothing is remembered."""


def test_true_tracks_score_full_accuracy_and_no_switch(index: NuScenesIndex, tmp_path: Path) -> None:
    evaluation = evaluate(TrackingOracle(index), index, VERSION, "val", tmp_path, tracked=True, progress=False)
    assert evaluation.tracking is not None
    metrics = evaluation.tracking.metrics
    assert metrics["amota"] == pytest.approx(1.0, abs=0.02)
    assert metrics["amotp"] == pytest.approx(0.0, abs=0.02)
    assert (metrics["ids"], metrics["fp"]) == (0, 0)
    plain = json.loads((tmp_path / "metrics.json").read_text())
    assert plain["tracking"]["amota"] == metrics["amota"]
    assert "pedestrian" in plain["tracking"]["classes"]
    assert tracking_table(evaluation.tracking).row_count == 8


def test_the_score_is_the_devkits_own(index: NuScenesIndex, sim_root: Path, tmp_path: Path) -> None:
    """The devkit itself takes splits of the data set that have no name of nuScenes."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.tracking.evaluate import TrackingEval

    detector = TrackingOracle(index, switch_at=2.0)
    evaluation = evaluate(detector, index, VERSION, "sim_val", tmp_path, tracked=True, progress=False)
    own = TrackingEval(
        config=config_factory("tracking_nips_2019"),
        result_path=str(tmp_path / TRACKING_FILE),
        eval_set="sim_val",
        output_dir=str(tmp_path / "devkit"),
        nusc_version=VERSION,
        nusc_dataroot=str(sim_root),
        verbose=False,
    )
    expected = own.evaluate()[0].serialize()
    assert evaluation.tracking is not None
    assert evaluation.tracking.metrics["ids"] > 0
    for measure, value in evaluation.tracking.metrics.items():  # equal up to rounding
        assert value == pytest.approx(expected[measure], rel=1e-9, nan_ok=True)
        for label, of_class in evaluation.tracking.class_metrics.items():
            other = expected["label_metrics"][measure][label]
            assert of_class[measure] == pytest.approx(other, rel=1e-9, nan_ok=True)


def test_a_submission_without_a_box_and_one_that_lacks_samples(index: NuScenesIndex, sim_root: Path) -> None:
    truth = OfficialTruth(sim_root, VERSION, [index.scene_name(index.split_scenes("val")[0])])
    nothing: dict[str, list[object]] = {token: [] for token in truth.samples}
    assert score_tracking(truth, nothing, "nothing").metrics["amota"] == 0
    with pytest.raises(DataError, match="nothing lacks 1 of"):
        score_tracking(truth, dict(list(nothing.items())[1:]), "nothing")
    with pytest.raises(DataError, match="a submission is not accepted by the nuScenes devkit"):
        score_tracking(truth, {**nothing, truth.samples[0]: [{"tracking_id": "1"}]}, "a submission")


def test_tracks_need_the_whole_scene(index: NuScenesIndex, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="half a second"):
        evaluate(TrackingOracle(index), index, VERSION, "val", tmp_path, tracks=TRACKS, tracked=True, progress=False)


def test_without_motmetrics_the_extra_is_named_before_anything_is_detected(
    remembev: RunCli, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "motmetrics", None)
    ran = remembev("eval", "small", "--data", sim_root, "--out", tmp_path, "--track")
    assert ran.code == 1
    assert "motmetrics is not installed" in ran.err
    assert "the extra tracking" in " ".join(ran.err.split())
    assert not list(tmp_path.iterdir())
