"""A small simulated data set for this room's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from remembev.simulate import SimulationSettings, simulate_dataset

SMALL = SimulationSettings(scenes=2, seed=3, seconds=2.0, azimuths=180, val_share=0.5)


@pytest.fixture(scope="module")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of four key frames, one in each split."""
    root = tmp_path_factory.mktemp("simulated") / "small"
    simulate_dataset(root, SMALL, workers=1)
    return root
