"""``remembev bench``: what a step, a stream, a training step, a loader and the memory's read take."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from remembev.cli.app import DataRoot, Device, Overrides, app, console
from remembev.config import Config, load_config
from remembev.errors import UserError
from remembev.files import atomic_write

if TYPE_CHECKING:
    from remembev.data import NuScenesIndex
    from remembev.models import TemporalPointPillar
    from remembev.streaming import StreamingDetector

_OTHER = "Instead of the stages of a step"


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="A configuration (fresh weights) or a checkpoint.", show_default=False)],
    data: DataRoot,
    version: Annotated[str | None, typer.Option(help="Version; the configuration's if not given.")] = None,
    frames: Annotated[int, typer.Option(help="Timed steps.", min=1)] = 50,
    exported: Annotated[
        list[Path] | None,
        typer.Option(help="Time this exported file of the checkpoint as well; may be repeated.", show_default=False),
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="Time the step as one CUDA graph as well.")] = False,
    stream: Annotated[
        int | None,
        typer.Option(help="An endless stream of so many frames.", min=10, show_default=False, rich_help_panel=_OTHER),
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Training steps by length of clip.", rich_help_panel=_OTHER)
    ] = False,
    lengths: Annotated[str, typer.Option(help="Frames of the clips.", rich_help_panel=_OTHER)] = "2,4,8,16",
    chunk: Annotated[int, typer.Option(help="Frames of a chunk.", min=1, rich_help_panel=_OTHER)] = 2,
    loader: Annotated[
        bool,
        typer.Option("--loader", help="Frames a second of training's loader, by workers.", rich_help_panel=_OTHER),
    ] = False,
    read: Annotated[
        bool, typer.Option("--read", help="The memory's read against a dense one.", rich_help_panel=_OTHER)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of tables and pictures: stream.csv and .png, training.json and .png."),
    ] = None,
    device: Device = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the times as JSON.")] = False,
    overrides: Overrides = None,
) -> None:
    """Time each stage of a streaming step, on the first scene of the test split, against its floor on this machine.

    Three ways side by side: plain eager PyTorch with padded pillars and loops over boxes (OpenPCDet's way), float32 and
    bfloat16. The floor is what operations and bytes take at least, at rates measured in the same run.

    With --stream: whether time, memory or state grow, early against late in a stream over that scene to and fro.
    With --training: peak memory and time of a training step, for whole clips, with CHECKPOINT and with CHUNK.
    With --loader: frames a second of training's clips, read and augmented, with 0, 1, 2 and 4 workers.
    With --read: time and peak memory of a read of 10,000 tokens by 4,096 queries, and of the plain formulation.
    """
    if training + loader + read + (stream is not None) > 1:
        raise typer.BadParameter("--stream, --training, --loader and --read are measurements of their own: ask for one")
    if stream is not None and out is None:
        raise UserError("--stream writes a table and a picture: say where with --out")
    from remembev.models import build_model, load_checkpoint

    is_fresh = not model.endswith(".safetensors")
    measured = build_model(load_config(model, overrides or ())) if is_fresh else load_checkpoint(model)
    data_cfg = measured.cfg.DATA_CONFIG.model_copy(update={} if version is None else {"VERSION": version})
    cfg = measured.cfg.model_copy(update={"DATA_CONFIG": data_cfg})
    title = f"{model} on {device}"
    if training:
        _bench_training(cfg, data, _whole_numbers(lengths), chunk, out, model, device, as_json=as_json)
    elif loader:
        _bench_loader(cfg, data, model, as_json=as_json)
    elif read:
        _bench_read(cfg, as_json=as_json)
    else:
        from remembev.data import NuScenesIndex
        from remembev.streaming import StreamingDetector

        index = NuScenesIndex.open(data, data_cfg.VERSION)
        scene = index.split_scenes(data_cfg.DATA_SPLIT.test)[0]
        if stream is not None and out is not None:
            _bench_stream(StreamingDetector(measured, device), index, scene, stream, out, title, as_json=as_json)
            return
        if is_fresh:
            from remembev.bench import make_selective

            make_selective(measured, index, scene)
        programs = _programs(measured, exported or [], graph=graph)
        _bench_step(measured, index, scene, frames, device, programs, title, as_json=as_json)


def _bench_step(
    model: TemporalPointPillar,
    index: NuScenesIndex,
    scene: int,
    frames: int,
    device: str,
    programs: dict[str, StreamingDetector],
    title: str,
    *,
    as_json: bool,
) -> None:
    from remembev.bench import compare_steps, step_table

    report = compare_steps(model, index, scene, frames=frames, device=device, programs=programs)
    if as_json:
        print(json.dumps({"device": device, **report.to_json()}, indent=2))
        return
    console.print(step_table(report, f"{title}: medians of {frames} steps"))


def _programs(model: TemporalPointPillar, files: list[Path], *, graph: bool) -> dict[str, StreamingDetector]:
    """Detectors that run the whole step as one program. Raises UserError for a file of other weights."""
    from remembev.export import capture_step, load_exported
    from remembev.streaming.engine import digest

    programs = {path.name: load_exported(path) for path in files}
    for name, detector in programs.items():
        if detector.engine.weights != digest(model.state_dict()):
            raise UserError(f"{name}: was exported from other weights")
    if graph:
        programs["CUDA graph"] = capture_step(model)
    return programs


def _bench_read(cfg: Config, *, as_json: bool) -> None:
    from remembev.ops.bench import ReadSize, bench_memory_read

    memory = cfg.MODEL.MEMORY
    size = ReadSize(key_dim=memory.KEY_DIM, value_dim=memory.VALUE_DIM, top_k=memory.TOP_K)
    found = bench_memory_read(size)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
        return
    dense, kernel = found.dense, found.kernel
    table = Table(title=f"a read of {size.tokens:,} tokens by {size.queries:,} queries, top {size.top_k}, on the CPU")
    for heading in ("", "dense", "read_memory", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    seconds, peak = dense.seconds / kernel.seconds, kernel.peak_bytes / dense.peak_bytes
    table.add_row("ms", f"{1e3 * dense.seconds:.0f}", f"{1e3 * kernel.seconds:.0f}", f"{seconds:.1f} times as fast")
    table.add_row(
        "peak MiB", f"{dense.peak_bytes / 2**20:.0f}", f"{kernel.peak_bytes / 2**20:.0f}", f"{peak:.0%} of the memory"
    )
    console.print(table)


def _bench_stream(
    detector: StreamingDetector, index: NuScenesIndex, scene: int, frames: int, out: Path, name: str, *, as_json: bool
) -> None:
    from remembev.streaming import StreamCurve, measure_stream
    from remembev.viewing.stream_plot import write_stream_plot

    steps = measure_stream(detector, index, scene, frames)
    bar = track(
        steps, "Streaming", frames, console=Console(stderr=True), transient=True, refresh_per_second=1, disable=as_json
    )
    curve = StreamCurve.collect(bar, frames)
    curve.write_csv(out / "stream.csv")
    write_stream_plot(out / "stream.png", curve, f"{name}: {frames:,} frames")
    if as_json:
        print(json.dumps(curve.to_json(), indent=2))
        return
    early, late = curve.windows
    table = Table(title=f"{name}: medians of an endless stream; windows are tenths of it")
    for heading in (
        "",
        f"frames {early.start:,}-{early.stop:,}",
        f"{late.start:,}-{late.stop:,}",
        "ratio",
        "within 5 %",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    shown = {
        "wall_s": ("step, ms", 1e3),
        "cpu_s": ("CPU of a step, ms", 1e3),
        "control_s": ("one early step done again, ms", 1e3),
        "step_to_control": ("step to that", 1.0),
        "tokens": ("tokens held", 1.0),
    }
    for quantity, found in curve.compare().items():
        label, scale = shown.get(quantity, (quantity.replace("_bytes", ", MiB"), 2**-20))
        early_late = (f"{scale * value:,.2f}" for value in (found.early, found.late))
        table.add_row(label, *early_late, f"{found.ratio:.3f}", "yes" if found.level else "no")
    console.print(table)
    console.print(f"every step: [bold]{out / 'stream.csv'}[/], [bold]{out / 'stream.png'}[/]")


def _bench_training(
    cfg: Config,
    data: Path,
    lengths: list[int],
    chunk: int,
    out: Path | None,
    model: str,
    device: str,
    *,
    as_json: bool,
) -> None:
    from remembev.training.bench import bench_training, training_ways

    total = len(lengths) * len(training_ways(chunk))
    measured = bench_training(cfg, data, lengths, chunk=chunk, device=device)
    costs = list(track(measured, "Training", total, console=Console(stderr=True), transient=True, disable=as_json))
    record = json.dumps({"model": model, "device": device, "costs": [asdict(cost) for cost in costs]}, indent=2)
    title = f"{model} on {device}: a training step"
    if out is not None:
        from remembev.viewing.training_plot import write_training_plot

        with atomic_write(out / "training.json") as temporary:
            temporary.write_text(record, encoding="utf-8")
        write_training_plot(out / "training.png", costs, title)
    if as_json:
        print(record)
        return
    table = Table(title=title)
    for heading in ("frames", "way", "peak MiB", "s"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for cost in costs:
        peak = "out of memory" if cost.peak_bytes is None else f"{cost.peak_bytes / 2**20:,.0f}"
        table.add_row(str(cost.length), cost.way, peak, "" if cost.seconds is None else f"{cost.seconds:.2f}")
    console.print(table)


def _bench_loader(cfg: Config, data: Path, model: str, *, as_json: bool) -> None:
    from remembev.data.bench import WORKERS, bench_loader

    speeds = bench_loader(cfg, data)
    shown = track(speeds, "Loading", len(WORKERS), console=Console(stderr=True), transient=True, disable=as_json)
    measured = list(shown)
    if as_json:
        print(json.dumps([asdict(speed) for speed in measured], indent=2))
        return
    table = Table(title=f"{model}: clips of {cfg.DATA_CONFIG.SEQ_LEN} frames as training takes them")
    for heading in ("workers", "frames a second", "points a frame"):
        table.add_column(heading, justify="right")
    for speed in measured:
        table.add_row(str(speed.workers), f"{speed.frames_per_second:.1f}", f"{speed.points_per_frame:,.0f}")
    console.print(table)


def _whole_numbers(text: str) -> list[int]:
    """``2,4,8`` as numbers."""
    numbers = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if min(numbers) < 1:
        raise typer.BadParameter(f"{text}: expected whole numbers from 1 on with commas between them, such as 2,4,8")
    return numbers
