"""How the documentation's commands are made small enough for a test: the one place where what is run differs.

Options appended to a command win over those that it has. Everything else runs as it is printed.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from nuscenes.utils.splits import create_splits_scenes
from tests.config.openpcdet_files import HEADS, write_openpcdet
from tests.conftest import SMALL
from tests.models.openpcdet_reference import random_weights
from torch import Tensor

from remembev.bench import ReadSize, bench_loader, bench_memory_read, bench_training, make_selective
from remembev.config import load_config, shipped_configs
from remembev.config.variants import apply_variant
from remembev.data import NuScenesIndex
from remembev.geometry import BEVGrid
from remembev.models import build_model, save_checkpoint
from remembev.simulate import SETS, SimulationSettings, simulate_dataset

RANGE = "DATA_CONFIG.POINT_CLOUD_RANGE=[-40.0, -40.0, -5.0, 40.0, 40.0, 3.0]"
FEW_STEPS = [change for change in SMALL if change.startswith("OPTIMIZATION.")]
FEW_STEPS += ["OPTIMIZATION.NUM_EPOCHS=1", "OPTIMIZATION.BATCHES_PER_EPOCH=1", "OPTIMIZATION.VAL_CLIPS=1"]
FEW_STEPS += ["OPTIMIZATION.BATCH_SIZE_PER_GPU=1", "OPTIMIZATION.EMA=null", "DATA_CONFIG.DATA_AUGMENTOR={}"]

APPENDED = {
    "simulate": [
        *("--sets", "street", "--scenes", "1", "--test", "0", "--no-sweeps"),
        *("--seconds", "0.5", "--azimuths", "90", "--workers", "1"),
    ],
    "train": ["--devices", "1", "--workers", "0"],
    "compare": ["--seeds", "1", "--workers", "1"],
    "eval": ["--device", "cpu", "--devices", "1"],
    "stream": ["--device", "cpu", "--frames", "2"],
    "view": ["--device", "cpu", "--frames", "2", "--no-open"],
    "bench step": ["--device", "cpu", "--frames", "2"],
    "bench stream": ["--device", "cpu", "--frames", "20"],
    "bench train": ["--device", "cpu", "--lengths", "2"],
    "bench loader": [],
    "bench read": [],
    "import-openpcdet": ["--set", "DATA_CONFIG.POINT_CLOUD_RANGE=[-12.8, -12.8, -5.0, 12.8, 12.8, 3.0]"],
}
TRAINS = ("train", "compare")
TAKES_CONFIG = (*TRAINS, "bench step", "bench stream", "bench train", "bench loader", "bench read")

DATA = ("data/sim", "data/hidden", "data/nuscenes", "data/benchmark", "data/benchmark-small")
"""Folders that the pages have data in; all of them, and NUSCENES, are one small simulated data set."""
NUSCENES = "/data/nuscenes"
WEIGHTS = ("model.safetensors", "runs/tiny/model.safetensors", "runs/small/model.safetensors")
"""Weights that the pages have from elsewhere."""


def shrink(arguments: list[str], simulated: Path) -> list[str]:
    """Return the arguments of a ``remembev`` command as they are run."""
    command = " ".join(arguments[: 2 if arguments[0] == "bench" else 1])
    arguments = [argument.replace(NUSCENES, "data/nuscenes") for argument in arguments]
    appended = [*APPENDED.get(command, [])]
    if command == "simulate":
        arguments[1] = str(simulated)
        assert set(_listed(arguments, "--sets")) <= {*SETS, "all"}
    if command == "compare" and "--variants" in arguments:
        names = _listed(arguments, "--variants")
        for name in names:
            apply_variant(load_config("tiny"), name)
        appended += ["--variants", ",".join(names[-2:])]
    changes = [*FEW_STEPS] if command in TRAINS else []
    if command in TAKES_CONFIG and set(arguments) & set(shipped_configs()):
        changes = [*SMALL, RANGE, *changes]
    return [*arguments, *appended, *(part for change in changes for part in ("--set", change))]


def _listed(arguments: list[str], option: str) -> list[str]:
    return arguments[arguments.index(option) + 1].split(",") if option in arguments else []


def shrink_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make smaller what no option does, and fork processes instead of spawning them."""
    sizes: dict[str, object] = {"_MATRIX": 64, "_MAP": (8, 8, 8), "_COPIED": 2**16}
    for name, size in sizes.items():
        monkeypatch.setattr(f"remembev.bench.machine.{name}", size)
    size = ReadSize(tokens=100, grid=BEVGrid(-8.0, -8.0, 8.0, 8.0, height=8, width=8))
    monkeypatch.setattr("remembev.bench.bench_loader", partial(bench_loader, workers=(0,), clips=1))
    monkeypatch.setattr("remembev.bench.bench_memory_read", lambda _: bench_memory_read(size, repeats=1))
    monkeypatch.setattr("remembev.bench.bench_training", partial(bench_training, steps=2))
    forking = multiprocessing.get_context("fork")
    for place in ("bench.read.get_context", "bench.train.get_context", "experiments.jobs.mp.get_context"):
        monkeypatch.setattr(f"remembev.{place}", lambda _: forking)


def write_data(root: Path) -> None:
    """Simulate a data set with sweeps that is v1.0-sim, v1.0-trainval and v1.0-mini at once, with all their splits."""
    simulate_dataset(root, SimulationSettings(scenes=3, seconds=2.0, azimuths=180, sweeps=True), workers=1)
    tables = root / "v1.0-sim"
    scenes = json.loads((tables / "scene.json").read_text())
    splits = json.loads((tables / "splits.json").read_text())
    splits |= {"test": splits["val"]} | {f"{part}_{kind}": splits["val"] for part in ("val", "test") for kind in SETS}
    (tables / "splits.json").write_text(json.dumps(splits))
    official = create_splits_scenes()
    for scene, name in zip(scenes, (*official["mini_train"][:2], official["mini_val"][0]), strict=True):
        scene["name"] = name
    for version in ("v1.0-trainval", "v1.0-mini"):
        shutil.copytree(tables, root / version)
        (root / version / "splits.json").unlink()
        (root / version / "scene.json").write_text(json.dumps(scenes))


def write_weights(folder: Path) -> None:
    """Write the checkpoints and OpenPCDet's files that the pages have from elsewhere, given the data."""
    torch.manual_seed(0)
    model = build_model(load_config("tiny", SMALL))
    make_selective(model, NuScenesIndex.open(folder / "data", "v1.0-sim"), 0)  # else all of its anchors are boxes
    save_checkpoint(folder / "small.safetensors", model)
    tools = folder / "OpenPCDet" / "tools"
    write_openpcdet(tools)
    torch.save({"model_state": random_weights([len(names) for names in HEADS])}, tools / "model.pth")


def lidar(root: Path) -> list[tuple[Tensor, Tensor, float]]:
    """Return points, pose and time of two frames, which the pages' code has from a sensor."""
    index = NuScenesIndex.open(root, "v1.0-sim")
    frames = [index.load_frame(number) for number in index.scene_frames(0)[:2]]
    return [(frame.points, frame.global_from_lidar, frame.timestamp) for frame in frames]
