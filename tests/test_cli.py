"""The command line as a user types it; mistakes are reported in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.config.openpcdet_files import HEADS, write_openpcdet
from tests.conftest import SMALL, Ran, RunCli
from tests.models.openpcdet_reference import random_weights

from remembev.bench.loader import LoaderSpeed, bench_loader
from remembev.bench.read import bench_memory_read
from remembev.config import Config, apply_variant, load_config
from remembev.models import build_model, save_checkpoint
from remembev.training import TrainingRun


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that finds boxes although nobody trained it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    finds_few = "MODEL.POST_PROCESSING={SCORE_THRESH: 0.0099, NMS_CONFIG: {NMS_PRE_MAXSIZE: 20, NMS_POST_MAXSIZE: 5}}"
    tracks_all = "TRACKING={MIN_SCORE: 0.0, MIN_COAST_SCORE: 0.0}"
    save_checkpoint(path, build_model(load_config("tiny", [*SMALL, finds_few, tracks_all])))
    return path


def error(ran: Ran) -> str:
    """Return the error message of a run that failed, as one line."""
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert "error:" in ran.err
    return " ".join(ran.err.split())


def test_a_model_is_trained_and_evaluated_with_and_without_memory(
    remembev: RunCli, sim_root: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    changes = [part for change in SMALL for part in ("--set", change)]
    assert remembev("train", "tiny", "--data", sim_root, "--out", run, *changes).code == 0
    weights = run / "model.safetensors"
    ran = remembev("eval", weights, "--data", sim_root, "--json")
    assert ran.code == 0
    metrics = json.loads(ran.out)
    assert metrics["with_memory"] is True
    assert 0 <= metrics["nds"] <= 1
    assert json.loads((run / "eval" / "metrics.json").read_text()) == metrics
    ran = remembev("eval", weights, "--data", sim_root, "--no-memory")
    assert ran.code == 0
    assert "NDS" in ran.out
    assert json.loads((run / "eval-no-memory" / "metrics.json").read_text())["with_memory"] is False


def test_a_variant_of_a_configuration_is_trained_by_its_name(
    remembev: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trained: list[Config] = []
    monkeypatch.setattr(
        "remembev.training.train", lambda cfg, data, out, **_: trained.append(cfg) or TrainingRun(tmp_path)
    )
    arguments = ("train", "small", "--data", tmp_path, "--out", tmp_path, "--set", "OPTIMIZATION.LR=0.5")
    assert remembev(*arguments, "--variant", "sweeps+gate").code == 0
    assert "--set" not in caplog.text
    assert trained == [apply_variant(load_config("small", ["OPTIMIZATION.LR=0.5"]), "sweeps+gate")]
    assert "did you mean gate?" in error(remembev(*arguments, "--variant", "gait"))
    assert remembev(*arguments, "--set", "DATA_CONFIG.NUM_SWEEPS=0", "--variant", "sweeps+gate").code == 0
    assert "sets DATA_CONFIG.NUM_SWEEPS to 9, over --set" in caplog.text


def test_a_stream_writes_boxes_and_a_movie(remembev: RunCli, checkpoint: Path, sim_root: Path, tmp_path: Path) -> None:
    boxes, movie = tmp_path / "boxes.jsonl", tmp_path / "scene.gif"
    assert remembev("stream", checkpoint, "--data", sim_root, "--out", boxes, "--movie", movie).code == 0
    frames = [json.loads(line) for line in boxes.read_text().splitlines()]
    assert len(frames) == 8
    assert any(frame["boxes"] for frame in frames)
    assert movie.read_bytes().startswith(b"GIF")


def test_the_demo_streams_a_street_with_shipped_weights_and_writes_a_movie(
    remembev: RunCli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remembev.models.checkpoint.SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    assert "small: no such file, and no shipped weights (none)" in error(remembev("stream", "--demo"))
    (tmp_path / "shipped").mkdir()
    shutil.copy(checkpoint, tmp_path / "shipped" / "small.safetensors")
    ran = remembev("stream", "--demo", "--frames", 2)
    assert ran.code == 0
    assert "0.50 s" in ran.out
    assert (tmp_path / "remembev-demo.gif").read_bytes().startswith(b"GIF")
    assert "--demo has its own scene" in error(remembev("stream", "--demo", "--data", tmp_path))
    ran = remembev("stream", checkpoint)
    assert ran.code == 2
    assert "or --demo" in ran.err


def test_a_live_stream_is_drawn_in_the_terminal(remembev: RunCli, checkpoint: Path, sim_root: Path) -> None:
    ran = remembev("stream", checkpoint, "--data", sim_root, "--live", "--frames", 2)
    assert ran.code == 0
    shown = ran.out
    assert "sim-0002" in shown
    assert "gate lets through" in shown


def test_a_tracked_stream_shows_ids_and_the_tracks_that_coast(
    remembev: RunCli, checkpoint: Path, sim_root: Path, tmp_path: Path
) -> None:
    options = ("--data", sim_root, "--frames", 3, "--min-score", 0, "--out", tmp_path / "boxes.jsonl")
    ran = remembev("stream", checkpoint, "--track", *options)
    assert ran.code == 0
    assert "; coasting: " in ran.out
    boxes = [box for line in (tmp_path / "boxes.jsonl").read_text().splitlines() for box in json.loads(line)["boxes"]]
    assert max(box["track_id"] for box in boxes) > 0
    assert {box["coasted"] for box in boxes} == {True, False}
    ran = remembev("stream", checkpoint, "--track", "--live", *options)
    assert "tracks, " in ran.out
    assert "coasting: " in ran.out
    assert "coasting" not in remembev("stream", checkpoint, *options).out


@pytest.mark.parametrize("track", ["--track", "--no-track"])
def test_a_stream_resumed_from_a_saved_state_writes_the_boxes_of_an_uninterrupted_one(
    remembev: RunCli, checkpoint: Path, sim_root: Path, tmp_path: Path, track: str
) -> None:
    state, written = tmp_path / "state.safetensors", {}
    parts = {
        "whole": (),
        "first": ("--frames", 3, "--save-state", state),
        "rest": ("--load-state", state, "--save-state", state),
    }
    for name, options in parts.items():
        boxes = tmp_path / f"{name}.jsonl"
        assert remembev("stream", checkpoint, "--data", sim_root, "--out", boxes, track, *options).code == 0
        written[name] = boxes.read_text()
    assert len(written["first"].splitlines()) == 3
    assert written["first"] + written["rest"] == written["whole"]
    assert "has no frame after the last one of" in error(
        remembev("stream", checkpoint, "--data", sim_root, "--load-state", state, track)
    )


def test_a_scene_and_a_saved_state_exclude_each_other(remembev: RunCli, checkpoint: Path, sim_root: Path) -> None:
    arguments = ("stream", checkpoint, "--data", sim_root, "--scene", "scene-0001", "--load-state", "state.safetensors")
    assert "omit --scene" in error(remembev(*arguments))


def test_the_benchmark_of_a_stream_compares_early_with_late_and_leaves_every_step_and_a_picture(
    remembev: RunCli, checkpoint: Path, sim_root: Path, tmp_path: Path
) -> None:
    arguments = ("bench", "stream", checkpoint, "--data", sim_root, "--frames", 20)
    ran = remembev(*arguments, "--out", tmp_path, "--json")
    assert ran.code == 0
    said = json.loads(ran.out)
    assert (said["frames"], said["early"], said["late"]) == (20, [2, 4], [18, 20])
    assert said["medians"]["state_bytes"]["within_5_percent"] is True
    assert len((tmp_path / "stream.csv").read_text().splitlines()) == 21
    assert (tmp_path / "stream.png").read_bytes().startswith(b"\x89PNG")
    ran = remembev(*arguments)
    assert ran.code == 2
    assert "--out" in ran.err


def test_the_benchmark_names_every_stage_of_a_step(remembev: RunCli, checkpoint: Path, sim_root: Path) -> None:
    ran = remembev("bench", "step", checkpoint, "--data", sim_root, "--frames", 2, "--json")
    assert ran.code == 0
    for name, way in json.loads(ran.out)["ways"].items():
        first = ["voxelise", "vfe", "scatter"] if name == "plain" else ["pillars"]
        times = {stage: found["median_ms"] for stage, found in way["stages"].items()}
        assert list(times) == ["check", *first, "backbone", "memory", "head", "nms", "observe"]
        assert sum(times.values()) < 1.5 * way["median_ms"]


def test_the_benchmark_of_the_loader_is_a_table_by_workers(
    remembev: RunCli, sim_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_worker(cfg: Config, data: Path) -> Iterator[LoaderSpeed]:
        return bench_loader(cfg, data, [0], clips=2)

    monkeypatch.setattr("remembev.bench.bench_loader", one_worker)
    changes = [part for change in SMALL for part in ("--set", change)]
    ran = remembev("bench", "loader", "tiny", "--data", sim_root, *changes, "--json")
    assert ran.code == 0
    speed = json.loads(ran.out)[0]
    assert speed["workers"] == 0
    assert speed["frames_per_second"] > 0
    ran = remembev("bench", "loader", "tiny", "--data", sim_root, *changes)
    assert ran.code == 0
    assert "frames per second" in " ".join(ran.out.split())


def test_the_benchmark_of_fresh_weights_is_a_table_with_floors(remembev: RunCli, sim_root: Path) -> None:
    changes = [part for override in SMALL for part in ("--set", override)]
    ran = remembev("bench", "step", "tiny", "--data", sim_root, "--frames", 2, *changes)
    assert ran.code == 0
    shown = ran.out
    for word in ("plain", "fp32", "floor", "pillars", "times as fast", "reached meanwhile"):
        assert word in shown


def test_the_benchmark_of_the_read_has_the_models_sizes(
    remembev: RunCli, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remembev.bench.bench_memory_read", partial(bench_memory_read, repeats=1))
    ran = remembev("bench", "read", checkpoint, "--tokens", 200, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    expected = {"tokens": 200, "key_dim": 8, "value_dim": 8, "top_k": 16, "distance": 2.0}
    assert {name: found["size"][name] for name in expected} == expected
    assert min(found[way]["seconds"] for way in ("dense", "kernel", "nearby")) > 0


def test_a_stream_in_bfloat16_rounds_scores(remembev: RunCli, checkpoint: Path, sim_root: Path, tmp_path: Path) -> None:
    scores = []
    for precision in ("fp32", "bf16"):
        out = tmp_path / f"{precision}.jsonl"
        arguments = ("stream", checkpoint, "--data", sim_root, "--out", out, "--frames", 1, "--precision", precision)
        assert remembev(*arguments).code == 0
        scores.append([box["score"] for box in json.loads(out.read_text())["boxes"]])
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_an_unknown_key_is_named_with_the_key_that_was_meant(remembev: RunCli, sim_root: Path, tmp_path: Path) -> None:
    arguments = ("train", "tiny", "--data", sim_root, "--out", tmp_path / "run", "--set", "MODEL.MEMORY.TOPK=3")
    assert "MODEL.MEMORY.TOPK: no such key; did you mean TOP_K?" in error(remembev(*arguments))
    assert not (tmp_path / "run").exists()


def test_a_clip_longer_than_its_scene_is_reported_with_its_length_and_writes_nothing(
    remembev: RunCli, sim_root: Path, tmp_path: Path
) -> None:
    arguments = ("train", "tiny", "--data", sim_root, "--out", tmp_path / "run", "--set", "DATA_CONFIG.SEQ_LEN=50")
    assert "50 key frames" in error(remembev(*arguments))
    assert not (tmp_path / "run").exists()


def test_a_missing_table_is_named(remembev: RunCli, checkpoint: Path, sim_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(sim_root / "v1.0-sim", root / "v1.0-sim", ignore=shutil.ignore_patterns("*.safetensors"))
    (root / "v1.0-sim" / "ego_pose.json").unlink()
    assert "ego_pose.json" in error(remembev("stream", checkpoint, "--data", root))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_point_file_is_named_by_the_loader_and_its_processes(
    remembev: RunCli, workers: int, sim_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(sim_root, root)
    for cloud in (root / "samples" / "LIDAR_TOP").iterdir():
        cloud.write_bytes(cloud.read_bytes()[:1003])
    changes = [part for change in [*SMALL, "OPTIMIZATION.NUM_WORKERS=1"] for part in ("--set", change)]
    arguments = ("train", "tiny", "--data", root, "--out", tmp_path / "run", "--workers", workers, *changes)
    assert ".pcd.bin" in error(remembev(*arguments))


def test_a_checkpoint_tensor_of_another_shape_is_named(
    remembev: RunCli, checkpoint: Path, sim_root: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open

    weights = load_file(checkpoint)
    with safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    weights["memory.xmem.nothing_read"] = torch.zeros(3)
    other = tmp_path / "other.safetensors"
    save_file(weights, other, metadata=metadata)
    ran = remembev("eval", other, "--data", sim_root, "--out", tmp_path / "eval")
    message = error(ran)
    assert "other.safetensors" in message
    assert "memory.xmem.nothing_read" in message
    assert not (tmp_path / "eval").exists()


def test_a_missing_scene_is_named(remembev: RunCli, checkpoint: Path, sim_root: Path) -> None:
    assert "no scene 'nowhere'" in error(remembev("stream", checkpoint, "--data", sim_root, "--scene", "nowhere"))


def test_an_openpcdet_detector_is_imported_streamed_and_trained_further(
    remembev: RunCli, sim_root: Path, tmp_path: Path
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
    ran = remembev(*arguments)
    assert ran.code == 0
    assert "421 tensors, 6,078,636 parameters" in ran.out
    assert remembev("stream", out, "--data", sim_root, "--frames", 2).code == 0
    training = ["train", out.with_suffix(".yaml"), "--data", sim_root, "--init", out]
    assert remembev(*training, "--out", tmp_path / "run", "--set", "OPTIMIZATION.NUM_EPOCHS=1").code == 0
    started, trained = (load_file(tmp_path / "run" / f"{name}.safetensors") for name in ("initial", "model"))
    assert all(torch.equal(weight, started[name]) for name, weight in load_file(out).items())
    assert not torch.equal(started["backbone_2d.blocks.0.0.weight"], trained["backbone_2d.blocks.0.0.weight"])


def test_an_import_neither_overwrites_openpcdets_file_nor_takes_another_suffix(
    remembev: RunCli, tmp_path: Path
) -> None:
    yaml_file = write_openpcdet(tmp_path)
    arguments = ("import-openpcdet", tmp_path / "model.pth", "--config", yaml_file, "--out")
    assert "choose another --out" in error(remembev(*arguments, yaml_file.with_suffix(".safetensors")))
    assert "has to end in .safetensors" in error(remembev(*arguments, tmp_path / "imported.pth"))


def test_scene_sets_are_simulated_and_their_hidden_objects_counted(remembev: RunCli, tmp_path: Path) -> None:
    size = ("--scenes", 4, "--seconds", 1, "--azimuths", 180, "--workers", 1)
    assert remembev("simulate", tmp_path, "--sets", "doors, crowd", *size).code == 0
    counting = ("dataset-stats", tmp_path, "--version", "v1.0-sim", "--splits", "val_doors,val_crowd")
    ran = remembev(*counting, "--json")
    assert ran.code == 0
    counted = json.loads(ran.out)
    assert [counted[split]["frames"] for split in ("val_doors", "val_crowd")] == [2, 2]
    assert sum(counted["val_crowd"]["no_points"]) > 0
    ran = remembev(*counting)
    assert ran.code == 0
    assert "val_crowd" in ran.out


def test_simulated_clouds_are_held_against_other_ones(remembev: RunCli, tmp_path: Path) -> None:
    size = ("--scenes", 1, "--seconds", 1, "--azimuths", 180, "--workers", 1)
    assert remembev("simulate", tmp_path / "other", *size, "--seed", 1, "--sensors", "beams64").code == 0
    ran = remembev("simulate", tmp_path / "sim", *size, "--check", tmp_path / "other")
    assert ran.code == 0
    assert "rows per turn" in ran.out
    assert "5760" in ran.out  # 32 beams in 180 columns
    assert (tmp_path / "sim" / "check.png").stat().st_size > 10_000
    assert str(tmp_path / "none") in error(remembev("simulate", tmp_path / "new", *size, "--check", tmp_path / "none"))
    assert not (tmp_path / "new").exists()  # refused before anything is simulated
    assert "sonar" in error(remembev("simulate", tmp_path / "x", "--sensors", "sonar"))


def test_an_unknown_set_is_named(remembev: RunCli, tmp_path: Path) -> None:
    assert "mars" in error(remembev("simulate", tmp_path, "--sets", "doors,mars", "--scenes", 8))
