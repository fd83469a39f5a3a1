from __future__ import annotations

from pathlib import Path

from tests.data.conftest import hand_config

from remembev.bench.loader import bench_loader


def test_every_number_of_workers_is_measured_on_training_s_batches(road_root: Path) -> None:
    paste = "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING={SAMPLE_GROUPS: {truck: 3}}"
    cfg = hand_config(road_root, paste, "OPTIMIZATION.BATCH_SIZE_PER_GPU=2")
    speeds = list(bench_loader(cfg, road_root, (0, 1), clips=10))
    assert [speed.workers for speed in speeds] == [0, 1]
    for speed in speeds:
        assert speed.frames_per_second > 0
        assert 150 < speed.points_per_frame < 700  # of three clouds
