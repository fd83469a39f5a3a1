"""The command ``remembev``: simulate, index, train, evaluate, stream, time, report.

Each command is a thin call into the room that does the work; rooms are imported when their command runs, so that a
core installation has every command that its packages allow.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import track
from rich.table import Table

from remembev.config import load_config
from remembev.errors import UserError

app = typer.Typer(
    name="remembev",
    help="PointPillars with a memory: temporal LiDAR detection in bird's-eye view.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()

_EXTRAS = {
    "nuscenes": "nuscenes",
    "pyquaternion": "nuscenes",
    "lightning": "train",
    "tensorboard": "train",
    "trimesh": "simulate",
    "embreex": "simulate",
    "scipy": "simulate",
    "matplotlib": "view",
    "PIL": "view",
}
"""Packages that a core installation lacks, and the extra that brings them."""

DataRoot = Annotated[Path, typer.Option("--data", help="Root of a data set in the nuScenes format.", show_default=False)]
Checkpoint = Annotated[Path, typer.Argument(help="Weights that training wrote (model.safetensors).", show_default=False)]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP007, UP045
    typer.Option("--set", help="Change a key, such as --set OPTIMIZATION.LR=0.002; may be repeated.", show_default=False),
]


def main() -> None:
    """Run the command line: what is the user's to mend is said in a line, without a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True), show_path=False)])
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _fail(f"this needs {error.name}: pip install 'remembev[{extra}]'")


def _fail(message: str) -> None:
    Console(stderr=True).print("error:", style="bold red", end=" ")
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder of the data set to write.", show_default=False)],
    scenes: Annotated[int, typer.Option(help="Scenes of the data set.")] = 24,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    seconds: Annotated[float, typer.Option(help="Length of a scene.")] = 20.0,
    sweeps: Annotated[bool, typer.Option("--sweeps/--no-sweeps", help="Also write the sweeps between key frames.")] = False,
    azimuths: Annotated[int, typer.Option(help="Directions of a turn of the LiDAR.")] = 1085,
    workers: Annotated[Optional[int], typer.Option(help="Processes; one a core if not given.", show_default=False)] = None,  # noqa: UP007, UP045
) -> None:
    """Simulate streets seen by a LiDAR and write them in the nuScenes format."""
    from remembev.simulate import SimulationSettings, simulate_dataset

    settings = SimulationSettings(scenes=scenes, seed=seed, seconds=seconds, sweeps=sweeps, azimuths=azimuths)
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
    console.print(f"[bold]{data}[/]: {len(opened.scene_tokens)} scenes, splits {', '.join(sorted(opened.splits))}")


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or a shipped configuration: nuscenes, tiny.", show_default=False)],
    data: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last whole epoch in OUT, if there is one.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, clips and augmentation.")] = 0,
    devices: Annotated[int, typer.Option(help="GPUs, or processes where there is none.")] = 1,
    workers: Annotated[Optional[int], typer.Option(help="Loader processes; at most the configuration's.", show_default=False)] = None,  # noqa: UP007, UP045
    overrides: Overrides = None,
) -> None:
    """Train a configuration: weights, curves (TensorBoard and CSV) and checkpoints go to OUT."""
    cfg = load_config(config, overrides or ())
    from remembev.training import train as run_training

    run = run_training(cfg, data, out, resume=resume, seed=seed, devices=devices, workers=workers)
    console.print(f"weights: [bold]{run.weights}[/]")


if __name__ == "__main__":
    main()
