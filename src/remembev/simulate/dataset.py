"""A whole simulated data set: its settings, and its scenes simulated in parallel.

Point files and rows of finished scenes are kept as they come; the tables are written last, all at once, so a folder
with tables is complete. An interrupted run resumes from its finished scenes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from remembev.errors import ConfigError, DataError
from remembev.files import atomic_write
from remembev.progress import with_progress
from remembev.simulate.scene import SceneSimulation
from remembev.simulate.sensors import ORDINARY_SENSOR, SENSORS
from remembev.simulate.sets import ORDINARY, SETS
from remembev.simulate.weather import DRY
from remembev.simulate.writer import (
    CHANNEL,
    MASK_FILE,
    Tables,
    dataset_tables,
    scene_name,
    write_mask,
    write_scene,
    write_tables,
)

SIMULATOR = 5  # version; incremented whenever equal settings give another data set
SETTINGS_FILE = "simulation.json"
FINISHED = ".scenes"
MAX_SCENES = 10_000  # of the splits train and val; the numbers from there on are those of test scenes


@dataclass(frozen=True)
class SimulationSettings:
    """Settings of a simulation; equal settings give equal bytes.

    Raises:
        ConfigError: A field is out of bounds; the message names it.
    """

    scenes: int = 24
    seed: int = 0
    seconds: float = 20.0  # of every scene; key frames come at 2 Hz
    sweeps: bool = False  # True also writes the sweeps between key frames, at 20 Hz
    azimuths: int | None = None  # columns of a sweep; None: the sensor's
    val_share: float = 0.25  # share of the scenes, the last ones, that are the split `val`
    version: str = "v1.0-sim"
    sets: tuple[str, ...] = (ORDINARY,)  # scene sets (sets/), in rotation
    test: int = 0  # additional scenes, the split `test`
    sensors: tuple[str, ...] = (ORDINARY_SENSOR,)  # LiDARs (sensors.py) in rotation, one after every round of the sets

    def __post_init__(self) -> None:
        num_sets = len(self.sets)
        self._require("sets", 0 < len(set(self.sets)) == num_sets, "one or more different names")
        self._require("sets", set(self.sets) <= set(SETS), f"among {', '.join(SETS)}")
        fewest = 1 if num_sets == 1 else 2 * num_sets  # every set in both splits
        self._require("scenes", fewest <= self.scenes <= MAX_SCENES, f"between {fewest} and {MAX_SCENES}")
        self._require("test", self.test == 0 or num_sets <= self.test <= 10_000, f"0, or between {num_sets} and 10000")
        self._require("seed", self.seed >= 0, "0 or more")
        self._require("seconds", 0.5 <= self.seconds <= 120.0, "between 0.5 and 120")
        self._require("azimuths", self.azimuths is None or 90 <= self.azimuths <= 4096, "between 90 and 4096")
        self._require(
            "sensors", self.sensors != () and set(self.sensors) <= set(SENSORS), f"among {', '.join(SENSORS)}"
        )
        self._require("val_share", 0.0 <= self.val_share < 1.0, "at least 0 and less than 1")
        is_name = Path(self.version).name == self.version and self.version != "" and not self.version.startswith(".")
        self._require("version", is_name, "a folder name")

    def _require(self, field: str, valid: bool, bounds: str) -> None:
        if not valid:
            raise ConfigError(f"simulation setting {field} is {getattr(self, field)!r}; it has to be {bounds}")

    def scene_set(self, index: int) -> str:
        """Return the set of scene `index`."""
        return self.sets[self._place(index) % len(self.sets)]

    def scene_sensor(self, index: int) -> str:
        """Return the sensor of scene `index`."""
        return self.sensors[self._place(index) // len(self.sets) % len(self.sensors)]

    def scene_number(self, index: int) -> int:
        """Return the number that scene `index` is drawn by.

        No number of a test scene is ever one of another split, whatever `scenes` is: weights can be tested on any
        simulation of any seed.
        """
        return self._place(index) + (MAX_SCENES if index >= self.scenes else 0)

    def _place(self, index: int) -> int:
        """Return the place of scene `index` among the test scenes, or among the others."""
        return index - self.scenes if index >= self.scenes else index

    @property
    def all_scenes(self) -> int:
        """Number of scenes in the folder, of all splits."""
        return self.scenes + self.test

    def splits(self) -> dict[str, list[str]]:
        """Return the scene names of each split; val and test have one per set and sensor too, as `val_doors`.

        The devkit ties the names train, val and test to the released data; it scores splits with other names, such
        as sim_val, as custom ones.
        """
        held_out = min(max(len(self.sets), round(self.scenes * self.val_share)), self.scenes - len(self.sets))
        first = self.scenes - (held_out if self.val_share > 0 else 0)
        indices = {"train": range(first), "val": range(first, self.scenes)}
        if self.test:
            indices["test"] = range(self.scenes, self.all_scenes)
        splits = {split: [scene_name(i) for i in of_split] for split, of_split in indices.items()}
        splits |= {f"sim_{split}": names for split, names in splits.items()}
        kinds = [(self.sets, self.scene_set)] if self.sets != (ORDINARY,) else []
        kinds += [(self.sensors, self.scene_sensor)] if len(set(self.sensors)) > 1 else []
        for split in [split for split in indices if split != "train"]:
            for names, kind_of in kinds:
                for name in names:
                    splits[f"{split}_{name}"] = [scene_name(i) for i in indices[split] if kind_of(i) == name]
        return splits

    def identity(self) -> dict[str, Any]:
        """Return what a folder stores of the settings; those added later only if they aren't default."""
        fields = {"simulator": SIMULATOR, **asdict(self), "sets": list(self.sets), "sensors": list(self.sensors)}
        later_defaults = {"sets": [ORDINARY], "test": 0, "sensors": [ORDINARY_SENSOR]}
        return {k: v for k, v in fields.items() if k not in later_defaults or v != later_defaults[k]}


