"""A whole simulated data set: its settings, its scenes in parallel, and when its folder counts as complete.

Point files and rows of finished scenes are kept as they come; the tables appear last, all at once, so a folder that
has them is whole. A run that was interrupted goes on from its finished scenes.
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

from rich.progress import track

from remembev.errors import ConfigError, DataError
from remembev.files import atomic_write
from remembev.simulate.scene import SceneSimulation
from remembev.simulate.sets import ORDINARY, SETS
from remembev.simulate.writer import (
    CHANNEL,
    MASK_FILE,
    Tables,
    data_set_tables,
    scene_name,
    write_mask,
    write_scene,
    write_tables,
)

SIMULATOR = 1  # goes up whenever the same settings give another data set
SETTINGS_FILE = "simulation.json"
FINISHED = ".scenes"


@dataclass(frozen=True)
class SimulationSettings:
    """What is simulated; equal settings give equal bytes.

    Raises ConfigError naming the field that is out of bounds.
    """

    scenes: int = 24
    seed: int = 0
    seconds: float = 20.0  # of every scene; key frames come at 2 Hz
    sweeps: bool = False  # whether the turns between key frames are written too, at 20 Hz
    azimuths: int = 1085  # columns of a turn
    val_share: float = 0.25  # share of the scenes, the last ones, that are the split `val`
    version: str = "v1.0-sim"
    sets: tuple[str, ...] = (ORDINARY,)  # kinds of scene (sets/), dealt in turn
    test: int = 0  # scenes after these, that are the split `test`

    def __post_init__(self) -> None:
        self._need("sets", bool(self.sets) and len(set(self.sets)) == len(self.sets), "different names, one at least")
        self._need("sets", set(self.sets) <= set(SETS), f"among {', '.join(SETS)}")
        fewest = 1 if len(self.sets) == 1 else 2 * len(self.sets)  # every set in both splits
        self._need("scenes", fewest <= self.scenes <= 10_000, f"between {fewest} and 10000")
        good = self.test == 0 or len(self.sets) <= self.test <= 10_000
        self._need("test", good, f"0, or between {len(self.sets)} and 10000")
        self._need("seed", self.seed >= 0, "0 or more")
        self._need("seconds", 0.5 <= self.seconds <= 120.0, "between 0.5 and 120")
        self._need("azimuths", 90 <= self.azimuths <= 4096, "between 90 and 4096")
        self._need("val_share", 0.0 <= self.val_share < 1.0, "at least 0 and less than 1")
        is_name = bool(self.version) and Path(self.version).name == self.version and self.version not in (".", "..")
        self._need("version", is_name and not self.version.startswith("."), "the name of a folder")

    def _need(self, field: str, good: bool, wanted: str) -> None:
        if not good:
            raise ConfigError(f"{field} of a simulation is {getattr(self, field)!r}; it has to be {wanted}")

    def scene_set(self, index: int) -> str:
        """The set of scene `index`."""
        return self.sets[index % len(self.sets)]

    @property
    def all_scenes(self) -> int:
        """Scenes of the folder, of whatever split."""
        return self.scenes + self.test

    def splits(self) -> dict[str, list[str]]:
        """Scene names of the splits; what a split that is scored has of each set is one too, such as `val_doors`.

        The devkit ties the names train, val and test to the released data; by names such as sim_val it scores these
        splits as custom ones.
        """
        held_out = min(max(len(self.sets), round(self.scenes * self.val_share)), self.scenes - len(self.sets))
        first = self.scenes - (held_out if self.val_share > 0 else 0)
        parts = {"train": range(first), "val": range(first, self.scenes)}
        if self.test:
            parts["test"] = range(self.scenes, self.all_scenes)
        names = {part: [scene_name(i) for i in places] for part, places in parts.items()}
        splits = {**names, **{f"sim_{part}": scenes for part, scenes in names.items()}}
        if self.sets != (ORDINARY,):
            for part in [part for part in parts if part != "train"]:
                for name in self.sets:
                    splits[f"{part}_{name}"] = [scene_name(i) for i in parts[part] if self.scene_set(i) == name]
        return splits

    def identity(self) -> dict[str, Any]:
        """What a folder keeps of them; without what was added later, where it is as it was before."""
        fields = {"simulator": SIMULATOR, **asdict(self), "sets": list(self.sets)}
        as_before = {"sets": [ORDINARY], "test": 0}
        return {k: v for k, v in fields.items() if k not in as_before or v != as_before[k]}


def simulate_dataset(out: Path, settings: SimulationSettings, *, workers: int | None = None) -> None:
    """Simulate scenes and write them to `out` in the nuScenes format, `workers` at a time (None: one a core).

    Does nothing where `out` already holds this data set, and goes on where a run for it was interrupted. With more
    than one worker, processes are spawned: a script that calls this needs the usual `if __name__ == "__main__"`.

    Raises DataError if `out` holds anything else, ConfigError if `workers` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers of a simulation is {workers}; it has to be 1 or more")
    out = Path(out)
    _claim(out, settings)
    if (out / settings.version).is_dir():
        return
    finished = out / FINISHED
    for folder in (finished, *(out / kind / CHANNEL for kind in ("samples", "sweeps"))):
        folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(settings.all_scenes) if not _scene_file(out, i).is_file()]
    steps = _simulate_scenes(out, settings, missing, workers or os.cpu_count() or 1)
    for _ in track(steps, total=len(missing), description="Simulating scenes", disable=not missing):
        pass
    write_mask(out / MASK_FILE)
    scenes = [json.loads(_scene_file(out, i).read_text()) for i in range(settings.all_scenes)]
    _publish(out / settings.version, data_set_tables(settings.seed, scenes), settings.splits())
    shutil.rmtree(finished)


def _claim(out: Path, settings: SimulationSettings) -> None:
    """Make `out` the folder of these settings, or fail if it belongs to anything else."""
    wanted = settings.identity()
    path = out / SETTINGS_FILE
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise DataError(f"{path} is not readable as JSON; remove {out} and simulate again") from error
        if found != wanted:
            found = found if isinstance(found, dict) else {}
            differ = ", ".join(k for k in {**wanted, **found} if found.get(k) != wanted.get(k))
            raise DataError(
                f"{out} holds a simulation with other settings ({differ}); remove it or choose another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and was not written by this simulator; choose an empty or a new folder")
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1))


def _scene_file(out: Path, index: int) -> Path:
    return out / FINISHED / f"{scene_name(index)}.json"


def _simulate_scenes(out: Path, settings: SimulationSettings, indices: list[int], workers: int) -> Iterator[None]:
    """Simulate the given scenes, yielding once for each that is finished."""
    workers = min(workers, len(indices))
    if workers <= 1:
        for index in indices:
            _simulate_scene(out, settings, index)
            yield
        return
    # spawn: neither embree's nor torch's threads survive a fork
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_simulate_scene, out, settings, index) for index in indices]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _simulate_scene(out: Path, settings: SimulationSettings, index: int) -> None:
    name = settings.scene_set(index)
    simulation = SceneSimulation(settings.seed, index, settings.seconds, settings.azimuths, name)
    description = SETS[name].description
    tables: Tables = write_scene(out, settings.seed, index, simulation, description=description, sweeps=settings.sweeps)
    with atomic_write(_scene_file(out, index)) as temporary:
        temporary.write_text(json.dumps(tables))


def _publish(folder: Path, tables: Tables, splits: dict[str, list[str]]) -> None:
    """Write the tables beside their folder, then give them its name."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write_tables(partial, tables, splits)
    partial.rename(folder)
