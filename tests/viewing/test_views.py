from pathlib import Path

import pytest
import torch

from remembev.config import Config
from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.models import build_model
from remembev.streaming import StreamingDetector
from remembev.viewing.views import view_keyframe, view_scene

KEYFRAME = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuscenes_keyframe"


@pytest.fixture
def detector(small_cfg: Config) -> StreamingDetector:
    torch.manual_seed(0)
    return StreamingDetector(build_model(small_cfg))


def test_a_scene_has_a_view_of_every_key_frame(detector: StreamingDetector, sim_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("nuscenes")
    index = NuScenesIndex.open(sim_root, "v1.0-sim", cache=tmp_path / "index.safetensors")
    views = view_scene(detector, index, 0, progress=False)
    assert [view.seconds for view in views] == pytest.approx([0.5 * number for number in range(len(views))], abs=0.05)
    assert len(views) == len(index.scene_frames(0))
    grid = detector.cfg.feature_grid
    for view in views:
        assert view.gate is not None
        assert view.gate.shape == (grid.height, grid.width)
    assert not torch.equal(views[0].gate, views[-1].gate)  # type: ignore[arg-type]


def test_a_view_has_what_its_cells_read_from_earlier_frames(
    detector: StreamingDetector, sim_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip("nuscenes")
    index = NuScenesIndex.open(sim_root, "v1.0-sim", cache=tmp_path / "index.safetensors")
    first, second = view_scene(detector, index, 0, frames=2, progress=False)
    for view, tokens in ((first, 0), (second, detector.cfg.memory_grid.height * detector.cfg.memory_grid.width)):
        assert view.memory is not None
        assert view.memory.read.valid.sum() == tokens
        assert view.memory.read.affinity.sum() == pytest.approx(tokens, rel=1e-4)
    assert second.memory is not None
    assert second.memory.read.age[second.memory.read.valid].unique().tolist() == pytest.approx([0.5], abs=0.01)


@pytest.mark.skipif(not KEYFRAME.is_dir(), reason=f"no real key frame at {KEYFRAME}")
def test_a_real_key_frame_is_viewed_with_its_annotations(detector: StreamingDetector) -> None:
    view = view_keyframe(detector, KEYFRAME)
    assert view.points is not None
    assert view.gt_boxes is not None
    assert len(view.points) == 34_688
    assert view.gt_boxes.shape[1] == 9
    assert torch.isfinite(view.gt_boxes).all()
    assert view.detections is not None
    assert view.gate is not None


def test_a_folder_without_a_key_frame_is_named_in_the_error(detector: StreamingDetector, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        view_keyframe(detector, tmp_path)
    (tmp_path / "frame.json").write_text("{}")
    (tmp_path / "LIDAR_TOP.pcd.bin").write_bytes(b"\0" * 20)
    with pytest.raises(DataError, match=str(tmp_path)):
        view_keyframe(detector, tmp_path)
