"""Going through scenes as a stream: order, memory, files, and detections that are known to be right."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from remembev.config import Config, load_config
from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation import detect_scenes, evaluate, evaluate_checkpoint
from remembev.models import Detections, build_model
from remembev.models.checkpoint import save_checkpoint

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
    detect_scenes(detector, index, [1, 0], progress=False)
    assert detector.calls == expected
    detect_scenes(detector, index, [1, 0], progress=False)
    assert detector.calls == 2 * expected


def test_without_memory_every_frame_is_the_first_one(index: NuScenesIndex) -> None:
    detector = Recorder()
    detect_scenes(detector, index, [0], use_memory=False, progress=False)
    assert [remembered for _, _, remembered in detector.calls] == [0] * len(index.scene_frames(0))


def test_ground_truth_boxes_as_detections_score_full_precision_and_no_geometric_error(
    index: NuScenesIndex, tmp_path: Path
) -> None:
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


def test_a_detector_that_sees_nothing_scores_zero_and_every_sample_is_in_its_submission(
    index: NuScenesIndex, tmp_path: Path
) -> None:
    evaluation = evaluate(Recorder(), index, VERSION, "val", tmp_path, use_memory=False, progress=False)
    assert evaluation.score.mean_ap == evaluation.score.nds == 0.0
    results = json.loads((tmp_path / "submission.json").read_text())["results"]
    frames = [index.load_frame(n) for scene in index.split_scenes("val") for n in index.scene_frames(scene)]
    assert results == {frame.sample_token: [] for frame in frames}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["with_memory"] is False
    assert metrics["frames"] == len(frames)
    assert metrics["mean_ap"] == 0.0


def test_only_the_first_scenes_are_evaluated_where_that_is_asked_for(index: NuScenesIndex, tmp_path: Path) -> None:
    evaluation = evaluate(Recorder(), index, VERSION, "train", tmp_path, limit_scenes=1, progress=False)
    assert evaluation.frames == len(index.scene_frames(index.split_scenes("train")[0]))


def test_an_unknown_split_is_named_with_those_there_are(index: NuScenesIndex, tmp_path: Path) -> None:
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
        evaluation = evaluate_checkpoint(
            checkpoint, sim_root, tmp_path / str(use_memory), use_memory=use_memory, limit_scenes=1, progress=False
        )
        assert evaluation.with_memory is use_memory
        assert evaluation.split == "val"
        assert 0.0 <= evaluation.score.mean_ap < 0.05
