"""Data sets: simulated ones, and the index of any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from remembev.cli.app import app, console


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder of the data set to write.", show_default=False)],
    scenes: Annotated[int, typer.Option(help="Scenes of the splits train and val; val is the last quarter.")] = 24,
    test: Annotated[int, typer.Option(help="Additional scenes, the split test.")] = 0,
    seed: Annotated[int, typer.Option(help="Random seed; equal settings and seeds give equal bytes.")] = 0,
    seconds: Annotated[float, typer.Option(help="Length of a scene, in seconds.")] = 20.0,
    sweeps: Annotated[
        bool, typer.Option("--sweeps/--no-sweeps", help="Also write the sweeps between key frames.")
    ] = False,
    azimuths: Annotated[int, typer.Option(help="Columns of a LiDAR sweep.")] = 1085,
    sets: Annotated[
        str,
        typer.Option(
            help="Scene sets, in rotation: street (ordinary), doors, overtaking, crossings, far, crowd; or all."
        ),
    ] = "street",
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per core.", show_default=False)] = None,
) -> None:
    """Simulate streets and a LiDAR, and write a data set in the nuScenes format."""
    from remembev.simulate import SETS, SimulationSettings, simulate_dataset

    names = tuple(SETS) if sets == "all" else _names(sets)
    settings = SimulationSettings(
        scenes=scenes, test=test, seed=seed, seconds=seconds, sweeps=sweeps, azimuths=azimuths, sets=names
    )
    simulate_dataset(out, settings, workers=workers)
    console.print(f"[bold]{out}[/]: version {settings.version}, {settings.all_scenes} scenes")


@app.command()
def index(
    data: Annotated[Path, typer.Argument(help="Root of a data set in the nuScenes format.", show_default=False)],
    version: Annotated[str, typer.Option(help="Version, the name of the folder with the tables.")] = "v1.0-trainval",
) -> None:
    """Index a data set once, so that training and streaming open it at once and without the devkit."""
    from remembev.data import NuScenesIndex

    opened = NuScenesIndex.open(data, version)
    console.print(f"[bold]{data}[/]: {opened.num_scenes} scenes, splits {', '.join(opened.splits)}")


@app.command()
def census(
    data: Annotated[Path, typer.Argument(help="Root of a data set in the nuScenes format.", show_default=False)],
    splits: Annotated[str, typer.Option(help="Splits to count, with commas between them.")] = "val",
    version: Annotated[str, typer.Option(help="Version, the name of the folder with the tables.")] = "v1.0-trainval",
    within: Annotated[float, typer.Option(help="Metres from the sensor, in x and in y.")] = 40.0,
    as_json: Annotated[bool, typer.Option("--json", help="By class, as JSON.")] = False,
) -> None:
    """Count what a data set offers to a memory: objects without a point, by when they were last well seen."""
    from remembev.data import NuScenesIndex
    from remembev.data.census import WELL_SEEN, WINDOWS, take_census

    opened = NuScenesIndex.open(data, version)
    counted = {split: take_census(opened, split, within=within) for split in _names(splits)}
    if as_json:
        print(json.dumps({split: found.to_json() for split, found in counted.items()}, indent=1))
        return
    table = Table(title=f"objects a key frame within {within:g} m; well seen: {WELL_SEEN} points or more")
    table.add_column("")
    for split in counted:
        table.add_column(split, justify="right")
    names = ["objects", "well seen", "fewer points", "no point"]
    names += [f"… well seen {window:g} s ago" for window in WINDOWS]
    names += [f"visibility {level}" for level in range(1, 5)]
    columns = []
    for found in counted.values():
        totals = [count.sum() for count in (found.objects, found.in_sight, found.faint, found.hidden)]
        totals += [*found.remembered.sum(0), *found.visibility.sum(0)]
        columns.append([f"{total / max(found.frames, 1):.1f}" for total in totals])
    table.add_row("frames", *(str(found.frames) for found in counted.values()))
    for name, *values in zip(names, *columns, strict=True):
        table.add_row(name, *values)
    console.print(table)


def _names(text: str) -> tuple[str, ...]:
    """``a, b`` as names."""
    return tuple(name.strip() for name in text.split(","))
