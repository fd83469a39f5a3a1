"""The command ``view``: a rerun recording or a movie of a detector at work."""

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
    scene: Annotated[str | None, typer.Option(help="Scene name; default: the first of the test split.")] = None,
    version: Annotated[str | None, typer.Option(help="Data set version; default: the configuration's.")] = None,
    frames: Annotated[
        int | None, typer.Option(help="Number of frames; default: all.", min=1, show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Recording to write (.rrd); default: named after the scene.")] = None,
    video: Annotated[
        Path | None, typer.Option(help="Also write a bird's-eye view movie (.mp4 or .gif).", show_default=False)
    ] = None,
    min_score: Annotated[float, typer.Option(help="Lowest score of boxes to show.")] = 0.25,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Open the recording if there is a display.")] = True,
    track: Annotated[
        bool, typer.Option("--track/--no-track", help="Track the objects, and let lost ones coast.")
    ] = True,
    device: Device = "cpu",
    precision: Precision = "fp32",
) -> None:
    """Stream a scene and record points, boxes, tracks, gate and memory reads for rerun."""
    from remembev.data import NuScenesIndex
    from remembev.export import open_detector
    from remembev.streaming import dtype_of
    from remembev.viewing import view_scene, write_movie
    from remembev.viewing.movie import check_suffix
    from remembev.viewing.recording import kept_points, write_recording

    if out is not None and out.suffix != ".rrd":
        raise UserError(f"{out}: a recording has to end in .rrd")
    if video is not None:
        check_suffix(video)
    detector = open_detector(checkpoint, device, dtype_of(precision, device), tracker=track)
    index = NuScenesIndex.open(data, version or detector.cfg.DATA_CONFIG.VERSION)
    number = index.find_scene(scene) if scene else index.split_scenes(detector.cfg.DATA_CONFIG.DATA_SPLIT.test)[0]
    out = out or Path(f"{index.scene_name(number)}.rrd")
    views = view_scene(detector, index, number, frames=frames, min_score=min_score)
    write_recording(out, views, min_score=min_score)
    size = out.stat().st_size / 2**20
    console.print(f"[bold]{out}[/]: {len(views)} frames, {size:.1f} MiB. {kept_points(views)}")
    if video is not None:
        write_movie(video, views, min_score=min_score)
        console.print(f"[bold]{video}[/]")
    if open_it and has_display():
        subprocess.Popen([sys.executable, "-m", "rerun", str(out)], start_new_session=True)
    else:
        console.print(f"View it with: rerun {out}, or in a browser: rerun --web-viewer {out}", soft_wrap=True)


def has_display() -> bool:
    """Return True if a window can be opened here."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
