"""Looking at a detector at work: a recording to walk through, a movie to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from remembev.cli.app import Checkpoint, DataRoot, Device, Precision, app, console
from remembev.errors import UserError


@app.command()
def view(
    checkpoint: Checkpoint,
    data: DataRoot,
    scene: Annotated[
        str | None, typer.Option(help="Name of a scene; the first of the test split if not given.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version; the configuration's if not given.")] = None,
    frames: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1, show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Recording to write (.rrd); named after the scene if not given.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Also write a movie, seen from above (.mp4 or .gif).", show_default=False)
    ] = None,
    min_score: Annotated[float, typer.Option(help="Lowest score of boxes that are shown.")] = 0.25,
    open_it: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the recording where there is a display.")
    ] = True,
    device: Device = "cpu",
    precision: Precision = "fp32",
) -> None:
    """Stream a scene and look at it: points, boxes, tracks, gate, what the memory read from where (rerun)."""
    from remembev.data import NuScenesIndex
    from remembev.export import open_detector
    from remembev.streaming import DTYPES
    from remembev.viewing import watch_scene, write_movie
    from remembev.viewing.movie import check_suffix
    from remembev.viewing.recording import kept_points, write_recording

    if out is not None and out.suffix != ".rrd":
        raise UserError(f"{out}: a recording's name ends in .rrd")
    if video is not None:
        check_suffix(video)
    detector = open_detector(checkpoint, device, DTYPES[precision])
    index = NuScenesIndex.open(data, version or detector.cfg.DATA_CONFIG.VERSION)
    number = index.find_scene(scene) if scene else index.split_scenes(detector.cfg.DATA_CONFIG.DATA_SPLIT.test)[0]
    out = out or Path(f"{index.scene_name(number)}.rrd")
    views = watch_scene(detector, index, number, frames=frames, min_score=min_score)
    write_recording(out, views, min_score=min_score)
    size = out.stat().st_size / 2**20
    console.print(f"[bold]{out}[/]: {len(views)} frames, {size:.1f} MiB. {kept_points(views)}")
    if video is not None:
        write_movie(video, views, min_score=min_score)
        console.print(f"[bold]{video}[/]")
    if open_it and has_display():
        subprocess.Popen([sys.executable, "-m", "rerun", str(out)], start_new_session=True)
    else:
        console.print(f"To look at it: rerun {out}; in a browser: rerun --web-viewer {out}", soft_wrap=True)


def has_display() -> bool:
    """Whether a window can be opened here."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
