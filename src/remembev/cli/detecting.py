"""What is done with weights: scored, streamed, exported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.live import Live

from remembev.cli.app import CHECKPOINT, DATA, Checkpoint, DataRoot, Device, Precision, Track, app, console, tracks_of
from remembev.errors import DataError, UserError
from remembev.files import atomic_write

if TYPE_CHECKING:
    from remembev.data import Frame
    from remembev.streaming import StreamDetections, StreamingDetector

_DEMO_WEIGHTS = "small_sweeps_read"
_DEMO_MOVIE = Path("remembev-demo.gif")


@app.command(name="eval")
def evaluate(
    checkpoint: Checkpoint,
    data: DataRoot,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of submission, detections and metrics; beside CHECKPOINT if not given."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split; the configuration's test split if not given.")] = None,
    version: Annotated[str | None, typer.Option(help="Version; the configuration's if not given.")] = None,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Keep the memory from frame to frame.")] = True,
    track: Track = "unbounded",
    remembered: Annotated[
        bool,
        typer.Option("--remembered", help="Hand in boxes without a point inside too: official rules call them false."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    device: Device = "cpu",
    precision: Precision = "fp32",
    devices: Annotated[
        int, typer.Option(help="Processes that share the scenes: a GPU each with --device cuda.", min=1)
    ] = 1,
) -> None:
    """Go through every scene in order, write a nuScenes submission, score it, and measure what that score can't see."""
    from remembev.evaluation import evaluate_checkpoint, evaluation_table
    from remembev.streaming import DTYPES

    out = out or checkpoint.parent / ("eval" if memory else "eval-no-memory")
    evaluation = evaluate_checkpoint(
        checkpoint,
        data,
        out,
        version=version,
        split=split,
        use_memory=memory,
        tracks=tracks_of(track),
        remembered=remembered,
        device=device,
        dtype=DTYPES[precision],
        devices=devices,
    )
    if evaluation is None:  # one of torchrun's processes, of which the first reports
        return
    if as_json:
        print(json.dumps(evaluation.to_json(), indent=2))
        return
    console.print(evaluation_table(evaluation))
    console.print(f"{evaluation.frames} frames of {evaluation.split} in {evaluation.seconds:.0f} s; see [bold]{out}[/]")


@app.command()
def stream(
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    data: Annotated[Path | None, DATA] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="A simulated street, made on the way: no data set, nothing to train.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Draw the scene from above in the terminal; --demo does if it is one.")
    ] = False,
    scene: Annotated[
        str | None, typer.Option(help="Name of a scene; the first of the test split if not given.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version; the configuration's if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the boxes, a JSON object a frame and line.")] = None,
    movie: Annotated[Path | None, typer.Option(help="Write a moving picture (.gif or .mp4), seen from above.")] = None,
    min_score: Annotated[float, typer.Option(help="Lowest score that is shown; --out has all boxes.")] = 0.25,
    frames: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1, show_default=False)] = None,
    save_state: Annotated[
        Path | None, typer.Option(help="Write the state of the scene after its last frame (.safetensors).")
    ] = None,
    load_state: Annotated[
        Path | None, typer.Option(help="Go on where a state was saved, instead of at a scene's first frame.")
    ] = None,
    device: Device = "cpu",
    precision: Precision = "fp32",
) -> None:
    """Stream a scene frame by frame: boxes on the screen, in a file, in a moving picture."""
    from remembev.export import open_detector
    from remembev.streaming import DTYPES, frame_record

    if demo:
        if any(given is not None for given in (data, scene, version, load_state)):
            raise UserError("--demo brings its scene along: leave --data, --scene, --version and --load-state out")
        checkpoint, movie, live = checkpoint or Path(_DEMO_WEIGHTS), movie or _DEMO_MOVIE, live or console.is_terminal
    if checkpoint is None or (data is None and not demo):
        raise typer.BadParameter("give CHECKPOINT and --data, or --demo")
    if scene is not None and load_state is not None:
        raise UserError("a saved state says itself of which scene it is: leave --scene out")
    detector = open_detector(checkpoint, device, DTYPES[precision])
    source = _demo(detector) if data is None else _scene_of(detector, data, version, scene, load_state)
    names = detector.cfg.CLASS_NAMES
    records: list[dict[str, Any]] = []
    watcher, views = None, []
    if live or movie is not None:
        from remembev.viewing import ViewBuilder
        from remembev.viewing.movie import check_suffix
        from remembev.viewing.terminal import terminal_frame

        if movie is not None:
            check_suffix(movie)
        watcher = ViewBuilder(detector, source.name, min_score=min_score)
    with Live(console=console, auto_refresh=False) if live else nullcontext() as screen:
        for frame, detections in islice(source.steps, frames):
            records.append(frame_record(frame, detections, names))
            if watcher is not None:
                views.append(watcher.view(frame, detections))
            if screen is not None:
                state = detector.state(source.token)
                screen.update(terminal_frame(views[-1], state, console.size, min_score=min_score), refresh=True)
                continue
            sure = detections[detections.scores >= min_score]
            found = Counter(names[label] for label in sure.labels.tolist())
            shown = ", ".join(f"{n} {name}" for name, n in found.most_common()) or "nothing"
            shown += f" ({remembered} remembered)" if (remembered := int(sure.remembered.sum())) else ""
            console.print(f"{frame.timestamp - records[0]['timestamp']:6.2f} s  {shown}")
    if not records:
        raise DataError(f"{data}: scene {source.name} has no frame after the one that {load_state} ends at")
    if save_state is not None:
        detector.save_state(save_state, source.token)
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    if movie is not None:
        from remembev.viewing import write_movie

        with console.status(f"drawing {movie}"):
            write_movie(movie, views, min_score=min_score)
        console.print(f"moving picture: [bold]{movie}[/]")