def simulate_dataset(out: Path, settings: SimulationSettings, *, workers: int | None = None) -> None:
    """Simulate scenes and write them to a folder in the nuScenes format.

    Does nothing if `out` already holds this data set, and resumes an interrupted run. With more than one worker,
    processes are spawned: a script that calls this needs the usual `if __name__ == "__main__"`.

    Args:
        out: Folder of the data set.
        settings: What is simulated.
        workers: Number of processes; None for one per core.

    Raises:
        DataError: `out` holds anything else.
        ConfigError: `workers` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"simulation workers is {workers}; it has to be 1 or more")
    out = Path(out)
    _claim_folder(out, settings)
    if (out / settings.version).is_dir():
        return
    finished = out / FINISHED
    for folder in (finished, *(out / kind / CHANNEL for kind in ("samples", "sweeps"))):
        folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(settings.all_scenes) if not _scene_file(out, i).is_file()]
    steps = _simulate_scenes(out, settings, missing, workers or os.cpu_count() or 1)
    for _ in with_progress(steps, "Simulating scenes", len(missing)):
        pass
    write_mask(out / MASK_FILE)
    scenes = [json.loads(_scene_file(out, i).read_text()) for i in range(settings.all_scenes)]
    _publish(out / settings.version, dataset_tables(settings.seed, scenes), settings.splits())
    shutil.rmtree(finished)


def _claim_folder(out: Path, settings: SimulationSettings) -> None:
    """Make `out` the folder of these settings; raise DataError if it belongs to anything else."""
    wanted = settings.identity()
    path = out / SETTINGS_FILE
    if path.is_file():
        try:
            stored = json.loads(path.read_text())
        except ValueError as error:
            raise DataError(f"{path} is not valid JSON; remove {out} and simulate again") from error
        if stored != wanted:
            stored = stored if isinstance(stored, dict) else {}
            different = ", ".join(k for k in {**wanted, **stored} if stored.get(k) != wanted.get(k))
            raise DataError(
                f"{out} holds a simulation with other settings ({different}); remove it or choose another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and was not written by this simulator; choose an empty or a new folder")
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1))


def _scene_file(out: Path, index: int) -> Path:
    return out / FINISHED / f"{scene_name(index)}.json"


def _simulate_scenes(out: Path, settings: SimulationSettings, indices: list[int], workers: int) -> Iterator[None]:
    """Simulate the given scenes, yielding once per finished scene."""
    workers = min(workers, len(indices))
    if workers <= 1:
        for index in indices:
            _simulate_scene(out, settings, index)
            yield
        return
    # neither embree's nor torch's threads survive a fork
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_simulate_scene, out, settings, index) for index in indices]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _simulate_scene(out: Path, settings: SimulationSettings, index: int) -> None:
    scene_set = settings.scene_set(index)
    sensor = SENSORS[settings.scene_sensor(index)]
    simulation = SceneSimulation(
        settings.seed, settings.scene_number(index), settings.seconds, settings.azimuths, scene_set, sensor
    )
    weather = "" if simulation.weather == DRY else ", rain"
    description = f"{SETS[scene_set].description}; LiDAR {sensor.name}{weather}"
    tables: Tables = write_scene(out, settings.seed, index, simulation, description=description, sweeps=settings.sweeps)
    with atomic_write(_scene_file(out, index)) as temporary:
        temporary.write_text(json.dumps(tables))


def _publish(folder: Path, tables: Tables, splits: dict[str, list[str]]) -> None:
    """Write the tables to a temporary folder, then rename it."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write_tables(partial, tables, splits)
    partial.rename(folder)
