"""Training with balanced clips and ground-truth sampling."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.conftest import SMALL

from remembev.config import load_config
from remembev.models import load_checkpoint
from remembev.training import train

RECIPE = [
    "DATA_CONFIG.BALANCED_RESAMPLING=true",
    "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING={SAMPLE_GROUPS: {car: 12, bus: 4, bicycle: 6}, MIN_POINTS: {car: 5}}",
]


def test_a_model_trains_with_balanced_clips_and_pasted_tracks(sim_root: Path, tmp_path: Path) -> None:
    cfg = load_config("tiny", [*SMALL, *RECIPE, "OPTIMIZATION.NUM_EPOCHS=1"])
    run = train(cfg, sim_root, tmp_path / "run")
    assert run.finished
    weights = load_checkpoint(run.weights).state_dict()
    initial = load_checkpoint(run.initial_weights).state_dict()
    assert all(value.isfinite().all() for value in weights.values())
    assert any(not torch.equal(value, initial[name]) for name, value in weights.items())
