"""Evaluation in several processes writes, byte for byte, what one process writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from tests.conftest import SMALL, awaken, free_port, join_torchrun

from remembev.config import load_config
from remembev.errors import DataError
from remembev.evaluation import TRACKS, evaluate_checkpoint
from remembev.models import build_model, save_checkpoint

pytest.importorskip("nuscenes")


FINDS_FEW = "MODEL.POST_PROCESSING={SCORE_THRESH: 0.005, NMS_CONFIG: {NMS_PRE_MAXSIZE: 20, NMS_POST_MAXSIZE: 5}}"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights, with a threshold that lets boxes through."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_checkpoint(path, awaken(build_model(load_config("tiny", [*SMALL, FINDS_FEW]))))
    return path


@pytest.fixture(scope="module")
def alone(checkpoint: Path, sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation by one process."""
    out = tmp_path_factory.mktemp("alone")
    evaluate_checkpoint(checkpoint, sim_root, out, split="train", tracks=TRACKS, progress=False)
    return out


def assert_same(out: Path, alone: Path) -> None:
    assert (out / "submission.json").read_bytes() == (alone / "submission.json").read_bytes()
    assert (out / "detections.jsonl").read_bytes() == (alone / "detections.jsonl").read_bytes()
    assert b"detection_score" in (out / "submission.json").read_bytes()
    scores, expected = ((folder / "metrics.json").read_text().splitlines() for folder in (out, alone))
    assert [line for line in scores if "seconds" not in line] == [line for line in expected if "seconds" not in line]


def test_own_processes_write_what_one_process_writes(
    checkpoint: Path, sim_root: Path, alone: Path, tmp_path: Path
) -> None:
    evaluation = evaluate_checkpoint(
        checkpoint, sim_root, tmp_path, split="train", tracks=TRACKS, devices=2, progress=False
    )
    assert evaluation is not None
    assert_same(tmp_path, alone)


def test_processes_of_torchrun_write_what_one_process_writes(
    checkpoint: Path, sim_root: Path, alone: Path, tmp_path: Path
) -> None:
    port = free_port()

    def work(rank: int) -> None:
        join_torchrun(rank, port)
        evaluation = evaluate_checkpoint(
            checkpoint, sim_root, tmp_path / str(rank), split="train", tracks=TRACKS, progress=False
        )
        assert (evaluation is None) == (rank == 1)

    processes = [get_context("fork").Process(target=work, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert_same(tmp_path / "0", alone)
    assert not (tmp_path / "1").exists()


def test_an_error_in_a_process_is_raised_and_nothing_is_written(
    checkpoint: Path, sim_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(sim_root, tmp_path / "root", copy_function=os.link))
    for points in (root / "samples" / "LIDAR_TOP").iterdir():
        points.unlink()
        points.touch()
    with pytest.raises(DataError, match=r"\.pcd\.bin: the point file is empty"):
        evaluate_checkpoint(checkpoint, root, tmp_path / "out", split="train", devices=2, progress=False)
    assert not (tmp_path / "out").exists()


def test_evaluation_needs_no_lightning(checkpoint: Path, sim_root: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['lightning'] = None\n"
        "from pathlib import Path\n"
        "from remembev.evaluation import TRACKS, evaluate_checkpoint\n"
        f"evaluate_checkpoint(Path({str(checkpoint)!r}), Path({str(sim_root)!r}), Path({str(tmp_path)!r}),"
        " limit_scenes=1, progress=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "metrics.json").is_file()
