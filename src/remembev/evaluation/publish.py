"""``remembev publish``: a checkpoint to share, and a model card with the scores of exactly these weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from remembev.config import Config
from remembev.data import NuScenesIndex
from remembev.errors import UserError
from remembev.evaluation import evaluate_checkpoint
from remembev.evaluation.run import METRICS_FILE
from remembev.files import atomic_write
from remembev.models import TemporalPointPillar, load_checkpoint, save_checkpoint
from remembev.training import describe_training

_DTYPES = {"float32": torch.float32, "float16": torch.float16}
_SIMULATION = "simulation.json"
_SIMULATED = """\
Trained and scored on simulated streets: simple shapes, one LiDAR, no weather. The scores compare models on such data;
they say nothing about real roads. Do not drive a vehicle with these weights."""
_RECORDED = """\
Trained and scored on the data set above, with its sensor, places and times of day only. The licence of the data set
applies. Do not drive a vehicle with these weights."""
_CARD = """# {name}

{what}. The file's header contains the configuration.

{facts}

## Scores of these weights

Official nuScenes scores on the split `{split}` ({frames} key frames){kept}:
mAP {mean_ap:.4f}, NDS {nds:.4f}.

{class_ap}
{permanence}
## Limits

{limits}

## Licence

Apache 2.0, as RememBEV.
"""


def publish(
    checkpoint: Path,
    data: Path,
    out: Path,
    *,
    command: str,
    dtype: Literal["float32", "float16"] = "float32",
    split: str | None = None,
    progress: bool = True,
) -> Path:
    """Write a checkpoint's weights to ``out``, score them as written, and write their model card beside them.

    On an error, files that were there before stay.

    Args:
        checkpoint: The checkpoint.
        data: Root of the data set to score on.
        out: File to write (.safetensors); the card has the suffix ``.md``.
        command: Command that trained the weights, for the card.
        dtype: Data type of the written weights.
        split: Split to score on; default: the configuration's test split.
        progress: Show a progress bar.

    Returns:
        The path of the card.

    Raises:
        UserError: If ``out`` has another suffix, or the checkpoint or the data set can't be used.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: a checkpoint has to end in .safetensors")
    card = out.with_suffix(".md")
    model = load_checkpoint(checkpoint)
    with atomic_write(out) as temporary:
        save_checkpoint(temporary, model, _DTYPES[dtype])
        with TemporaryDirectory() as folder:
            evaluate_checkpoint(temporary, data, Path(folder), split=split, progress=progress)
            metrics = json.loads((Path(folder) / METRICS_FILE).read_text(encoding="utf-8"))
        megabytes = temporary.stat().st_size / 1e6
        text = model_card(out.stem, model, data, metrics, command=command, storage=f"{dtype}, {megabytes:.1f} MB")
        with atomic_write(card) as temporary_card:
            temporary_card.write_text(text, encoding="utf-8")
    return card


def model_card(
    name: str, model: TemporalPointPillar, data: Path, metrics: Mapping[str, Any], *, command: str, storage: str
) -> str:
    """Return a model card in Markdown.

    Args:
        name: Heading of the card.
        model: The model.
        data: Root of the data set it was scored on.
        metrics: Its ``metrics.json``.
        command: Command that trained it.
        storage: Data type and size of the file.
    """
    settings = data / _SIMULATION
    simulation = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    facts = {
        **_model_facts(model, storage),
        "trained with": f"`{command}`",
        **_data_facts(data, model.cfg, metrics["split"], simulation),
    }
    remembers = model.cfg.MODEL.MEMORY.FUSION != "none"
    return _CARD.format(
        name=name,
        what=f"PointPillars {'with' if remembers else 'without'} a memory in bird's-eye view",
        kept=", memory kept over each scene" * remembers,
        facts=_table(("", ""), facts.items()),
        split=metrics["split"],
        frames=metrics["frames"],
        mean_ap=metrics["mean_ap"],
        nds=metrics["nds"],
        class_ap=_table(("class", "AP"), ((key, f"{value:.4f}") for key, value in metrics["class_ap"].items())),
        permanence=_permanence(metrics.get("permanence")),
        limits=_SIMULATED if simulation else _RECORDED,
    )


def _model_facts(model: TemporalPointPillar, storage: str) -> dict[str, str]:
    memory, data = model.cfg.MODEL.MEMORY, model.cfg.DATA_CONFIG
    total, in_memory = (sum(weight.numel() for weight in part.parameters()) for part in (model, model.memory))
    corners = " ".join(f"{value:g}" for value in data.POINT_CLOUD_RANGE)
    turns = f"{data.NUM_SWEEPS + 1} LiDAR turns" if data.NUM_SWEEPS else "1 LiDAR turn"
    pillar = data.DATA_PROCESSOR.VOXEL_SIZE[0]
    return {
        "weights": f"{total:,} parameters, {in_memory:,} of them in the memory; {storage}",
        "memory": "none" if memory.FUSION == "none" else f"{memory.NAME}, `FUSION: {memory.FUSION}`",
        "input": f"{turns} per frame, range {corners} m, pillars of {pillar:g} m",
        "schedule": describe_training(model.cfg),
    }


def _data_facts(data: Path, cfg: Config, scored: str, simulation: Mapping[str, Any]) -> dict[str, str]:
    version, split = cfg.DATA_CONFIG.VERSION, cfg.DATA_CONFIG.DATA_SPLIT
    index = NuScenesIndex.open(data, version)
    facts = {"data": version}
    for purpose, name in (("training", split.train), ("test", scored)):
        facts[f"{purpose} split"] = f"`{name}`: {index.describe_split(name)}"
    if simulation:
        settings = {key: ", ".join(value) if key == "sets" else value for key, value in simulation.items()}
        facts["simulation"] = ", ".join(f"{key} {value}" for key, value in settings.items())
    return facts


def _permanence(permanence: Mapping[str, Any] | None) -> str:
    """Return a table of the recall of hidden objects."""
    if permanence is None:
        return ""
    counts = [f"{count:g}" for count in permanence["false_boxes"]]
    rows = zip(permanence["windows_s"], permanence["recall"], permanence["objects"], strict=True)
    cells = ((f"{window:g} s", *map(_format_recall, recall), str(objects)) for window, recall, objects in rows)
    table = _table(("well seen within", *counts, "objects"), cells)
    return f"\nRecall of hidden objects (no point now) at {', '.join(counts)} false boxes per frame:\n\n{table}\n"


def _format_recall(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
