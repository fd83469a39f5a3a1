"""``remembev bench``: measure a streaming step, a stream, a training step, the loader and the memory read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remembev.cli.app import DataRoot, Device, Overrides, app, console
from remembev.errors import UserError
from remembev.progress import with_progress

if TYPE_CHECKING:
    from remembev.config import Config
    from remembev.data import NuScenesIndex
    from remembev.models import TemporalPointPillar
    from remembev.streaming import StreamingDetector

bench_app = typer.Typer(no_args_is_help=True)
app.add_typer(bench_app, name="bench", help="Measure time and memory of a step, a stream, training, loading, reading.")

Model = Annotated[str, typer.Argument(help="A configuration (fresh weights) or a checkpoint.", show_default=False)]
Version = Annotated[str | None, typer.Option(help="Version of the data set; default: the configuration's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@bench_app.command()
def step(
    model: Model,
    data: DataRoot,
    version: Version = None,
    frames: Annotated[int, typer.Option(help="Timed steps.", min=1)] = 50,
    exported: Annotated[
        list[Path] | None,
        typer.Option(help="Also time this exported file of the checkpoint; may be repeated.", show_default=False),
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="Also time the step as one CUDA graph.")] = False,
    device: Device = "cpu",
    as_json: AsJson = False,
    overrides: Overrides = None,
) -> None:
    """Time each stage of a streaming step on the first scene of the test split, against its floor on this machine.

    Three ways side by side: plain eager PyTorch in OpenPCDet's way (padded pillars, loops over boxes), float32, and
    bfloat16. The floor is the time that operations and bytes take at the rates measured in the same run.
    """
    from remembev.bench import compare_steps, make_selective, step_table

    detector_model = _open_model(model, overrides)
    index, scene = _first_test_scene(detector_model.cfg, data, version)
    if not model.endswith(".safetensors"):
        make_selective(detector_model, index, scene)
    programs = _programs(detector_model, exported or [], graph=graph)
    report = compare_steps(detector_model, index, scene, frames=frames, device=device, programs=programs)
    if as_json:
        _print_json({"device": device, **report.to_json()})
    else:
        console.print(step_table(report, f"{model} on {device}: medians of {frames} steps"))


@bench_app.command()
def stream(
    model: Model,
    data: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder for stream.csv and stream.png.", show_default=False)],
    version: Version = None,
    frames: Annotated[int, typer.Option(help="Frames of the stream.", min=10)] = 10_000,
    device: Device = "cpu",
    as_json: AsJson = False,
    overrides: Overrides = None,
) -> None:
    """Measure if time, memory or state grow over a long stream: a scene forwards and backwards, early against late."""
    from remembev.bench import StreamCurve, measure_stream, stream_table
    from remembev.bench.plots import draw_stream, write_plot
    from remembev.streaming import StreamingDetector

    detector = StreamingDetector(_open_model(model, overrides), device)
    index, scene = _first_test_scene(detector.cfg, data, version)
    steps = measure_stream(detector, index, scene, frames)
    curve = StreamCurve.collect(with_progress(steps, "Streaming frames", frames, disable=as_json), frames)
    curve.write_csv(out / "stream.csv")
    write_plot(out / "stream.png", draw_stream(curve, f"{model} on {device}: {frames:,} frames"))
    if as_json:
        _print_json(curve.to_json())
        return
    console.print(stream_table(curve, f"{model} on {device}: medians over an endless stream"))
    console.print(f"every step: [bold]{out / 'stream.csv'}[/], [bold]{out / 'stream.png'}[/]")


@bench_app.command()
def train(
    model: Model,
    data: DataRoot,
    version: Version = None,
    lengths: Annotated[str, typer.Option(help="Frames per clip, with commas between them.")] = "2,4,8,16",
    tbptt_frames: Annotated[int, typer.Option(help="TBPTT_FRAMES that is measured.", min=1)] = 2,
    out: Annotated[
        Path | None, typer.Option(help="Folder for training.json and training.png.", show_default=False)
    ] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
    overrides: Overrides = None,
) -> None:
    """Measure peak memory and time of a training step by clip length.

    Three ways: whole clips, with activation checkpointing, and with truncated back-propagation through time.
    """
    from remembev.bench import bench_training, training_table, training_ways

    cfg, clip_lengths = _with_version(_open_model(model, overrides).cfg, version), _whole_numbers(lengths)
    measured = bench_training(cfg, data, clip_lengths, tbptt_frames=tbptt_frames, device=device)
    total = len(clip_lengths) * len(training_ways(tbptt_frames))
    costs = list(with_progress(measured, "Training", total, disable=as_json))
    record = {"model": model, "device": device, "costs": [asdict(cost) for cost in costs]}
    title = f"{model} on {device}: a training step"
    if out is not None:
        from remembev.bench.plots import draw_training, write_plot
        from remembev.files import atomic_write

        with atomic_write(out / "training.json") as temporary:
            temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")
        write_plot(out / "training.png", draw_training(costs, title))
    if as_json:
        _print_json(record)
    else:
        console.print(training_table(costs, title))


@bench_app.command()
def loader(
    model: Model, data: DataRoot, version: Version = None, as_json: AsJson = False, overrides: Overrides = None
) -> None:
    """Measure frames per second of the training loader, read and augmented, with 0, 1, 2 and 4 workers."""
    from remembev.bench import WORKERS, bench_loader, loader_table

    cfg = _with_version(_open_model(model, overrides).cfg, version)
    speeds = list(with_progress(bench_loader(cfg, data), "Loading", len(WORKERS), disable=as_json))
    if as_json:
        _print_json([asdict(speed) for speed in speeds])
    else:
        console.print(loader_table(speeds, f"{model}: training clips of {cfg.DATA_CONFIG.SEQ_LEN} frames"))


@bench_app.command()
def read(
    model: Model,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens; default: those of a full memory.", min=1, show_default=False)
    ] = None,
    as_json: AsJson = False,
    overrides: Overrides = None,
) -> None:
    """Measure a memory read on the CPU against the dense formulation: of all tokens, and of those nearby first."""
    from remembev.bench import ReadSize, bench_memory_read, read_table

    result = bench_memory_read(ReadSize.of(_open_model(model, overrides).cfg, tokens=tokens))
    if as_json:
        _print_json(asdict(result))
    else:
        console.print(read_table(result))


def _open_model(source: str, overrides: list[str] | None) -> TemporalPointPillar:
    from remembev.config import load_config
    from remembev.models import build_model, load_checkpoint

    if source.endswith(".safetensors"):
        return load_checkpoint(source)
    return build_model(load_config(source, overrides or ()))


def _with_version(cfg: Config, version: str | None) -> Config:
    return cfg if version is None else cfg.with_changes({"DATA_CONFIG.VERSION": version})


def _first_test_scene(cfg: Config, data: Path, version: str | None) -> tuple[NuScenesIndex, int]:
    from remembev.data import NuScenesIndex

    index = NuScenesIndex.open(data, version or cfg.DATA_CONFIG.VERSION)
    return index, index.split_scenes(cfg.DATA_CONFIG.DATA_SPLIT.test)[0]


def _programs(model: TemporalPointPillar, files: list[Path], *, graph: bool) -> dict[str, StreamingDetector]:
    """Return detectors that run the whole step as one program. Raises UserError for a file with other weights."""
    from remembev.export import capture_step, load_exported
    from remembev.streaming.engine import digest

    programs = {path.name: load_exported(path) for path in files}
    for name, detector in programs.items():
        if detector.engine.weights != digest(model.state_dict()):
            raise UserError(f"{name}: was exported from other weights")
    if graph:
        programs["CUDA graph"] = capture_step(model)
    return programs


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _whole_numbers(text: str) -> list[int]:
    numbers = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if min(numbers) < 1:
        raise typer.BadParameter(f"{text}: expected whole numbers from 1 on with commas between them, such as 2,4,8")
    return numbers
