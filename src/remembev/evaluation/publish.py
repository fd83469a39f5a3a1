"""``remembev publish``: a checkpoint to hand on, and a model card that says what these very weights score."""

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
They were trained and scored on simulated streets: simple shapes, one LiDAR, no weather. They say how the model compares
with others on such data, and nothing about real roads. No vehicle should be driven by them."""
_RECORDED = """\
They were trained and scored on the data named above, and know its sensor, places and times of day only. Mind its
licence. No vehicle should be driven by them."""
_CARD = """# {name}

PointPillars with a memory in bird's-eye view. The whole configuration is in the file's header.

{facts}

## Scores of these weights

Official scores on the split `{split}`, {frames} key frames, with memory: mAP {mean_ap:.4f}, NDS {nds:.4f}.

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
    """Write a checkpoint's weights to ``out`` and their model card beside it, ``.md``. Where the card is.

    data     root of the data set that the weights are scored on, as they are written
    command  that trained them, for the card
    dtype    that they are kept in
    split    that they are scored on; the configuration's test split if not given

    Raises UserError unless ``out`` is a ``.safetensors``; what goes wrong leaves what was there before.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: a checkpoint's name ends in .safetensors")
    card = out.with_suffix(".md")
    model = load_checkpoint(checkpoint)
    with atomic_write(out) as temporary:
        save_checkpoint(temporary, model, _DTYPES[dtype])
        with TemporaryDirectory() as folder:
            evaluate_checkpoint(temporary, data, Path(folder), split=split, progress=progress)
            metrics = json.loads((Path(folder) / METRICS_FILE).read_text(encoding="utf-8"))
        megabytes = temporary.stat().st_size / 1e6
        text = model_card(out.stem, model, data, metrics, command=command, kept=f"{dtype}, {megabytes:.1f} MB")
        with atomic_write(card) as temporary_card:
            temporary_card.write_text(text, encoding="utf-8")
    return card


def model_card(
    name: str, model: TemporalPointPillar, data: Path, metrics: Mapping[str, Any], *, command: str, kept: str
) -> str:
    """A model card in Markdown, from a model, its data set's root and its ``metrics.json``; ``kept`` says how it is."""
    settings = data / _SIMULATION
    simulation = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    facts = {
        **_model_facts(model, kept),
        "trained by": f"`{command}`",
        **_data_facts(data, model.cfg, metrics["split"], simulation),
    }
    return _CARD.format(
        name=name,
        facts=_table(("", ""), facts.items()),
        split=metrics["split"],
        frames=metrics["frames"],
        mean_ap=metrics["mean_ap"],
        nds=metrics["nds"],
        class_ap=_table(("class", "AP"), ((key, f"{value:.4f}") for key, value in metrics["class_ap"].items())),
        permanence=_permanence(metrics.get("permanence")),
        limits=_SIMULATED if simulation else _RECORDED,
    )


def _model_facts(model: TemporalPointPillar, kept: str) -> dict[str, str]:
    memory, parts = model.cfg.MODEL.MEMORY, model.cfg.DATA_CONFIG
    parameters, remembering = (sum(weight.numel() for weight in part.parameters()) for part in (model, model.memory))
    corners = " ".join(f"{value:g}" for value in parts.POINT_CLOUD_RANGE)
    pillar = parts.DATA_PROCESSOR.VOXEL_SIZE[0]
    return {
        "weights": f"{parameters:,} parameters, {remembering:,} of them the memory's; {kept}",
        "memory": f"{memory.NAME}, `FUSION: {memory.FUSION}`",
        "input": f"{parts.NUM_SWEEPS + 1} LiDAR turns a frame, range {corners} m, pillars of {pillar:g} m",
        "schedule": describe_training(model.cfg),
    }


def _data_facts(data: Path, cfg: Config, scored: str, simulation: Mapping[str, Any]) -> dict[str, str]:
    version, split = cfg.DATA_CONFIG.VERSION, cfg.DATA_CONFIG.DATA_SPLIT
    index = NuScenesIndex.open(data, version)
    facts = {"data": version}
    for purpose, name in (("training", split.train), ("test", scored)):
        facts[f"{purpose} split"] = f"`{name}`: {index.describe_split(name)}"
    if simulation:
        facts["simulation"] = ", ".join(f"{key} {value}" for key, value in simulation.items())
    return facts


def _permanence(found: Mapping[str, Any] | None) -> str:
    """Recall of objects without a point now, by how long ago they had one, at numbers of false boxes a frame."""
    if found is None:
        return ""
    headings = ("last seen within", *(f"{count:g} false boxes a frame" for count in found["false_boxes"]), "objects")
    rows = zip(found["windows_s"], found["recall"], found["objects"], strict=True)
    cells = ((f"{window:g} s", *map(_share, recall), str(objects)) for window, recall, objects in rows)
    return f"\nRecall of objects that have no point now:\n\n{_table(headings, cells)}\n"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
