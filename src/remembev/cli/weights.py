"""Commands on a checkpoint: evaluate it, export it, publish it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from remembev.cli.app import Checkpoint, DataRoot, Device, Precision, Track, app, console, tracks_of


@app.command(name="eval")
def evaluate(
    checkpoint: Checkpoint,
    data: DataRoot,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for submission, detections and metrics; default: eval/ beside CHECKPOINT."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split; default: the configuration's test split.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the data set; default: the configuration's.")] = None,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Keep the memory from frame to frame, or empty it.")
    ] = True,
    track: Track = "unbounded",
    remembered: Annotated[
        bool,
        typer.Option(
            "--remembered",
            help="Also submit boxes without a point of the current sweep; the official score counts them as false.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    device: Device = "cpu",
    precision: Precision = "fp32",
    devices: Annotated[
        int, typer.Option(help="Processes that share the scenes; with --device cuda each has its own GPU.", min=1)
    ] = 1,
) -> None:
    """Stream every scene of a split and score the boxes: official nuScenes scores, hidden objects, flicker."""
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