@dataclass(frozen=True)
class _Source:
    """A scene that is streamed: its frames, each with what is detected on it."""

    name: str
    token: str
    steps: Iterator[tuple[Frame, StreamDetections]]


def _scene_of(
    detector: StreamingDetector, data: Path, version: str | None, scene: str | None, load_state: Path | None
) -> _Source:
    """A scene of a data set, or the rest of one that was saved."""
    from remembev.data import NuScenesIndex
    from remembev.streaming import continue_scene, stream_scene

    index = NuScenesIndex.open(data, version or detector.cfg.DATA_CONFIG.VERSION)
    if load_state is not None:
        number = index.find_token(detector.load_state(load_state))
    else:
        number = index.find_scene(scene) if scene else index.split_scenes(detector.cfg.DATA_CONFIG.DATA_SPLIT.test)[0]
    steps = (stream_scene if load_state is None else continue_scene)(detector, index, number)
    return _Source(index.scene_name(number), index.scene_token(number), steps)


def _demo(detector: StreamingDetector) -> _Source:
    """The demo's street, simulated as it is driven along."""
    from remembev.streaming.sources.simulated import demo_scene, simulated_frames

    with console.status("building a street"):
        street = demo_scene()
    name, cfg = "a simulated street", detector.cfg
    steps = (
        (frame, detector.step(frame.points, frame.global_from_lidar, frame.timestamp, frame.scene_token))
        for frame in simulated_frames(street, cfg.CLASS_NAMES, cfg.DATA_CONFIG.NUM_SWEEPS, token=name)
    )
    return _Source(name, name, steps)


@app.command()
def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="Weights that training wrote, or the name of weights in the package.", show_default=False),
    ],
    form: Annotated[
        Literal["onnx", "aoti"], typer.Option("--format", help="An ONNX file, or an AOTInductor package.")
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .onnx or .pt2; beside CHECKPOINT if not given."),
    ] = None,
    max_points: Annotated[
        int | None,
        typer.Option(help="Points of a frame at most; 35,000 a sweep if not given.", min=1, show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="Device that an AOTInductor package is compiled for.")] = "cpu",
) -> None:
    """Write the streaming step, raw points to boxes, as a file that runs without Python."""
    from remembev.export import export_checkpoint

    written = export_checkpoint(checkpoint, form, out, max_points=max_points, device=device)
    console.print(f"[bold]{written}[/]: {written.stat().st_size / 2**20:.1f} MiB")
