"""``remembev eval`` on single frames, from the command line to the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY, RunCli

REAL = REPOSITORY.parent / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real LiDAR at {REAL}")


@needs_real_data
def test_the_shipped_weights_are_scored_on_a_real_key_frame(remembev: RunCli, tmp_path: Path) -> None:
    ran = remembev("eval", "small", "--data", REAL / "nuscenes_keyframe", "--out", tmp_path, "--min-score", 0.25)
    assert ran.code == 0, ran.err
    assert "1 annotated frame" in ran.out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["annotated_frames"] == 1
    assert list(metrics["thresholds"]) == ["0.1", "0.2", "0.25", "0.3", "0.5"]
    score = metrics["thresholds"]["0.3"]["all"]
    assert 0 < score["objects"] < 69  # in range, with a point
    assert score["recall"] == score["found"] / score["objects"]


@needs_real_data
def test_a_real_pair_of_frames_is_played_to_and_fro(remembev: RunCli, tmp_path: Path) -> None:
    pytest.importorskip("nuscenes")
    data = ("--data", REAL / "av2_7fab2350_nuscenes", "--version", "v1.0-av2", "--frames")
    ran = remembev("eval", "small", *data, "--loop", 3, "--no-memory", "--out", tmp_path, "--json")
    assert ran.code == 0, ran.err
    metrics = json.loads(ran.out)
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["with_memory"], metrics["annotated_frames"]) == (False, 2)
    ages = {memory: [row["frames"] for row in metrics["loop"][memory]] for memory in ("with_memory", "without_memory")}
    assert ages == {"with_memory": [1, 1, 1], "without_memory": [1, 1, 1]}
    frames = metrics["frames"]
    first = metrics["loop"]["without_memory"][0]
    assert first["false_boxes"] == frames[0]["thresholds"]["0.3"]["all"]["false_boxes"]


@needs_real_data
def test_a_key_frame_without_its_cloud_is_an_error_that_names_the_file(remembev: RunCli, tmp_path: Path) -> None:
    shutil.copy(REAL / "nuscenes_keyframe" / "frame.json", tmp_path)
    ran = remembev("eval", "small", "--data", tmp_path)
    assert ran.code == 1
    assert "LIDAR_TOP.pcd.bin" in ran.err


def test_options_of_the_other_kind_of_score_are_refused(remembev: RunCli, tmp_path: Path) -> None:
    (tmp_path / "frame.json").write_text("{}")
    ran = remembev("eval", "small", "--data", tmp_path, "--reach", "both")
    assert (ran.code, "--reach" in ran.err) == (1, True)
    ran = remembev("eval", "small", "--data", tmp_path / "nuscenes", "--loop", 3)
    assert (ran.code, "--loop and --min-score need --frames" in ran.err) == (1, True)


def test_a_folder_without_frames_is_named(remembev: RunCli, tmp_path: Path) -> None:
    ran = remembev("eval", "small", "--data", tmp_path, "--frames", "--version", "v1.0-mini", "--out", tmp_path / "out")
    assert ran.code == 1
    assert f"{tmp_path}: neither a key frame" in ran.err
    assert not (tmp_path / "out").exists()
