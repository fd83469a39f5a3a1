"""Training jobs: interrupted and resumed, scored again with other settings, never mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import SMALL

from remembev.config import load_config
from remembev.errors import UserError
from remembev.experiments.training_job import TrainingJob, check_runs
from remembev.training import ClipModule

QUICK = [*SMALL, "OPTIMIZATION.BATCHES_PER_EPOCH=1", "OPTIMIZATION.VAL_CLIPS=1"]


def job(sim_root: Path, out: Path, split: str = "val") -> TrainingJob:
    eval_settings = {"split": split, "tracks": "unbounded"}
    return TrainingJob(0, "one", load_config("tiny", QUICK), sim_root, out, None, eval_settings)


@pytest.fixture(autouse=True)
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Splits that were scored; scoring is not what is tested here."""
    splits: list[str] = []

    def score(weights: Path, data: Path, out: Path, *, split: str, tracks: list[str], **_: object) -> None:
        assert weights.is_file()
        assert tracks == ["unbounded"]
        splits.append(split)

    monkeypatch.setattr("remembev.experiments.training_job.evaluate_checkpoint", score)
    return splits


def stop_at_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Let the training fail where that epoch begins."""

    def begin(self: ClipModule) -> None:
        if self.current_epoch == epoch:
            raise RuntimeError("stopped")

    monkeypatch.setattr(ClipModule, "on_train_epoch_start", begin)


@pytest.fixture(scope="module")
def whole(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """A training that nobody has interrupted, not scored yet."""
    trained = job(sim_root, tmp_path_factory.mktemp("whole"))
    replace(trained, eval_settings=None).work()
    return trained


@pytest.fixture
def done(whole: TrainingJob) -> TrainingJob:
    """It, scored."""
    whole.work()
    return whole


def test_a_result_says_how_much_was_trained_and_what_was_measured(done: TrainingJob) -> None:
    assert done.done
    result = dict(done.result or {})
    assert result.pop("train_seconds") > 0
    assert result.pop("parameters") > result.pop("memory_parameters") > 0
    assert result == {"steps": 2, "frames": 2 * 1 * 3, "split": "val", "tracks": "unbounded"}


def test_an_interrupted_training_resumes_to_the_same_weights(
    done: TrainingJob, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_result_of_another_split_is_scored_again_without_training(
    done: TrainingJob, sim_root: Path, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job(sim_root, done.out, split="train")
    assert not other.done
    monkeypatch.setattr("remembev.experiments.training_job.train", lambda *_, **__: pytest.fail("trained again"))
    before = done.result or {}
    other.work()
    assert other.result == {**before, "split": "train"}
    assert not done.done
    done.work()
    assert done.result == before
    assert scored == ["val", "train", "val"]


def test_a_failed_scoring_leaves_no_result_of_other_settings(
    done: TrainingJob, sim_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("remembev.experiments.training_job.evaluate_checkpoint", fails)
    broken = job(sim_root, done.out, split="train")
    with pytest.raises(OSError, match="no room"):
        broken.work()
    assert not broken.done
    assert not done.done


def test_runs_of_another_configuration_are_refused_and_those_of_other_names_left_alone(done: TrainingJob) -> None:
    other = load_config("tiny", [*QUICK, "OPTIMIZATION.LR=1"])
    check_runs(done.out, {"one": done.cfg, "two": other})
    with pytest.raises(UserError, match=r"one.config\.yaml is of another configuration"):
        check_runs(done.out, {"one": other})
