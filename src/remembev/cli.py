"""The command ``remembev``: simulate, index, train, evaluate, stream, export, time, report.

Each command is a thin call into the room that does the work; rooms are imported when their command runs, so that a
core installation has every command that its packages allow.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import track
from rich.table import Table

from remembev.config import Config, config_to_yaml, load_config
from remembev.errors import DataError, UserError
from remembev.files import replacing

if TYPE_CHECKING:
    from remembev.data import NuScenesIndex
    from remembev.streaming import StreamingDetector

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
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
}
"""Packages that a core installation lacks, and the extra that brings them."""

DataRoot = Annotated[
    Path, typer.Option("--data", help="Root of a data set in the nuScenes format.", show_default=False)
]
Checkpoint = Annotated[
    Path, typer.Argument(help="Weights that training wrote (.safetensors), or an exported file.", show_default=False)
]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a key, such as --set OPTIMIZATION.LR=0.002; may be repeated.", show_default=False
    ),
]


def main() -> None:
    """Run the command line: what is the user's to mend is said in a line, without a traceback."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
    )
    try:
        app()
    except UserError as error:
        _fail(str(error).rpartition(f"{type(error).__name__}: ")[2])  # a loader's process sends its traceback along
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
    sweeps: Annotated[
        bool, typer.Option("--sweeps/--no-sweeps", help="Also write the sweeps between key frames.")
    ] = False,
    azimuths: Annotated[int, typer.Option(help="Directions of a turn of the LiDAR.")] = 1085,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if not given.", show_default=False)] = None,
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
    console.print(f"[bold]{data}[/]: {opened.num_scenes} scenes, splits {', '.join(opened.splits)}")


