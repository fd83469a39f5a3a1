"""Published weights: the written file is scored, and the card has its scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import SMALL

from remembev.cli.app import app
from remembev.config import load_config
from remembev.errors import UserError
from remembev.evaluation.publish import model_card, publish
from remembev.models import TemporalPointPillar, build_model, load_checkpoint, save_checkpoint

METRICS = {
    "split": "val",
    "frames": 16,
    "mean_ap": 0.25,
    "nds": 0.5,
    "class_ap": {"car": 0.75, "bus": 0.125},
    "permanence": {
        "windows_s": [0.5, 4],
        "false_boxes": [1, 5],
        "recall": [[0.5, 0.625], [None, 0.375]],
        "objects": [12, 34],
    },
}


@pytest.fixture(scope="module")
def model() -> TemporalPointPillar:
    """An untrained model without boxes, which is scored fast."""
    return build_model(load_config("tiny", [*SMALL, "MODEL.POST_PROCESSING.SCORE_THRESH=1.0"]))


@pytest.mark.parametrize("split", ["val", "train"])
def test_weights_are_published_in_float16_with_their_card(
    model: TemporalPointPillar, sim_root: Path, tmp_path: Path, split: str
) -> None:
    trained, out = tmp_path / "model.safetensors", tmp_path / "weights" / "compact.safetensors"
    save_checkpoint(trained, model)
    arguments = [
        "publish",
        trained,
        "--data",
        sim_root,
        "--out",
        out,
        "--dtype",
        "float16",
        "--command",
        "remembev train x",
        "--split",
        split,
    ]
    app([str(argument) for argument in arguments], standalone_mode=False)
    for name, weight in load_checkpoint(out).named_parameters():
        assert torch.equal(weight, model.get_parameter(name).half().float()), name
    card = (tmp_path / "weights" / "compact.md").read_text()
    assert "mAP 0.0000" in card
    assert "| trained with | `remembev train x` |" in card
    assert f"| test split | `{split}`: 2 scenes, 16 key frames |" in card
    assert f"Official nuScenes scores on the split `{split}`" in card
    assert "seed 0" in card
    assert sorted(path.name for path in out.parent.iterdir()) == ["compact.md", "compact.safetensors"]


def test_a_card_has_the_scores_and_the_recall_of_hidden_objects(model: TemporalPointPillar, sim_root: Path) -> None:
    card = model_card("compact", model, sim_root, METRICS, command="x", storage="float32, 1.0 MB")
    assert "mAP 0.2500, NDS 0.5000" in card
    assert "| bus | 0.1250 |" in card
    assert "| 4 s | – | 0.375 | 34 |" in card
    without = model_card("compact", model, sim_root, {**METRICS, "permanence": None}, command="x", storage="")
    assert "hidden objects" not in without
    assert "PointPillars with a memory" in card


def test_a_card_says_that_there_is_no_memory(sim_root: Path) -> None:
    single = build_model(load_config("tiny", [*SMALL, "MODEL.MEMORY.FUSION=none"]))
    card = model_card("compact", single, sim_root, METRICS, command="x", storage="")
    assert "PointPillars without a memory" in card
    assert "| memory | none |" in card
    assert "memory kept" not in card


def test_a_failed_publish_leaves_the_earlier_files(model: TemporalPointPillar, tmp_path: Path) -> None:
    trained, out = tmp_path / "model.safetensors", tmp_path / "compact.safetensors"
    save_checkpoint(trained, model)
    out.write_text("before")
    with pytest.raises(UserError):
        publish(trained, tmp_path / "nowhere", out, command="x")
    assert out.read_text() == "before"
    with pytest.raises(UserError, match=r"has to end in \.safetensors"):
        publish(trained, tmp_path, tmp_path / "compact", command="x")
