"""Jobs in processes: each worker has a GPU of its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from remembev.experiments.jobs import run_jobs


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
