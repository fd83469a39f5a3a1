from __future__ import annotations

from pathlib import Path

import pytest

from remembev.config import Config, load_config
from remembev.data import NuScenesIndex

from .handmade import VERSION, write_handmade
from .roadside import write_roadside


@pytest.fixture(scope="session")
def hand_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of five key frames; not to be changed by a test."""
    return write_handmade(tmp_path_factory.mktemp("hand") / "root")


@pytest.fixture(scope="session")
def road_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with points on its objects; not to be changed by a test."""
    return write_roadside(tmp_path_factory.mktemp("road") / "root")


@pytest.fixture(scope="session")
def index(hand_root: Path) -> NuScenesIndex:
    return NuScenesIndex.open(hand_root, VERSION)


@pytest.fixture(scope="session")
def hand_cfg(hand_root: Path) -> Config:
    return hand_config(hand_root)


def hand_config(root: Path, *overrides: str) -> Config:
    """The tiny configuration on a handmade root, with sweeps and agent slots, without sensor augmentation."""
    section = "DATA_CONFIG"
    return load_config(
        "tiny",
        [
            f"{section}.DATA_PATH={root}",
            f"{section}.VERSION={VERSION}",
            f"{section}.DATA_SPLIT.train=hand_all",
            f"{section}.DATA_SPLIT.test=hand_last",
            f"{section}.SEQ_LEN=3",
            f"{section}.NUM_SWEEPS=2",
            f"{section}.AGENT_SLOTS=3",
            f"{section}.DATA_AUGMENTOR.SENSOR_AUGMENTATION=null",
            *overrides,
        ],
    )
