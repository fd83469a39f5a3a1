"""``remembev stream``: boxes of a scene, frame by frame, in the terminal, in a file and in a movie."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.live import Live

from remembev.cli.app import CHECKPOINT, DATA, Device, Precision, Track, app, console
from remembev.errors import DataError, UserError
from remembev.files import atomic_write

if TYPE_CHECKING:
    from remembev.data import Frame
    from remembev.streaming import StreamDetections, StreamingDetector, StreamState
    from remembev.viewing import FrameView, ViewBuilder

_DEMO_WEIGHTS = Path("small")
_DEMO_MOVIE = Path("remembev-demo.gif")


@app.command()
def stream(
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    data: Annotated[Path | None, DATA] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Stream a simulated street: needs no data set and no training.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Draw the scene from above in the terminal; implied by --demo.")
    ] = False,
    scene: Annotated[str | None, typer.Option(help="Name of the scene; default: the first of the test split.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the data set; default: the configuration's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the boxes, one JSON object per frame and line.")] = None,
    movie: Annotated[Path | None, typer.Option(help="Write a movie of the scene from above (.gif or .mp4).")] = None,
    min_score: Annotated[float, typer.Option(help="Lowest score of shown boxes; --out has all boxes.")] = 0.25,
    frames: Annotated[int | None, typer.Option(help="Stop after this many frames.", min=1, show_default=False)] = None,
    save_state: Annotated[
        Path | None, typer.Option(help="Write the state of the scene after its last frame (.safetensors).")
    ] = None,
    load_state: Annotated[
        Path | None, typer.Option(help="Continue the scene of a saved state instead of starting at a first frame.")
    ] = None,
    track: Track = None,
    device: Device = "cpu",
    precision: Precision = "fp32",
) -> None:
    """Stream a scene frame by frame: boxes in the terminal, in a file, in a movie."""
    from remembev.export import open_detector
    from remembev.streaming import dtype_of, frame_record

    if demo:
        if any(option is not None for option in (data, scene, version, load_state)):
            raise UserError("--demo has its own scene: omit --data, --scene, --version and --load-state")
        checkpoint, movie, live = checkpoint or _DEMO_WEIGHTS, movie or _DEMO_MOVIE, live or console.is_terminal
        track = True if track is None else track
    if checkpoint is None or (data is None and not demo):
        raise typer.BadParameter("pass CHECKPOINT and --data, or --demo")
    if scene is not None and load_state is not None:
        raise UserError("--load-state continues the scene of the saved state: omit --scene")

    detector = open_detector(checkpoint, device, dtype_of(precision, device), tracker=track)
    source = _simulated(detector) if data is None else _data_set(detector, data, version, scene, load_state)
    builder = _view_builder(detector, source.name, movie, min_score) if live or movie is not None else None
    names, views = detector.cfg.CLASS_NAMES, []
    records: list[dict[str, Any]] = []
    with Live(console=console, auto_refresh=False) if live else nullcontext() as screen:
        for frame, detections in islice(source.steps, frames):
            records.append(frame_record(frame, detections, names))
            if builder is not None:
                views.append(builder.view(frame, detections))
            if screen is not None:
                screen.update(_drawn(views[-1], detector.state(source.token), min_score), refresh=True)
            else:
                shown = _counted(detections[detections.scores >= min_score], names)
                console.print(f"{frame.timestamp - records[0]['timestamp']:6.2f} s  {shown}")
    if not records:
        raise DataError(f"{data}: scene {source.name} has no frame after the last one of {load_state}")

    if save_state is not None:
        detector.save_state(save_state, source.token)
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    if movie is not None:
        from remembev.viewing import write_movie

        with console.status(f"drawing {movie}"):
            write_movie(movie, views, min_score=min_score)
        console.print(f"movie: [bold]{movie}[/]")


@dataclass(frozen=True)
class _Source:
    """A scene to stream: its frames with their detections."""

    name: str
    token: str
    steps: Iterator[tuple[Frame, StreamDetections]]


def _data_set(
    detector: StreamingDetector, data: Path, version: str | None, scene: str | None, load_state: Path | None
) -> _Source:
    """Return a scene of a data set, or the rest of the scene of a saved state."""
    from remembev.data import NuScenesIndex
    from remembev.streaming import continue_scene, stream_scene

    index = NuScenesIndex.open(data, version or detector.cfg.DATA_CONFIG.VERSION)
    if load_state is not None:
        number = index.find_token(detector.load_state(load_state))
    else:
        number = index.find_scene(scene) if scene else index.split_scenes(detector.cfg.DATA_CONFIG.DATA_SPLIT.test)[0]
    steps = (stream_scene if load_state is None else continue_scene)(detector, index, number)
    return _Source(index.scene_name(number), index.scene_token(number), steps)


def _simulated(detector: StreamingDetector) -> _Source:
    """Return the demo's street, simulated frame by frame."""
    from remembev.streaming.sources.simulated import demo_scene, simulated_frames

    with console.status("building a street"):
        street = demo_scene()
    name, cfg = "a simulated street", detector.cfg
    steps = (
        (frame, detector.step(frame.points, frame.global_from_lidar, frame.timestamp, frame.scene_token))
        for frame in simulated_frames(street, cfg.CLASS_NAMES, cfg.DATA_CONFIG.NUM_SWEEPS, token=name)
    )
    return _Source(name, name, steps)


def _view_builder(detector: StreamingDetector, title: str, movie: Path | None, min_score: float) -> ViewBuilder:
    from remembev.viewing import ViewBuilder
    from remembev.viewing.movie import check_suffix

    if movie is not None:
        check_suffix(movie)
    return ViewBuilder(detector, title, min_score=min_score)


def _drawn(view: FrameView, state: StreamState, min_score: float) -> RenderableType:
    """Return a frame as a drawing for the terminal."""
    from remembev.viewing.terminal import terminal_frame

    return terminal_frame(view, state, console.size, min_score=min_score)


def _counted(detections: StreamDetections, class_names: Sequence[str]) -> str:
    """Return the numbers of boxes by class, as in ``3 car, 1 truck (1 remembered); coasting: car 12``."""
    from remembev.streaming import coasting_tracks

    counts = Counter(class_names[label] for label in detections.labels.tolist())
    shown = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    remembered, coasting = int(detections.remembered.sum()), coasting_tracks(detections, class_names)
    return shown + f" ({remembered} remembered)" * bool(remembered) + f"; coasting: {coasting}" * bool(coasting)
