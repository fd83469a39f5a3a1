"""Going through scenes as a stream: order, memory, files, and detections that are known to be right."""

import json
import math
from collections import Counter
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.conftest import awaken
from torch import Tensor

from remembev.config import Config, load_config
from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation import TRACKS, evaluate, evaluate_checkpoint, evaluation_table
from remembev.evaluation.detecting import SceneDetector
from remembev.evaluation.observability import track_observability
from remembev.evaluation.occupancy import score_occupancy
from remembev.models import Detections, build_model
from remembev.models.checkpoint import save_checkpoint
from remembev.streaming import StreamingDetector, stream_scene

pytest.importorskip("nuscenes")
VERSION = "v1.0-sim"


@pytest.fixture(scope="session")
def index(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> NuScenesIndex:
    return NuScenesIndex.open(sim_root, VERSION, cache=tmp_path_factory.mktemp("index") / "index.safetensors")


class Recorder:
    """Detects nothing and remembers what it was given: ``calls`` has each frame's scene, time and number in memory."""

    def __init__(self) -> None:
        self.cfg: Config = load_config("tiny")
        self.calls: list[tuple[str, float, int]] = []
        self.remembered: Counter[str] = Counter()

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Detections:
        assert points.shape[1] == 5
        assert pose.dtype == torch.float64
        self.calls.append((scene_token, timestamp, self.remembered[scene_token]))
        self.remembered[scene_token] += 1
        return Detections(torch.zeros(0, 9), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    def reset(self, scene_token: str | None = None) -> None:
        if scene_token is None:
            self.remembered.clear()
        else:
            self.remembered.pop(scene_token, None)

    def clear_memory(self, scene_token: str) -> None:
        self.reset(scene_token)


class Oracle(Recorder):
    """Detects what is annotated and has a point."""

    def __init__(self, index: NuScenesIndex) -> None:
        super().__init__()
        numbers = [number for scene in range(index.num_scenes) for number in index.scene_frames(scene)]
        frames = [index.load_frame(number, self.cfg.CLASS_NAMES) for number in numbers]
        self.frames = {(frame.scene_token, frame.timestamp): frame for frame in frames}

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Detections:
        frame = self.frames[scene_token, timestamp]
        seen = frame.num_points > 0
        return Detections(frame.boxes[seen], torch.full((int(seen.sum()),), 0.5), frame.labels[seen])


def test_scenes_are_streamed_in_order_of_time_with_an_empty_memory_at_the_start_of_each(index: NuScenesIndex) -> None:
    frames = {scene: [index.load_frame(n) for n in index.scene_frames(scene)] for scene in (0, 1)}
    expected = [
        (frame.scene_token, frame.timestamp, number) for scene in (1, 0) for number, frame in enumerate(frames[scene])
    ]
    detector = Recorder()
    detect = SceneDetector(detector, index, ["unbounded"], use_memory=True)
    for _ in range(2):
        records = [record for scene in (1, 0) for record in detect(scene).records["unbounded"]]
    assert detector.calls == 2 * expected
    assert [record["timestamp"] for record in records] == [time for _, time, _ in expected]
    assert [record["scene"] for record in records] == [index.scene_name(s) for s in (1, 0) for _ in frames[s]]


def test_half_a_second_of_memory_starts_empty_at_every_key_frame_and_steps_through_earlier_clouds(
    index: NuScenesIndex,
) -> None:
    """Without sweeps that is the key frame before."""
    detector = Recorder()
    records = SceneDetector(detector, index, TRACKS, use_memory=True)(0).records
    frames = [index.load_annotations(number) for number in index.scene_frames(0)]
    whole, half = detector.calls[: len(frames)], detector.calls[len(frames) :]
    assert [remembered for _, _, remembered in whole] == list(range(len(frames)))
    assert [remembered for _, _, remembered in half] == [0, *([0, 1] * (len(frames) - 1))]
    times = [frame.timestamp for frame in frames]
    expected = [times[0], *(time for pair in pairwise(times) for time in pair)]
    assert [time for _, time, _ in half] == pytest.approx(expected, abs=1e-6)
    half_second, unbounded = ([record["sample_token"] for record in records[track]] for track in reversed(TRACKS))
    assert half_second == unbounded


@pytest.mark.parametrize("single", ["without its memory", "single frames"])
def test_tracks_of_a_detector_without_memory_share_one_run(index: NuScenesIndex, single: str) -> None:
    detector = Recorder()
    if single == "single frames":
        detector.cfg = load_config("tiny", ["MODEL.MEMORY.FUSION=none"])
    records = SceneDetector(detector, index, TRACKS, use_memory=single != "without its memory")(0).records
    assert len(detector.calls) == len(index.scene_frames(0))
    assert records["unbounded"] == records["half_second"]


def test_without_memory_every_frame_is_a_first_frame(index: NuScenesIndex) -> None:
    detector = Recorder()
    SceneDetector(detector, index, ["unbounded"], use_memory=False)(0)
    assert [remembered for _, _, remembered in detector.calls] == [0] * len(index.scene_frames(0))


def test_the_occupancy_of_a_memory_is_scored_in_the_same_pass(
    small_cfg: Config, index: NuScenesIndex, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    detector = StreamingDetector(awaken(build_model(small_cfg)))
    evaluation = evaluate(detector, index, VERSION, "val", tmp_path, progress=False)
    maps, frames = [], []
    for scene in index.split_scenes("val"):
        detector.reset()
        for _, detections in stream_scene(detector, index, scene):
            maps.append(detections.occupancy)
        annotated = (index.load_annotations(number, small_cfg.CLASS_NAMES) for number in index.scene_frames(scene))
        frames += track_observability(annotated, small_cfg.DATA_CONFIG.POINT_CLOUD_RANGE)
    expected = score_occupancy(frames, maps, small_cfg.memory_grid)
    assert expected is not None
    assert evaluation.measures.occupancy == expected
    assert json.loads((tmp_path / "metrics.json").read_text())["occupancy"]["auc_seen"] == expected.auc_seen


def test_ground_truth_boxes_score_full_precision_and_no_geometric_error(index: NuScenesIndex, tmp_path: Path) -> None:
    evaluation = evaluate(Oracle(index), index, VERSION, "val", tmp_path, progress=False)
    annotated = [name for name, ap in evaluation.score.class_ap.items() if ap > 0]
    assert len(annotated) >= 4
    for name in annotated:
        errors = evaluation.score.class_errors[name]
        assert evaluation.score.class_ap[name] == pytest.approx(1.0)
        assert errors["mATE"] < 1e-3
        assert errors["mASE"] < 1e-4
        if name != "traffic_cone":
            assert errors["mAOE"] < 2e-2
        if name not in ("traffic_cone", "barrier"):
            assert errors["mAVE"] < 2e-2


class Rememberer(Oracle):
    """Detects everything that is annotated, and calls what has no point remembered."""

    def step(self, points: Tensor, pose: Tensor, timestamp: float, scene_token: str) -> Detections:
        frame = self.frames[scene_token, timestamp]
        scores = torch.where(frame.num_points > 0, 0.5, 0.75)
        return Detections(frame.boxes, scores, frame.labels, frame.num_points > 0)


def test_remembered_boxes_are_always_measured_but_only_submitted_on_request(
    index: NuScenesIndex, tmp_path: Path
) -> None:
    scores = {}
    for remembered in (False, True):
        out = tmp_path / str(remembered)
        evaluation = evaluate(Rememberer(index), index, VERSION, "val", out, remembered=remembered, progress=False)
        scores[remembered] = evaluation.score.mean_ap
        records = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
        submitted = json.loads((out / "submission.json").read_text())["results"]
        assert list(submitted) == [record["sample_token"] for record in records]
        for record in records:
            observed = sum(box["observed"] for box in record["boxes"])
            assert len(submitted[record["sample_token"]]) == (len(record["boxes"]) if remembered else observed)
        assert any(not box["observed"] for record in records for box in record["boxes"])
        permanence = evaluation.measures.permanence
        assert permanence.objects[-1] > 0
        assert permanence.at(4.0, 1.0) == 1.0
        assert evaluation.measures.flicker.found_share == 1.0
        assert evaluation.measures.flicker.lost_per_track == 0.0
        hidden = evaluation.measures.velocity_error_by_level["hidden"].values()
        assert all(error < 2e-2 for error in hidden if not math.isnan(error))
        assert all(row.recall == 1.0 for row in evaluation.measures.age if row.subset.objects)
    assert scores[False] > scores[True]


def test_subsets_of_the_official_objects_cover_each_object_once(index: NuScenesIndex, tmp_path: Path) -> None:
    evaluation = evaluate(Oracle(index), index, VERSION, "val", tmp_path, progress=False)
    measures = evaluation.measures
    levels, times, ages = measures.visibility.values(), measures.last_seen, measures.age
    groups = [[*levels], [row.subset for row in times], [row.subset for row in ages]]
    assert len({sum(subset.objects for subset in group) for group in groups}) == 1
    assert [(row.from_frame, row.to_frame) for row in ages] == [(1, 1), (2, 2), (3, 4), (5, 8)]
    for subset in (subset for group in groups for subset in group):
        assert math.isnan(subset.score.mean_ap) if subset.objects == 0 else subset.score.mean_ap == pytest.approx(1.0)
    for name, curve in measures.precision_recall.items():
        assert curve.recall == pytest.approx([step / 100 for step in range(101)])
        assert curve.precision == pytest.approx([float(evaluation.score.class_ap[name] > 0)] * 101)


def test_a_detector_without_boxes_scores_zero_and_submits_every_sample(index: NuScenesIndex, tmp_path: Path) -> None:
    evaluation = evaluate(Recorder(), index, VERSION, "val", tmp_path, use_memory=False, progress=False)
    assert evaluation.score.mean_ap == evaluation.score.nds == 0.0
    results = json.loads((tmp_path / "submission.json").read_text())["results"]
    frames = [index.load_frame(n) for scene in index.split_scenes("val") for n in index.scene_frames(scene)]
    assert results == {frame.sample_token: [] for frame in frames}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["with_memory"] is False
    assert metrics["frames"] == len(frames)
    assert metrics["mean_ap"] == 0.0


def test_limit_scenes_evaluates_the_first_scenes_only(index: NuScenesIndex, tmp_path: Path) -> None:
    evaluation = evaluate(Recorder(), index, VERSION, "train", tmp_path, limit_scenes=1, progress=False)
    assert evaluation.frames == len(index.scene_frames(index.split_scenes("train")[0]))


def test_an_unknown_split_is_named_with_the_known_ones(index: NuScenesIndex, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'tset'.*train.*val|'tset'.*val.*train"):
        evaluate(Recorder(), index, VERSION, "tset", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_evaluated_with_and_without_its_memory(
    sim_root: Path, small_cfg: Config, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    checkpoint = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, build_model(small_cfg))
    for use_memory in (True, False):
        out = tmp_path / str(use_memory)
        evaluation = evaluate_checkpoint(
            checkpoint, sim_root, out, use_memory=use_memory, tracks=TRACKS, limit_scenes=1, progress=False
        )
        assert evaluation is not None
        metrics = json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail)
        assert metrics == json.loads(json.dumps(evaluation.to_json()))
        assert metrics["tracks"]["unbounded"]["nds"] == metrics["nds"]
        shown = StringIO()
        Console(file=shown, width=100).print(evaluation_table(evaluation))
        for head in (
            "memory",
            "visibility",
            "last well seen",
            "frame of the stream",
            "hidden",
            "flicker",
            "velocity",
        ):
            assert head in shown.getvalue()
        assert evaluation.with_memory is use_memory
        assert evaluation.split == "val"
        assert 0.0 <= evaluation.score.mean_ap < 0.05


def test_a_set_of_scenes_is_also_measured_by_itself(
    index: NuScenesIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"all": [0, 1, 2, 3], "all_far": [0, 3], "all_empty": [], "other": [1], "far": [0, 3]}
    monkeypatch.setattr(NuScenesIndex, "splits", list(splits))
    monkeypatch.setattr(NuScenesIndex, "split_scenes", lambda _, name: splits[name])
    whole, alone = (
        evaluate(Oracle(index), index, VERSION, split, tmp_path / split, progress=False) for split in ("all", "far")
    )
    assert list(whole.measures.sets) == ["all_far"]
    far = whole.measures.sets["all_far"]
    assert far.subset.score.class_ap.items() <= alone.score.class_ap.items()
    assert far.subset.objects == sum(subset.objects for subset in alone.measures.visibility.values())
    assert repr(far.permanence) == repr(alone.measures.permanence)
    assert alone.measures.sets == {}
    written = json.loads((tmp_path / "all" / "metrics.json").read_text())
    assert written["sets"]["all_far"]["nds"] == far.subset.score.nds
