"""Trainings as jobs: stopped and gone on with, measured again where something else is asked, never mixed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SMALL

from remembev.config import load_config
from remembev.errors import UserError
from remembev.experiments.jobs import Training, check_runs, run_jobs
from remembev.training import ClipModule

QUICK = [*SMALL, "OPTIMIZATION.BATCHES_PER_EPOCH=1", "OPTIMIZATION.VAL_CLIPS=1"]


def letters(trained: Training) -> dict[str, int]:
    """Something to measure that depends on what is asked for."""
    return {"letters": len(trained.asked["split"])}


def job(sim_root: Path, out: Path, split: str = "val") -> Training:
    return Training(0, "one", load_config("tiny", QUICK), sim_root, out, None, letters, {"split": split})


def stop_at_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Let the training fail where that epoch begins."""

    def begin(self: ClipModule) -> None:
        if self.current_epoch == epoch:
            raise RuntimeError("stopped")

    monkeypatch.setattr(ClipModule, "on_train_epoch_start", begin)


@pytest.fixture(scope="module")
def done(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training that nobody has stopped."""
    whole = job(sim_root, tmp_path_factory.mktemp("whole"))
    whole.work()
    return whole


def test_a_result_says_how_much_was_trained_and_what_was_measured(done: Training) -> None:
    assert done.done
    result = dict(done.result or {})
    assert result.pop("train_seconds") > 0
    assert result == {"steps": 2, "frames": 2 * 1 * 3, "split": "val", "letters": 3}


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    done: Training, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = job(sim_root, tmp_path)
    with monkeypatch.context() as patch:
        stop_at_epoch(patch, 1)
        with pytest.raises(RuntimeError, match="stopped"):
            stopped.work()
    assert not stopped.done
    first_epoch = stopped.run.weights.read_bytes()
    begun: list[int] = []
    monkeypatch.setattr(ClipModule, "on_train_epoch_start", lambda self: begun.append(self.current_epoch))
    stopped.work()
    assert begun == [1]
    assert stopped.run.weights.read_bytes() == done.run.weights.read_bytes() != first_epoch
    assert (stopped.result or {})["train_seconds"] is None


def test_a_result_of_another_split_is_measured_anew_without_training(
    done: Training, sim_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job(sim_root, done.out, split="train")
    assert not other.done
    monkeypatch.setattr("remembev.experiments.jobs.train", lambda *_, **__: pytest.fail("trained again"))
    before = done.result or {}
    other.work()
    assert other.result == {**before, "split": "train", "letters": 5}
    assert not done.done
    done.work()
    assert done.result == before


def test_what_can_not_be_measured_leaves_no_result_of_something_else(done: Training, sim_root: Path) -> None:
    def fails(_: Training) -> dict[str, Any]:
        raise OSError("no room")

    broken = Training(0, "one", done.cfg, sim_root, done.out, None, fails, {"split": "train"})
    with pytest.raises(OSError, match="no room"):
        broken.work()
    assert not broken.done
    assert not done.done
    done.work()


def test_runs_of_another_configuration_are_refused_and_those_of_other_names_left_alone(done: Training) -> None:
    other = load_config("tiny", [*QUICK, "OPTIMIZATION.LR=1"])
    check_runs(done.out, {"one": done.cfg, "two": other})
    with pytest.raises(UserError, match=r"one.config\.yaml is of another configuration"):
        check_runs(done.out, {"one": other})


@dataclass(frozen=True)
class Note:
    """A job that notes which GPU its process may use, and waits until all have."""

    number: int
    out: Path

    @property
    def title(self) -> str:
        return f"note {self.number}"

    @property
    def log(self) -> Path:
        return self.out / f"{self.number}.log"

    @property
    def done(self) -> bool:
        return (self.out / f"{self.number}.txt").is_file()

    @property
    def ready(self) -> bool:
        return True

    def work(self) -> None:
        (self.out / f"{self.number}.txt").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
        while len(list(self.out.glob("*.txt"))) < 2:
            time.sleep(0.01)


@pytest.mark.usefixtures("forked_jobs")
def test_every_worker_has_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert run_jobs([Note(0, tmp_path), Note(1, tmp_path)], 2, lambda job, seconds: None) == []
    assert sorted(path.read_text() for path in tmp_path.glob("*.txt")) == ["4", "7"]
