"""Commands on a checkpoint: evaluate it, export it, publish it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from remembev.cli.app import Checkpoint, DataRoot, Device, Precision, Reach, Track, app, console, tracks_of
from remembev.errors import UserError

if TYPE_CHECKING:
    from remembev.evaluation import FramesEvaluation


@app.command(name="eval")
def evaluate(
    checkpoint: Checkpoint,
    data: Annotated[
        Path,
        typer.Option(
            help="Root of a data set in the nuScenes format; or folder of one key frame, or file of stacked sweeps "
            "(.bin), which are scored as with --frames.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for submission, detections and metrics; default: eval/ beside CHECKPOINT, with --frames "
            "eval-frames/."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split; default: the configuration's test split, with --frames all scenes."),
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version of the data set; default: the configuration's.")] = None,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Keep the memory from frame to frame, or empty it.")
    ] = True,
    reach: Reach = "unbounded",
    track: Track = None,
    remembered: Annotated[
        bool,
        typer.Option(
            "--remembered",
            help="Also submit boxes without a point of the current sweep; the official score counts them as false.",
        ),
    ] = False,
    frames: Annotated[
        bool,
        typer.Option(
            "--frames", help="Score single annotated frames by recall, precision and false boxes; a few are enough."
        ),
    ] = False,
    min_score: Annotated[
        float | None,
        typer.Option(
            help="With --frames: score from which on boxes count in the tables; default: 0.3.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = None,
    loop: Annotated[
        int | None,
        typer.Option(
            help="With --frames: also play each scene to and fro for so many frames, with memory and without, and "
            "count boxes by the age of the stream.",
            min=1,
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    device: Device = "cpu",
    precision: Precision = "fp32",
    devices: Annotated[
        int, typer.Option(help="Processes that share the scenes; with --device cuda each has its own GPU.", min=1)
    ] = 1,
) -> None:
    """Stream every scene of a split and score the boxes: official nuScenes scores, hidden objects, flicker."""
    from remembev.data.keyframe import is_keyframe
    from remembev.evaluation import evaluate_checkpoint, evaluate_frames, evaluation_table, tracking_table
    from remembev.export import open_detector
    from remembev.streaming import dtype_of
    from remembev.streaming.sources.recordings import open_recordings

    if frames or data.is_file() or is_keyframe(data):
        if reach != "unbounded" or track is not None or devices > 1:
            raise UserError("--reach, --track and --devices are for scenes: omit them to score single frames")
        folder = out or checkpoint.parent / ("eval-frames" if memory else "eval-frames-no-memory")
        detector = open_detector(checkpoint, device, dtype_of(precision, device), tracker=False)
        recordings = open_recordings(
            data,
            detector.cfg.CLASS_NAMES,
            version=version or detector.cfg.DATA_CONFIG.VERSION,
            split=split,
            cache=folder,
        )
        threshold = 0.3 if min_score is None else min_score
        scored = evaluate_frames(
            detector,
            recordings,
            use_memory=memory,
            remembered=remembered,
            threshold=threshold,
            loop=loop,
        )
        _report_frames(scored, folder, as_json=as_json)
        return
    if loop is not None or min_score is not None:
        raise UserError("--loop and --min-score need --frames")
    out = out or checkpoint.parent / ("eval" + "-no-memory" * (not memory) + "-track" * bool(track))
    evaluation = evaluate_checkpoint(
        checkpoint,
        data,
        out,
        version=version,
        split=split,
        use_memory=memory,
        tracks=tracks_of(reach),
        remembered=remembered,
        tracker=track,
        device=device,
        dtype=dtype_of(precision, device),
        devices=devices,
    )
    if evaluation is None:  # one of torchrun's processes, of which the first reports
        return
    if as_json:
        print(json.dumps(evaluation.to_json(), indent=2))
        return
    console.print(evaluation_table(evaluation))
    if evaluation.tracking is not None:
        console.print(tracking_table(evaluation.tracking))
    console.print(f"{evaluation.frames} frames of {evaluation.split} in {evaluation.seconds:.0f} s; see [bold]{out}[/]")


def _report_frames(evaluation: FramesEvaluation, out: Path, *, as_json: bool) -> None:
    """Write the metrics of a few frames to a folder and print them."""
    from remembev.evaluation import frames_table
    from remembev.evaluation.frames import write_metrics

    write_metrics(evaluation, out)
    if as_json:
        print(json.dumps(evaluation.to_json(), indent=2))
        return
    console.print(frames_table(evaluation))
    console.print(f"see [bold]{out}[/]")


@app.command()
def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="Checkpoint (.safetensors), or the name of shipped weights.", show_default=False),
    ],
    form: Annotated[
        Literal["onnx", "aoti"], typer.Option("--format", help="ONNX file or AOTInductor package.")
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, .onnx or .pt2; default: beside CHECKPOINT."),
    ] = None,
    max_points: Annotated[
        int | None,
        typer.Option(help="Most points of a frame; default: 35,000 per sweep.", min=1, show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="Device that an AOTInductor package is compiled for.")] = "cpu",
) -> None:
    """Export the streaming step, points to boxes, to a file that runs without Python."""
    from remembev.export import export_checkpoint

    written = export_checkpoint(checkpoint, form, out, max_points=max_points, device=device)
    console.print(f"[bold]{written}[/]: {written.stat().st_size / 2**20:.1f} MiB")


@app.command()
def publish(
    checkpoint: Checkpoint,
    data: DataRoot,
    out: Annotated[Path, typer.Option(help="File to write (.safetensors); the model card (.md) goes beside it.")],
    command: Annotated[str, typer.Option(help="Command that trained the weights, for the card.", show_default=False)],
    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="Data type of the written weights.")] = "float32",
    split: Annotated[
        str | None, typer.Option(help="Split to score on; default: the configuration's test split.", show_default=False)
    ] = None,
) -> None:
    """Write weights to share, score them as written, and write a model card with the scores."""
    from remembev.evaluation.publish import publish as publish_weights

    card = publish_weights(checkpoint, data, out, command=command, dtype=dtype, split=split)
    console.print(f"weights: [bold]{out}[/], {out.stat().st_size / 1e6:.1f} MB; model card: [bold]{card}[/]")
