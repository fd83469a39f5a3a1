"""Data sets: simulated ones, and the index of any."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remembev.cli.app import app, console


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder of the data set to write.", show_default=False)],
    scenes: Annotated[int, typer.Option(help="Scenes of the data set.")] = 24,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    seconds: Annotated[float, typer.Option(help="Length of a scene.")] = 20.0,
    sweeps: Annotated[
        bool, typer.Option("--sweeps/--no-sweeps", help="Also write the sweeps between key frames.")
    ] = False,
    azimuths: Annotated[int, typer.Option(help="Directions of a turn of the LiDAR.")] = 1085,
    sets: Annotated[
        str,
        typer.Option(
            help="Kinds of scene, dealt in turn: street (ordinary), doors, overtaking, crossings, far, crowd; or all."
        ),
    ] = "street",
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if not given.", show_default=False)] = None,
) -> None:
    """Simulate streets seen by a LiDAR and write them in the nuScenes format."""
    from remembev.simulate import SETS, SimulationSettings, simulate_dataset

    names = tuple(SETS) if sets == "all" else tuple(name.strip() for name in sets.split(","))
    settings = SimulationSettings(
        scenes=scenes, seed=seed, seconds=seconds, sweeps=sweeps, azimuths=azimuths, sets=names
    )
    simulate_dataset(out, settings, workers=workers)
    console.print(f"[bold]{out}[/]: version {settings.version}, {scenes} scenes")


@app.command()
def index(
    data: Annotated[Path, typer.Argument(help="Root of a data set in the nuScenes format.", show_default=False)],
    version: Annotated[str, typer.Option(help="Version, the name of the folder with the tables.")] = "v1.0-trainval",
) -> None:
    """Index a data set once, so that training and streaming open it at once and without the devkit."""
    from remembev.data import NuScenesIndex

    opened = NuScenesIndex.open(data, version)
    console.print(f"[bold]{data}[/]: {opened.num_scenes} scenes, splits {', '.join(opened.splits)}")
