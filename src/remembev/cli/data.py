"""Commands on data sets: simulate one, index one, count its objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from remembev.cli.app import app, console

if TYPE_CHECKING:
    from remembev.data.cloud_stats import AnnotatedCloud


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
    azimuths: Annotated[
        int | None, typer.Option(help="Columns of a LiDAR sweep; default: the sensor's.", show_default=False)
    ] = None,
    sensors: Annotated[
        str,
        typer.Option(
            help="LiDARs, in rotation after every round of the sets: nuscenes, beams64, beams16, two_lidars, and "
            "beams40, which is for testing. A name may occur more than once."
        ),
    ] = "nuscenes",
    sets: Annotated[
        str,
        typer.Option(
            help="Scene sets, in rotation: street (ordinary), doors, overtaking, crossings, far, crowd; or all."
        ),
    ] = "street",
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per core.", show_default=False)] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            help="Folder of real data, a key frame or a data set: print its statistics beside those of the simulation, "
            "and draw OUT/check.png.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Simulate streets and a LiDAR, and write a data set in the nuScenes format."""
    from remembev.data.cloud_stats import annotated_clouds
    from remembev.simulate import SETS, SimulationSettings, simulate_dataset

    real = [] if check is None else list(annotated_clouds(check))  # a wrong folder fails before hours of work
    names = tuple(SETS) if sets == "all" else _names(sets)
    settings = SimulationSettings(
        scenes=scenes,
        test=test,
        seed=seed,
        seconds=seconds,
        sweeps=sweeps,
        azimuths=azimuths,
        sets=names,
        sensors=_names(sensors),
    )
    simulate_dataset(out, settings, workers=workers)
    console.print(f"[bold]{out}[/]: version {settings.version}, {settings.all_scenes} scenes")
    if check is not None:
        _compare_clouds(real, list(annotated_clouds(out / settings.version)), out / "check.png")


def _compare_clouds(real: list[AnnotatedCloud], simulated: list[AnnotatedCloud], picture: Path) -> None:
    """Print the statistics of real and simulated clouds side by side, and draw them."""
    from remembev.data.cloud_stats import STATISTICS, cloud_stats
    from remembev.viewing.clouds import save_cloud_comparison

    of_real, of_simulated = cloud_stats(real), cloud_stats(simulated)
    table = Table(title=f"{len(real)} real and {len(simulated)} simulated key frames")
    for column in ("", "real", "simulated", "simulated / real"):
        table.add_column(column, justify="right" if column else "left")
    for statistic in STATISTICS:
        own, other = of_simulated[statistic.name], of_real[statistic.name]
        ratio = own / other if other else float("nan")
        table.add_row(statistic.name, *(f"{value:.{statistic.digits}f}" for value in (other, own)), f"{ratio:.2f}")
    console.print(table)
    save_cloud_comparison(picture, real, simulated)
    console.print(f"picture: [bold]{picture}[/]")


@app.command()
def index(
    data: Annotated[Path, typer.Argument(help="Root of a data set in the nuScenes format.", show_default=False)],
    version: Annotated[str, typer.Option(help="Version, the name of the folder with the tables.")] = "v1.0-trainval",
) -> None:
    """Index a data set in advance; otherwise training and streaming do when they first open it."""
    from remembev.data import NuScenesIndex

    index = NuScenesIndex.open(data, version)
    console.print(f"[bold]{data}[/]: {index.num_scenes} scenes, splits {', '.join(index.splits)}")


@app.command(name="dataset-stats")
def dataset_stats(
    data: Annotated[Path, typer.Argument(help="Root of a data set in the nuScenes format.", show_default=False)],
    splits: Annotated[str, typer.Option(help="Splits, separated by commas.")] = "val",
    version: Annotated[str, typer.Option(help="Version, the name of the folder with the tables.")] = "v1.0-trainval",
    within: Annotated[float, typer.Option(help="Largest distance from the sensor in x and in y, in metres.")] = 40.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts by class as JSON.")] = False,
) -> None:
    """Count the objects of a data set: visible, faint, and hidden by the time since they were last well seen."""
    from remembev.data import NuScenesIndex
    from remembev.evaluation.dataset_stats import VISIBILITY_LEVELS
    from remembev.evaluation.dataset_stats import dataset_stats as count_objects
    from remembev.evaluation.observability import WELL_SEEN
    from remembev.evaluation.permanence import WINDOWS_S

    index = NuScenesIndex.open(data, version)
    counts = {split: count_objects(index, split, within_metres=within) for split in _names(splits)}
    if as_json:
        print(json.dumps({split: stats.to_json() for split, stats in counts.items()}, indent=1))
        return
    table = Table(title=f"objects per key frame within {within:g} m; well seen: at least {WELL_SEEN} points")
    table.add_column("")
    for split in counts:
        table.add_column(split, justify="right")
    table.add_row("frames", *(str(stats.frames) for stats in counts.values()))
    names = ["objects", "well seen", "fewer points", "no point"]
    names += [f"… hidden, well seen within {window:g} s" for window in WINDOWS_S]
    names += [f"visibility {level}" for level in VISIBILITY_LEVELS]
    columns = []
    for stats in counts.values():
        totals = [counted.sum() for counted in (stats.objects, stats.well_seen, stats.faint, stats.no_points)]
        totals += [*stats.hidden.sum(0), *stats.visibility.sum(0)]
        columns.append([f"{int(total) / max(stats.frames, 1):.1f}" for total in totals])
    for name, *values in zip(names, *columns, strict=True):
        table.add_row(name, *values)
    console.print(table)


def _names(text: str) -> tuple[str, ...]:
    """Return the names in ``a, b``."""
    return tuple(name.strip() for name in text.split(","))
