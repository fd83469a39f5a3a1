"""Weights to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from remembev.cli.app import Checkpoint, DataRoot, app, console


@app.command()
def publish(
    checkpoint: Checkpoint,
    data: DataRoot,
    out: Annotated[Path, typer.Option(help="File to write (.safetensors); its model card (.md) goes beside it.")],
    command: Annotated[str, typer.Option(help="Command that trained the weights, for the card.", show_default=False)],
    dtype: Annotated[
        Literal["float32", "float16"], typer.Option(help="That the weights are kept in: float16 takes half the room.")
    ] = "float32",
    split: Annotated[
        str | None, typer.Option(help="Split to score on; the configuration's if not given.", show_default=False)
    ] = None,
) -> None:
    """Write weights to hand on, score them as they are written, and say all that in a model card."""
    from remembev.evaluation.publish import publish as publish_weights

    card = publish_weights(checkpoint, data, out, command=command, dtype=dtype, split=split)
    console.print(f"weights: [bold]{out}[/], {out.stat().st_size / 1e6:.1f} MB; model card: [bold]{card}[/]")