@app.command(name="import-openpcdet")
def import_openpcdet(
    model: Annotated[Path, typer.Argument(help="Weights that OpenPCDet saved (.pth).", show_default=False)],
    config: Annotated[
        Path,
        typer.Option(help="OpenPCDet's YAML file of that model, where its base files are found.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write (.safetensors); its YAML goes beside it.")],
    overrides: Overrides = None,
) -> None:
    """Take over a multi-head PointPillars from OpenPCDet: the same numbers, and a memory to be trained from there."""
    from remembev.config.openpcdet import load_openpcdet_config
    from remembev.models import save_checkpoint
    from remembev.models.openpcdet import import_openpcdet as import_weights
    from remembev.models.openpcdet import published_layout

    if out.suffix != ".safetensors":
        raise UserError(f"{out}: a checkpoint's name ends in .safetensors")
    beside = out.with_suffix(".yaml")
    if beside.resolve() == config.resolve():
        raise UserError(f"{beside} is OpenPCDet's file, and where ours would go: give --out another name")
    imported = import_weights(model, load_openpcdet_config(config, overrides or ()))
    save_checkpoint(out, imported)
    with replacing(beside) as temporary:
        temporary.write_text(config_to_yaml(imported.cfg), encoding="utf-8")
    tensors = len(published_layout(imported))
    parameters = sum(weight.numel() for key, weight in imported.named_parameters() if not key.startswith("memory."))
    console.print(f"{tensors} tensors, {parameters:,} parameters: [bold]{out}[/], [bold]{beside}[/]")


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or a shipped configuration: nuscenes, tiny.", show_default=False)
    ],
    data: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in OUT was stopped, if there is one.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, clips and augmentation.")] = 0,
    devices: Annotated[int, typer.Option(help="GPUs, or processes where there is none.", min=1)] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Loader processes; at most the configuration's.", show_default=False)
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from: its weights where the model has them by name.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Train a configuration: weights, curves (TensorBoard and CSV) and checkpoints go to OUT."""
    cfg = load_config(config, overrides or ())
    from lightning.pytorch.utilities import rank_zero_only

    from remembev.training import train as run_training

    run = run_training(cfg, data, out, resume=resume, seed=seed, devices=devices, workers=workers, init=init)
    rank_zero_only(console.print)(f"weights: [bold]{run.weights}[/]")


@app.command(name="eval")
def evaluate(
    checkpoint: Checkpoint,
    data: DataRoot,
    out: Annotated[
        Path | None, typer.Option(help="Folder of submission.json and metrics.json; beside CHECKPOINT if not given.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split; the configuration's test split if not given.")] = None,
    version: Annotated[str | None, typer.Option(help="Version; the configuration's if not given.")] = None,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Keep the memory from frame to frame.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    device: Device = "cpu",
    devices: Annotated[
        int, typer.Option(help="Processes that share the scenes: a GPU each with --device cuda.", min=1)
    ] = 1,
) -> None:
    """Go through every scene in order, write a nuScenes submission and print its official score."""
    from remembev.evaluation import evaluate_checkpoint, score_table

    out = out or checkpoint.parent / ("eval" if memory else "eval-no-memory")
    evaluation = evaluate_checkpoint(
        checkpoint, data, out, version=version, split=split, use_memory=memory, device=device, devices=devices
    )
    if evaluation is None:  # one of torchrun's processes, of which the first reports
        return
    if as_json:
        print(json.dumps(evaluation.to_json(), indent=2))
        return
    console.print(score_table(evaluation.score))
    console.print(f"{evaluation.frames} frames of {evaluation.split} in {evaluation.seconds:.0f} s; see [bold]{out}[/]")


@app.command()
def stream(
    checkpoint: Checkpoint,
    data: DataRoot,
    scene: Annotated[
        str | None, typer.Option(help="Name of a scene; the first of the test split if not given.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version; the configuration's if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the boxes, a JSON object a frame and line.")] = None,
    movie: Annotated[Path | None, typer.Option(help="Write a moving picture (GIF), seen from above.")] = None,
    min_score: Annotated[float, typer.Option(help="Lowest score that is drawn in the moving picture.")] = 0.25,
    frames: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1, show_default=False)] = None,
    save_state: Annotated[
        Path | None, typer.Option(help="Write the state of the scene after its last frame (.safetensors).")
    ] = None,
    load_state: Annotated[
        Path | None, typer.Option(help="Go on where a state was saved, instead of at a scene's first frame.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Stream a scene frame by frame: boxes on the screen, in a file, in a moving picture."""
    from remembev.data import NuScenesIndex
    from remembev.export import open_detector
    from remembev.streaming import continue_scene, frame_record, stream_scene

    if scene is not None and load_state is not None:
        raise UserError("a saved state says itself of which scene it is: leave --scene out")
    detector = open_detector(checkpoint, device)
    index = NuScenesIndex.open(data, version or detector.cfg.DATA_CONFIG.VERSION)
    if load_state is not None:
        number = index.find_token(detector.load_state(load_state))
    else:
        number = index.find_scene(scene) if scene else index.split_scenes(detector.cfg.DATA_CONFIG.DATA_SPLIT.test)[0]
    names = detector.cfg.CLASS_NAMES
    records: list[dict[str, Any]] = []
    views: list[Any] = []
    steps = stream_scene if load_state is None else continue_scene
    for frame, detections in islice(steps(detector, index, number), frames):
        records.append(frame_record(frame, detections, names))
        found = Counter(names[label] for label in detections.labels.tolist())
        seconds = frame.timestamp - records[0]["timestamp"]
        console.print(
            f"{seconds:6.2f} s  " + (", ".join(f"{n} {name}" for name, n in found.most_common()) or "nothing")
        )
        if movie is not None:
            from remembev.viewing import frame_view

            views.append(frame_view(detector, frame, detections, index.scene_name(number), seconds))
    if not records:
        raise DataError(
            f"{data}: scene {index.scene_name(number)} has no frame after the one that {load_state} ends at"
        )
    if save_state is not None:
        detector.save_state(save_state, index.scene_token(number))
    if out is not None:
        with replacing(out) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    if movie is not None:
        from remembev.viewing import write_movie

        write_movie(movie, views, min_score=min_score)


@app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="Weights that training wrote (model.safetensors).", show_default=False)
    ],
    form: Annotated[
        Literal["onnx", "aoti"], typer.Option("--format", help="An ONNX file, or an AOTInductor package.")
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="File to write: .onnx or .pt2; beside CHECKPOINT if not given.")
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


