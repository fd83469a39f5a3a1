"""The command line as a user types it: the line from a data set to boxes, and mistakes said in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.config.openpcdet_files import HEADS, write_openpcdet
from tests.conftest import SMALL
from tests.models.openpcdet_reference import random_weights

from remembev.cli import main
from remembev.config import Config, apply_variant, load_config
from remembev.data.bench import LoaderSpeed, bench_loader
from remembev.models import build_model, save_checkpoint
from remembev.ops.bench import bench_memory_read
from remembev.training import TrainingRun


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that finds boxes although nobody trained it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    finds_few = "MODEL.POST_PROCESSING={SCORE_THRESH: 0.0099, NMS_CONFIG: {NMS_PRE_MAXSIZE: 20, NMS_POST_MAXSIZE: 5}}"
    save_checkpoint(path, build_model(load_config("tiny", [*SMALL, finds_few])))
    return path


def remembev(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command; its exit code."""
    monkeypatch.setattr("sys.argv", ["remembev", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "error:" in shown
    return " ".join(shown.split())


def test_training_evaluation_and_streaming_follow_each_other(
    sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    changes = [part for change in SMALL for part in ("--set", change)]
    assert remembev(monkeypatch, "train", "tiny", "--data", sim_root, "--out", run, *changes) == 0
    weights = run / "model.safetensors"
    capsys.readouterr()
    assert remembev(monkeypatch, "eval", weights, "--data", sim_root, "--json") == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["with_memory"] is True
    assert 0 <= metrics["nds"] <= 1
    assert json.loads((run / "eval" / "metrics.json").read_text()) == metrics
    assert remembev(monkeypatch, "eval", weights, "--data", sim_root, "--no-memory") == 0
    assert "NDS" in capsys.readouterr().out
    assert json.loads((run / "eval-no-memory" / "metrics.json").read_text())["with_memory"] is False


def test_a_variant_of_a_configuration_is_trained_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[Config] = []
    monkeypatch.setattr(
        "remembev.training.train", lambda cfg, data, out, **_: trained.append(cfg) or TrainingRun(tmp_path)
    )
    arguments = ("train", "small", "--data", tmp_path, "--out", tmp_path, "--set", "OPTIMIZATION.LR=0.5")
    assert remembev(monkeypatch, *arguments, "--variant", "sweeps+gate") == 0
    assert trained == [apply_variant(load_config("small", ["OPTIMIZATION.LR=0.5"]), "sweeps+gate")]
    assert remembev(monkeypatch, *arguments, "--variant", "gait") == 1
    assert "did you mean gate?" in error(capsys)


def test_a_stream_writes_its_boxes_and_a_moving_picture(
    checkpoint: Path, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, movie = tmp_path / "boxes.jsonl", tmp_path / "scene.gif"
    assert remembev(monkeypatch, "stream", checkpoint, "--data", sim_root, "--out", boxes, "--movie", movie) == 0
    frames = [json.loads(line) for line in boxes.read_text().splitlines()]
    assert len(frames) == 8
    assert any(frame["boxes"] for frame in frames)
    assert movie.read_bytes().startswith(b"GIF")


def test_the_demo_streams_a_street_with_shipped_weights_and_leaves_a_moving_picture(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("remembev.models.checkpoint.SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    assert remembev(monkeypatch, "stream", "--demo") == 1
    assert "small_sweeps_read: no such file, and no shipped weights (none)" in error(capsys)
    (tmp_path / "shipped").mkdir()
    shutil.copy(checkpoint, tmp_path / "shipped" / "small_sweeps_read.safetensors")
    assert remembev(monkeypatch, "stream", "--demo", "--frames", 2) == 0
    assert "0.50 s" in capsys.readouterr().out
    assert (tmp_path / "remembev-demo.gif").read_bytes().startswith(b"GIF")
    assert remembev(monkeypatch, "stream", "--demo", "--data", tmp_path) == 1
    assert "--demo brings its scene along" in error(capsys)
    assert remembev(monkeypatch, "stream", checkpoint) == 2
    assert "or --demo" in capsys.readouterr().err


def test_a_live_stream_is_drawn_in_the_terminal(
    checkpoint: Path, sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remembev(monkeypatch, "stream", checkpoint, "--data", sim_root, "--live", "--frames", 2) == 0
    shown = capsys.readouterr().out
    assert "sim-0002" in shown
    assert "gate lets through" in shown


def test_a_stream_stopped_and_gone_on_with_writes_the_boxes_of_one_that_never_stopped(
    checkpoint: Path,
    sim_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state, written = tmp_path / "state.safetensors", {}
    parts = {
        "whole": (),
        "first": ("--frames", 3, "--save-state", state),
        "rest": ("--load-state", state, "--save-state", state),
    }
    for name, options in parts.items():
        boxes = tmp_path / f"{name}.jsonl"
        assert remembev(monkeypatch, "stream", checkpoint, "--data", sim_root, "--out", boxes, *options) == 0
        written[name] = boxes.read_text()
    assert len(written["first"].splitlines()) == 3
    assert written["first"] + written["rest"] == written["whole"]
    assert remembev(monkeypatch, "stream", checkpoint, "--data", sim_root, "--load-state", state) == 1
    assert "has no frame after the one that" in error(capsys)


def test_a_scene_is_not_asked_for_beside_a_saved_one(
    checkpoint: Path, sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("stream", checkpoint, "--data", sim_root, "--scene", "scene-0001", "--load-state", "state.safetensors")
    assert remembev(monkeypatch, *arguments) == 1
    assert "leave --scene out" in error(capsys)


def test_the_benchmark_of_a_stream_compares_early_with_late_and_leaves_every_step_and_a_picture(
    checkpoint: Path,
    sim_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("bench", checkpoint, "--data", sim_root, "--stream", 20)
    assert remembev(monkeypatch, *arguments, "--out", tmp_path, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["frames"], said["early"], said["late"]) == (20, [2, 4], [18, 20])
    assert said["medians"]["state_bytes"]["within_5_percent"] is True
    assert len((tmp_path / "stream.csv").read_text().splitlines()) == 21
    assert (tmp_path / "stream.png").read_bytes().startswith(b"\x89PNG")
    assert remembev(monkeypatch, *arguments) == 1
    assert "say where with --out" in error(capsys)


def test_the_benchmark_names_every_stage_of_a_step(
    checkpoint: Path, sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remembev(monkeypatch, "bench", checkpoint, "--data", sim_root, "--frames", 2, "--json") == 0
    for name, way in json.loads(capsys.readouterr().out)["ways"].items():
        first = ["voxelise", "vfe", "scatter"] if name == "plain" else ["pillars"]
        times = {stage: found["median_ms"] for stage, found in way["stages"].items()}
        assert list(times) == [*first, "backbone", "memory", "head", "nms"]
        assert sum(times.values()) < 1.5 * way["median_ms"]


def test_the_benchmark_of_the_loader_is_a_table_by_workers(
    sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_worker(cfg: Config, data: Path) -> Iterator[LoaderSpeed]:
        return bench_loader(cfg, data, [0], clips=2)

    monkeypatch.setattr("remembev.data.bench.bench_loader", one_worker)
    changes = [part for change in SMALL for part in ("--set", change)]
    assert remembev(monkeypatch, "bench", "tiny", "--data", sim_root, "--loader", *changes, "--json") == 0
    speed = json.loads(capsys.readouterr().out)[0]
    assert speed["workers"] == 0
    assert speed["frames_per_second"] > 0
    assert remembev(monkeypatch, "bench", "tiny", "--data", sim_root, "--loader", *changes) == 0
    assert "frames a second" in " ".join(capsys.readouterr().out.split())


def test_benchmarks_of_their_own_are_not_mixed(
    sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remembev(monkeypatch, "bench", "tiny", "--data", sim_root, "--loader", "--training") == 2
    assert "ask for one" in capsys.readouterr().err


def test_the_benchmark_of_fresh_weights_is_a_table_with_floors(
    sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [part for override in SMALL for part in ("--set", override)]
    assert remembev(monkeypatch, "bench", "tiny", "--data", sim_root, "--frames", 2, *changes) == 0
    shown = capsys.readouterr().out
    for word in ("plain", "fp32", "floor", "bf16", "pillars", "times as fast", "reached meanwhile"):
        assert word in shown


def test_the_benchmark_of_the_read_has_the_models_sizes(
    checkpoint: Path, sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = partial(replace, tokens=200, queries=50)
    monkeypatch.setattr("remembev.ops.bench.bench_memory_read", lambda size: bench_memory_read(small(size), repeats=1))
    assert remembev(monkeypatch, "bench", checkpoint, "--data", sim_root, "--read", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size"] == {"tokens": 200, "queries": 50, "key_dim": 8, "value_dim": 8, "top_k": 16}
    assert found["dense"]["seconds"] > 0
    assert found["kernel"]["seconds"] > 0


def test_a_stream_in_bfloat16_rounds_scores(
    checkpoint: Path, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = []
    for precision in ("fp32", "bf16"):
        out = tmp_path / f"{precision}.jsonl"
        arguments = ("stream", checkpoint, "--data", sim_root, "--out", out, "--frames", 1, "--precision", precision)
        assert remembev(monkeypatch, *arguments) == 0
        scores.append([box["score"] for box in json.loads(out.read_text())["boxes"]])
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_a_key_that_does_not_exist_is_named_with_the_one_that_is_meant(
    sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("train", "tiny", "--data", sim_root, "--out", tmp_path / "run", "--set", "MODEL.MEMORY.TOPK=3")
    assert remembev(monkeypatch, *arguments) == 1
    assert "MODEL.MEMORY.TOPK: no such key; did you mean TOP_K?" in error(capsys)
    assert not (tmp_path / "run").exists()


def test_a_clip_longer_than_its_scene_is_said_with_its_length_and_leaves_nothing(
    sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("train", "tiny", "--data", sim_root, "--out", tmp_path / "run", "--set", "DATA_CONFIG.SEQ_LEN=50")
    assert remembev(monkeypatch, *arguments) == 1
    assert "50 key frames" in error(capsys)
    assert not (tmp_path / "run").exists()


def test_a_missing_table_is_named(
    checkpoint: Path,
    sim_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "root"
    shutil.copytree(sim_root / "v1.0-sim", root / "v1.0-sim", ignore=shutil.ignore_patterns("*.safetensors"))
    (root / "v1.0-sim" / "ego_pose.json").unlink()
    assert remembev(monkeypatch, "stream", checkpoint, "--data", root) == 1
    assert "ego_pose.json" in error(capsys)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_point_file_is_named_by_the_loader_and_its_processes(
    workers: int, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    shutil.copytree(sim_root, root)
    for cloud in (root / "samples" / "LIDAR_TOP").iterdir():
        cloud.write_bytes(cloud.read_bytes()[:1003])
    changes = [part for change in [*SMALL, "OPTIMIZATION.NUM_WORKERS=1"] for part in ("--set", change)]
    arguments = ("train", "tiny", "--data", root, "--out", tmp_path / "run", "--workers", workers, *changes)
    assert remembev(monkeypatch, *arguments) == 1
    assert ".pcd.bin" in error(capsys)


def test_a_checkpoint_of_another_shape_is_named(
    checkpoint: Path,
    sim_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from safetensors import safe_open

    weights = load_file(checkpoint)
    with safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    weights["memory.xmem.nothing_read"] = torch.zeros(3)
    other = tmp_path / "other.safetensors"
    save_file(weights, other, metadata=metadata)
    assert remembev(monkeypatch, "eval", other, "--data", sim_root, "--out", tmp_path / "eval") == 1
    message = error(capsys)
    assert "other.safetensors" in message
    assert "memory.xmem.nothing_read" in message
    assert not (tmp_path / "eval").exists()


def test_a_scene_that_is_not_there_is_named(
    checkpoint: Path, sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remembev(monkeypatch, "stream", checkpoint, "--data", sim_root, "--scene", "nowhere") == 1
    assert "no scene 'nowhere'" in error(capsys)


def test_a_detector_of_openpcdets_comes_over_is_streamed_and_is_trained_on(
    sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, yaml_file = tmp_path / "model.pth", write_openpcdet(tmp_path / "tools")
    torch.save({"model_state": random_weights([len(names) for names in HEADS])}, weights)
    out = tmp_path / "imported.safetensors"
    changes = [
        "DATA_CONFIG.VERSION=v1.0-sim",
        "DATA_CONFIG.POINT_CLOUD_RANGE=[-6.4, -6.4, -5.0, 6.4, 6.4, 3.0]",
        "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING=null",
        "DATA_CONFIG.SEQ_LEN=2",
        "MODEL.POST_PROCESSING={SCORE_THRESH: 0.1, NMS_CONFIG: {NMS_PRE_MAXSIZE: 20, NMS_POST_MAXSIZE: 5}}",
        *(change for change in SMALL if change.startswith(("MODEL.MEMORY", "OPTIMIZATION"))),
    ]
    arguments = ["import-openpcdet", weights, "--config", yaml_file, "--out", out]
    arguments += [part for change in changes for part in ("--set", change)]
    assert remembev(monkeypatch, *arguments) == 0
    assert "421 tensors, 6,078,636 parameters" in capsys.readouterr().out
    assert remembev(monkeypatch, "stream", out, "--data", sim_root, "--frames", 2) == 0
    training = ["train", out.with_suffix(".yaml"), "--data", sim_root, "--init", out]
    assert remembev(monkeypatch, *training, "--out", tmp_path / "run", "--set", "OPTIMIZATION.NUM_EPOCHS=1") == 0
    started, trained = (load_file(tmp_path / "run" / f"{name}.safetensors") for name in ("initial", "model"))
    assert all(torch.equal(weight, started[name]) for name, weight in load_file(out).items())
    assert not torch.equal(started["backbone_2d.blocks.0.0.weight"], trained["backbone_2d.blocks.0.0.weight"])


def test_an_import_does_not_write_over_openpcdets_file_nor_under_another_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml_file = write_openpcdet(tmp_path)
    arguments = ("import-openpcdet", tmp_path / "model.pth", "--config", yaml_file, "--out")
    assert remembev(monkeypatch, *arguments, yaml_file.with_suffix(".safetensors")) == 1
    assert "give --out another name" in error(capsys)
    assert remembev(monkeypatch, *arguments, tmp_path / "imported.pth") == 1
    assert "ends in .safetensors" in error(capsys)


def test_sets_are_simulated_and_what_they_hide_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ("--scenes", 4, "--seconds", 1, "--azimuths", 180, "--workers", 1)
    assert remembev(monkeypatch, "simulate", tmp_path, "--sets", "doors, crowd", *size) == 0
    capsys.readouterr()
    counting = ("census", tmp_path, "--version", "v1.0-sim", "--splits", "val_doors,val_crowd")
    assert remembev(monkeypatch, *counting, "--json") == 0
    counted = json.loads(capsys.readouterr().out)
    assert [counted[split]["frames"] for split in ("val_doors", "val_crowd")] == [2, 2]
    assert sum(counted["val_crowd"]["hidden"]) > 0
    assert remembev(monkeypatch, *counting) == 0
    assert "val_crowd" in capsys.readouterr().out


def test_an_unknown_set_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remembev(monkeypatch, "simulate", tmp_path, "--sets", "doors,mars", "--scenes", 8) == 1
    assert "mars" in error(capsys)
