"""Commands that create weights: import, training, comparison, demo."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remembev.cli.app import DataRoot, Overrides, Reach, app, console, tracks_of
from remembev.config.variants import DEFAULT_VARIANTS, describe_parts
from remembev.errors import UserError
from remembev.files import atomic_write

if TYPE_CHECKING:
    from remembev.config import Config

logger = logging.getLogger(__name__)


@app.command(name="import-openpcdet")
def import_openpcdet(
    model: Annotated[Path, typer.Argument(help="OpenPCDet checkpoint (.pth).", show_default=False)],
    config: Annotated[
        Path,
        typer.Option(help="OpenPCDet's YAML file of the model, beside its base files.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(help="Checkpoint to write (.safetensors); its configuration is written beside it.")
    ],
    overrides: Overrides = None,
) -> None:
    """Import a multi-head PointPillars from OpenPCDet, with the same outputs, and add an untrained memory."""
    from remembev.config import config_to_yaml
    from remembev.config.openpcdet import load_openpcdet_config
    from remembev.models import save_checkpoint
    from remembev.models.openpcdet import import_openpcdet as import_weights
    from remembev.models.openpcdet import published_layout

    if out.suffix != ".safetensors":
        raise UserError(f"{out}: a checkpoint has to end in .safetensors")
    beside = out.with_suffix(".yaml")
    if beside.resolve() == config.resolve():
        raise UserError(f"would overwrite OpenPCDet's {beside}: choose another --out")
    imported = import_weights(model, load_openpcdet_config(config, overrides or ()))
    save_checkpoint(out, imported)
    with atomic_write(beside) as temporary:
        temporary.write_text(config_to_yaml(imported.cfg), encoding="utf-8")
    tensors = len(published_layout(imported))
    parameters = sum(weight.numel() for key, weight in imported.named_parameters() if not key.startswith("memory."))
    console.print(f"{tensors} tensors, {parameters:,} parameters: [bold]{out}[/], [bold]{beside}[/]")


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or a shipped name such as nuscenes, small or tiny.", show_default=False)
    ],
    data: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    variant: Annotated[
        str | None, typer.Option(help=f"Variant of the configuration: {describe_parts()}.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in OUT, if there is one.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, clips and augmentation.")] = 0,
    devices: Annotated[int, typer.Option(help="Number of GPUs, or of processes on a CPU.", min=1)] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Loader processes; at most the configuration's.", show_default=False)
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Initial weights: a checkpoint or a shipped name; loaded where names match.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Train a configuration: weights, curves (TensorBoard and CSV) and checkpoints go to OUT."""
    from remembev.config import apply_variant, load_config

    cfg = load_config(config, overrides or ())
    if variant is not None:
        varied = apply_variant(cfg, variant)
        _warn_of_overruled(varied, cfg, overrides or (), variant)
        cfg = varied
    from lightning.pytorch.utilities import rank_zero_only

    from remembev.training import train as run_training

    run = run_training(cfg, data, out, resume=resume, seed=seed, devices=devices, workers=workers, init=init)
    rank_zero_only(console.print)(f"weights: [bold]{run.weights}[/]")


def _warn_of_overruled(varied: Config, cfg: Config, overrides: Sequence[str], variant: str) -> None:
    """Warn where a variant changes what ``--set`` gave."""
    from remembev.config import changed_keys

    given = [override.partition("=")[0].strip() for override in overrides]
    for key, value in changed_keys(varied, cfg).items():
        if any(key == name or key.startswith(f"{name}.") for name in given):
            logger.warning("--variant %s sets %s to %s, over --set", variant, key, value)


@app.command()
def compare(
    configs: Annotated[
        list[str],
        typer.Argument(help="One configuration, whose variants are compared, or several.", show_default=False),
    ],
    data: DataRoot,
    out: Annotated[
        Path, typer.Option(help="Folder of the runs and the report; finished runs are kept.", show_default=False)
    ],
    variants: Annotated[
        str,
        typer.Option(
            help=f"Variants of the one configuration, by default {', '.join(DEFAULT_VARIANTS)}: {describe_parts()}. "
            "All are compared with the first.",
            show_default=False,
        ),
    ] = "",
    seeds: Annotated[int, typer.Option(help="Seeds per variant.", min=1)] = 3,
    split: Annotated[
        str | None, typer.Option(help="Split to score on; by default the configuration's test split.")
    ] = None,
    reach: Reach = "unbounded",
    workers: Annotated[int, typer.Option(help="Trainings in parallel, one thread each.", min=1)] = 2,
    overrides: Overrides = None,
) -> None:
    """Train variants of a configuration with several seeds, evaluate them, and report which is better."""
    from remembev.experiments.compare import run_comparison

    failed = run_comparison(
        configs,
        data,
        out,
        variants=[name.strip() for name in variants.split(",") if name.strip()],
        overrides=overrides or (),
        seeds=seeds,
        split=split,
        tracks=tracks_of(reach),
        workers=workers,
        console=console,
    )
    console.print(f"report: [bold]{out / 'report.html'}[/], in words [bold]{out / 'compare.md'}[/]")
    if failed:
        raise UserError(f"{len(failed)} jobs failed: " + ", ".join(f"{job.title} ({job.log})" for job in failed))


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder of all outputs.")] = Path("runs/demo"),
    keyframe: Annotated[
        Path | None,
        typer.Option(help="Folder of a real key frame (LIDAR_TOP.pcd.bin, frame.json) to stream too."),
    ] = None,
) -> None:
    """Simulate, train, evaluate, stream and report, in ten to twenty minutes on two cores."""
    from remembev.demo import run_demo

    run_demo(out, keyframe=keyframe, console=console)