_TRAIN = "Training steps"


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="A configuration (fresh weights) or a checkpoint.", show_default=False)],
    data: DataRoot,
    version: Annotated[str | None, typer.Option(help="Version; the configuration's if not given.")] = None,
    frames: Annotated[int, typer.Option(help="Timed steps.", min=1)] = 50,
    stream: Annotated[
        int | None,
        typer.Option(help="Instead of stages: an endless stream of so many frames.", min=10, show_default=False),
    ] = None,
    training: Annotated[
        bool,
        typer.Option("--training", help="Instead of stages: training steps by length of clip.", rich_help_panel=_TRAIN),
    ] = False,
    loader: Annotated[
        bool, typer.Option("--loader", help="Instead of stages: frames a second of training's loader, by workers.")
    ] = False,
    lengths: Annotated[str, typer.Option(help="Frames of the clips.", rich_help_panel=_TRAIN)] = "2,4,8,16",
    chunk: Annotated[int, typer.Option(help="Frames of a chunk.", min=1, rich_help_panel=_TRAIN)] = 2,
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
    """
    if training + loader + (stream is not None) > 1:
        raise typer.BadParameter("--stream, --training and --loader are measurements of their own: ask for one")
    if training or loader:
        from remembev.models import load_checkpoint

        cfg = load_checkpoint(model).cfg if model.endswith(".safetensors") else load_config(model, overrides or ())
        if version is not None:
            data_config = cfg.DATA_CONFIG.model_copy(update={"VERSION": version})
            cfg = cfg.model_copy(update={"DATA_CONFIG": data_config})
        if loader:
            _bench_loader(cfg, data, model, as_json=as_json)
            return
        _bench_training(cfg, data, _whole_numbers(lengths), chunk, out, model, device, as_json=as_json)
        return
    if stream is not None and out is None:
        raise UserError("--stream writes a table and a picture: say where with --out")
    from remembev.bench import compare_steps, make_selective, step_table
    from remembev.data import NuScenesIndex
    from remembev.models import build_model, load_checkpoint
    from remembev.streaming import StreamingDetector

    is_fresh = not model.endswith(".safetensors")
    measured = build_model(load_config(model, overrides or ())) if is_fresh else load_checkpoint(model)
    data_cfg = measured.cfg.DATA_CONFIG
    index = NuScenesIndex.open(data, version or data_cfg.VERSION)
    scene = index.split_scenes(data_cfg.DATA_SPLIT.test)[0]
    if stream is not None and out is not None:
        detector = StreamingDetector(measured, device)
        _bench_stream(detector, index, scene, stream, out, f"{model} on {device}", as_json=as_json)
        return
    if is_fresh:
        make_selective(measured, index, scene)
    report = compare_steps(measured, index, scene, frames=frames, device=device)
    if as_json:
        print(json.dumps({"device": device, **report.to_json()}, indent=2))
        return
    console.print(step_table(report, f"{model} on {device}: medians of {frames} steps"))


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

        with replacing(out / "training.json") as temporary:
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


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder of everything that is made.")] = Path("runs/demo"),
    keyframe: Annotated[
        Path | None,
        typer.Option(help="Folder of a real key frame (LIDAR_TOP.pcd.bin, frame.json) to stream over as well."),
    ] = None,
) -> None:
    """Do everything once, in about ten minutes on two cores: simulate, train, score, stream, report."""
    from remembev.demo import run_demo

    run_demo(out, keyframe=keyframe, console=console)


@app.command()
def ablate(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or a shipped configuration: nuscenes, tiny.", show_default=False)
    ],
    data: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder of the runs and the table; what it holds is not done again.")],
    seeds: Annotated[int, typer.Option(help="Trainings of each variant.", min=1)] = 3,
    only: Annotated[str, typer.Option(help="Variants, such as gate,none; all if not given.", show_default=False)] = "",
    workers: Annotated[int, typer.Option(help="Trainings at a time, one thread each.", min=1)] = 2,
    overrides: Overrides = None,
) -> None:
    """Train and score variants of the memory over several seeds: what does each part of it bring?"""
    cfg = load_config(config, overrides or ())
    from remembev.ablation import run_ablation

    names = [name.strip() for name in only.split(",") if name.strip()]
    failed = run_ablation(
        cfg,
        data,
        out,
        name=config,
        overrides=overrides or (),
        seeds=seeds,
        only=names,
        workers=workers,
        console=console,
    )
    console.print(f"table: [bold]{out / 'ablation.md'}[/]")
    if failed:
        raise UserError("not done: " + ", ".join(f"seed {job.seed} {job.name} ({job.log})" for job in failed))


if __name__ == "__main__":
    main()
