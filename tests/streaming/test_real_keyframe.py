"""A model streams over real nuScenes LiDAR, where the repository has it beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import REPOSITORY

from remembev import StreamingDetector, build_model
from remembev.config import Config
from remembev.geometry import make_pose
from remembev.viewing import view_keyframe

FOLDER = REPOSITORY.parent / "shared" / "data" / "nuscenes_keyframe"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real LiDAR at {FOLDER}")


def test_a_stream_goes_over_the_real_key_frame(small_cfg: Config) -> None:
    torch.manual_seed(0)
    cfg = small_cfg.with_changes({"MODEL.POST_PROCESSING.SCORE_THRESH": 0.0099})
    detector = StreamingDetector(build_model(cfg))
    view = view_keyframe(detector, Path(FOLDER))
    assert view.points is not None
    assert len(view.points) == 34_688
    assert view.detections is not None
    assert len(view.detections) > 0
    assert view.detections.boxes.isfinite().all()
    again = detector.step(view.points, make_pose((0, 0, 0), (1, 0, 0, 0)), 2e9, "the same cloud")
    assert torch.equal(again.boxes, view.detections.boxes)
