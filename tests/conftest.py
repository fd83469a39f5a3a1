"""What several rooms' tests share: a small simulated data set, made once a run, and a small configuration."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from remembev.config import Config, load_config
from remembev.models import TemporalPointPillar

torch.set_num_threads(1)
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def sim_root(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Root of a simulated data set, version v1.0-sim: 4 scenes of 8 key frames, splits train and val."""
    from remembev.simulate import SimulationSettings, simulate_dataset

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    root = shared / "sim"
    with FileLock(str(shared / "sim.lock")):
        simulate_dataset(root, SimulationSettings(scenes=4, seconds=4.0, azimuths=1080, val_share=0.5), workers=1)
    return root


class Ran(NamedTuple):
    """What the command line left: exit code, and text on stdout and stderr."""

    code: int
    out: str
    err: str


RunCli = Callable[..., Ran]


@pytest.fixture
def remembev(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCli:
    """Run ``remembev`` with arguments, as typed."""
    from remembev.cli import main

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["remembev", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ran(int(ended.value.code or 0), *capsys.readouterr())

    return run


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def join_torchrun(rank: int, port: int) -> None:
    """Make this process one of two, as torchrun starts them."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}


@pytest.fixture
def forked_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of ``run_jobs`` are forks of this one: they start at once, without importing everything again."""
    forking = multiprocessing.get_context("fork")
    monkeypatch.setattr("remembev.experiments.jobs.mp.get_context", lambda _: forking)


@pytest.fixture
def small_cfg() -> Config:
    """The tiny configuration, smaller still: what end-to-end tests train and stream in seconds."""
    return load_config("tiny", SMALL)


def assert_has_gradients(part: torch.nn.Module) -> None:
    """Every weight of the part has a finite gradient that is not zero."""
    for name, weight in part.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def awaken(model: TemporalPointPillar, std: float = 1.0) -> TemporalPointPillar:
    """The model, with weights drawn through which its memory, fresh and so far silent, is heard by the head."""
    for name, weight in model.memory.named_parameters():
        if name in SILENT:
            torch.nn.init.normal_(weight, std=std)
    return model


SILENT = (
    "xmem.decode.occupancy.weight",
    "add_gated.project.weight",
    "add_read.project.weight",
    "recurrent.project.weight",
)
SMALL = [
    "DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE=[1.25, 1.25, 8.0]",
    "DATA_CONFIG.SEQ_LEN=3",
    "MODEL.VFE.NUM_FILTERS=[8]",
    "MODEL.BACKBONE_2D.LAYER_NUMS=[1, 1, 1]",
    "MODEL.BACKBONE_2D.NUM_FILTERS=[8, 16, 16]",
    "MODEL.BACKBONE_2D.NUM_UPSAMPLE_FILTERS=[8, 8, 8]",
    "MODEL.MEMORY.STRIDE=2",
    "MODEL.MEMORY.FEATURE_DIM=16",
    "MODEL.MEMORY.KEY_DIM=8",
    "MODEL.MEMORY.VALUE_DIM=8",
    "MODEL.MEMORY.HIDDEN_DIM=8",
    "MODEL.MEMORY.WORKING={MIN_FRAMES: 1, MAX_FRAMES: 3}",
    "MODEL.MEMORY.LONG_TERM={MAX_TOKENS: 24, PROTOTYPES: 8}",
    "MODEL.DENSE_HEAD.SHARED_CONV_NUM_FILTER=16",
    "MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.NUM_MIDDLE_FILTER=8",
    "OPTIMIZATION.PRECISION=fp32",  # auto is bf16 on some CPUs
    "OPTIMIZATION.PRETRAIN=null",
    "OPTIMIZATION.NORM_EVAL=false",
    "OPTIMIZATION.NUM_EPOCHS=2",
    "OPTIMIZATION.BATCHES_PER_EPOCH=2",
    "OPTIMIZATION.VAL_CLIPS=2",
    "OPTIMIZATION.NUM_WORKERS=0",
]
