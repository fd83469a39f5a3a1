"""The application, the options that commands share, and error messages."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler

from remembev import __version__
from remembev.errors import UserError

app = typer.Typer(
    name="remembev",
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
    "motmetrics": "tracking",
    "pandas": "tracking",
    "trimesh": "simulate",
    "embreex": "simulate",
    "scipy": "simulate",
    "matplotlib": "view",
    "PIL": "view",
    "rerun": "view",
    "imageio_ffmpeg": "view",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
}
"""The extra of each package that a core installation lacks."""

DATA = typer.Option("--data", help="Root of a data set in the nuScenes format.", show_default=False)
DataRoot = Annotated[Path, DATA]
CHECKPOINT = typer.Argument(
    help="Checkpoint (.safetensors), exported file, or name of shipped weights.",
    show_default=False,
)
Checkpoint = Annotated[Path, CHECKPOINT]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(
        help="Precision of backbone and head; the rest runs in fp32. auto: bf16 where the machine is fast at it."
    ),
]
Reach = Annotated[
    Literal["unbounded", "half-second", "both"],
    typer.Option(
        help="Reach of the memory: the whole scene, the last half second (as the detection challenge allows), or both."
    ),
]
Track = Annotated[
    bool | None,
    typer.Option(
        "--track/--no-track",
        help="Track the objects, and let lost ones coast; default: the configuration's TRACKING.ENABLED.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a key of the configuration, such as --set OPTIMIZATION.LR=0.002; may be repeated.",
        show_default=False,
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"remembev {__version__} (Python {python_version()}, torch {version('torch')})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit.", show_default=False
        ),
    ] = False,
) -> None:
    """PointPillars with a memory: temporal LiDAR detection in bird's-eye view."""


def tracks_of(reach: Literal["unbounded", "half-second", "both"]) -> tuple[str, ...]:
    """Return evaluation's names of ``--reach``."""
    from remembev.evaluation import TRACKS

    return TRACKS if reach == "both" else (reach.replace("-", "_"),)


def main() -> None:
    """Run the command line; errors of the user are printed in one line, without a traceback."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
    )
    try:
        app()
    except UserError as error:
        _fail(str(error).rpartition(f"{type(error).__name__}: ")[2])  # without the traceback of a loader's process
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _fail(f"{error.name} is not installed; it comes with the extra {extra}: pip install -e '.[{extra}]'")


def _fail(message: str) -> None:
    Console(stderr=True).print("error:", style="bold red", end=" ")
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)
