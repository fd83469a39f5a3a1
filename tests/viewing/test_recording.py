"""Recordings, checked by reading them back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from remembev.geometry import BEVGrid, make_pose, transform_points
from remembev.memory import TracedRead
from remembev.models import Detections
from remembev.viewing.views import FrameView, MemoryView, TrackView

rr = pytest.importorskip("rerun")
recording = pytest.importorskip("remembev.viewing.recording")

GRID = BEVGrid(-40.0, -40.0, 40.0, 40.0, 8, 8)
BOX = [10.0, 20.0, 0.0, 4.0, 2.0, 1.5, 0.5, 1.0, 0.0]


def car_at(frame: int) -> torch.Tensor:
    return make_pose((1500.0 + 5 * frame, 700.0, 0.0), (np.cos(0.1 * frame), 0.0, 0.0, np.sin(0.1 * frame))).double()


def read_of(frame: int) -> MemoryView:
    """All cells read the two tokens, one long-term and one working, three parts to one."""
    token, affinity = torch.tensor([[[0, 1]] * 16]), torch.tensor([[[0.75, 0.25]] * 16])
    position = torch.tensor([[[5.0, -5.0], [6.0, -6.0], [0.0, 0.0]]], dtype=torch.float64)
    age, valid = torch.tensor([[4.0, 0.5 * frame]]), torch.ones(1, 2, dtype=torch.bool)
    return MemoryView(GRID.strided(2), TracedRead(token, affinity, position, age, valid), long_term=1)


def view(frame: int) -> FrameView:
    """An observed car and a remembered pedestrian, a true object that is seen and one that is not."""
    boxes = torch.tensor([BOX, [-10.0, *BOX[1:]], [0.0, *BOX[1:]]])
    detections = Detections(
        boxes, torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0, 1, 0]), torch.tensor([True, False, True])
    )
    pose = car_at(frame)
    path = torch.stack([transform_points(car_at(i), boxes[:1, :3].double())[0] for i in range(frame + 1)])
    return FrameView(
        grid=GRID,
        class_names=("car", "pedestrian"),
        title="a street",
        seconds=0.5 * frame,
        points=torch.tensor([[1.0, 2.0, 0.0], [3.0, 4.0, 1.0], [100.0, 0.0, 0.0]]),
        gt_boxes=boxes,
        gt_labels=torch.tensor([0, 1, -1]),
        gt_num_points=torch.tensor([5, 0, 0]),
        detections=detections,
        gate=torch.full((8, 8), 0.5),
        occupancy=torch.full((4, 4), 0.25),
        global_from_lidar=pose,
        tracks=[TrackView(7, 0, path)],
        memory=read_of(frame),
    )


class Table:
    """A recording as a table, a row a frame."""

    def __init__(self, path: Path, timeline: str) -> None:
        dataframe = pytest.importorskip("rerun.dataframe", reason="this version of rerun reads recordings otherwise")
        archive = dataframe.load_archive(path)
        (content,) = [
            entry
            for entry in archive.all_recordings()
            if entry.application_id() == "remembev" and entry.schema().index_columns()
        ]
        self.entities = {column.entity_path for column in content.schema().component_columns()}
        self.table = content.view(index=timeline, contents="/**").select().read_all()
        self.times = self.table.column(timeline).to_pylist()

    def column(self, entity: str, component: str) -> list[Any]:
        (name,) = [
            name for name in self.table.column_names if name.startswith(f"{entity}:") and name.endswith(f":{component}")
        ]
        return [value for value in self.table.column(name).to_pylist() if value is not None]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "scene.rrd"
    recording.write_recording(path, [view(frame) for frame in range(3)])
    assert [file.name for file in path.parent.iterdir()] == ["scene.rrd"]
    return path


def test_a_recording_passes_reruns_verification(scene: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "rerun", "rrd", "verify", scene], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_recording_has_timelines_by_time_and_by_frame(scene: Path) -> None:
    assert Table(scene, "frame").times == [0, 1, 2]
    assert [np.timedelta64(time, "ns") for time in Table(scene, "elapsed").times] == [
        np.timedelta64(500 * frame, "ms") for frame in range(3)
    ]


def test_boxes_without_a_point_are_separate_entities_with_dashes(scene: Path) -> None:
    table = Table(scene, "frame")
    texts = {name: table.column(f"/world/ego/detections/{name}", "Text") for name in ("observed", "remembered")}
    assert texts == {"observed": [["car 0.90"]] * 3, "remembered": [["pedestrian 0.50"]] * 3}
    assert "/world/ego/detections/remembered/dashes" in table.entities
    assert "/world/ego/detections/observed/dashes" not in table.entities
    assert table.column("/world/ego/truth/hidden", "Text") == [["pedestrian"]] * 3
    written = [table.column(f"/world/ego/{name}", "ShowLabels") for name in ("detections/observed", "truth/hidden")]
    assert written == [[[False]] * 3] * 2
    assert table.column("/world/ego/detections/remembered", "ShowLabels") == [[True]] * 3
    counts = [table.column(f"/counts/boxes/{name}", "Scalar") for name in ("observed", "remembered", "hidden")]
    assert counts == [[[1.0]] * 3] * 3


def test_static_objects_stay_in_place_in_the_world_while_the_car_drives(scene: Path) -> None:
    table = Table(scene, "frame")
    (places,) = table.column("/world/ego", "Translation3D")[2]
    assert places == pytest.approx([10.0, 0.0, 0.0], abs=1e-4)
    tail = table.column("/world/tracks", "LineStrip3D")[2][0]
    expected = [
        (torch.linalg.inv(car_at(0)) @ car_at(i) @ torch.tensor([*BOX[:3], 1.0]).double())[:3] for i in range(3)
    ]
    np.testing.assert_allclose(tail, torch.stack(expected).numpy(), atol=1e-3)


def test_points_in_range_are_kept(scene: Path) -> None:
    assert Table(scene, "frame").column("/world/ego/points", "Position3D")[0] == [[1.0, 2.0, 0.0], [3.0, 4.0, 1.0]]


def test_reads_are_arcs_from_cells_under_boxes_to_tokens_with_affinity_and_age(scene: Path) -> None:
    table = Table(scene, "frame")
    assert table.column("/world/ego/memory/reads", "affinity")[2] == pytest.approx([0.75, 0.25] * 2)
    assert table.column("/world/ego/memory/reads", "age_s")[2] == pytest.approx([4.0, 1.0] * 2)
    arcs = table.column("/world/ego/memory/reads", "LineStrip3D")[2]
    ends = [(arc[0][:2], arc[-1][:2]) for arc in arcs]
    cells = [[-10.0, 30.0], [10.0, 30.0]]  # the remembered box's comes first
    assert ends == [(cell, token) for cell in cells for token in ([5.0, 6.0], [-5.0, -6.0])]
    assert table.column("/world/ego/memory/long_term", "affinity_received")[2] == [12.0]
    assert table.column("/world/ego/memory/working", "age_s")[2] == [1.0]


def test_maps_are_logged_on_the_ground_and_as_images(scene: Path) -> None:
    table = Table(scene, "frame")
    for name, side in (("gate", 8), ("occupancy", 4)):
        assert {f"/world/ego/{name}", f"/maps/{name}"} <= table.entities
        assert len(table.column(f"/maps/{name}", "ImageBuffer")[0][0]) == side * side * 3


def test_a_frame_without_detections_clears_those_of_the_frame_before(tmp_path: Path) -> None:
    nothing = replace(view(1), detections=Detections.empty(), tracks=[])
    recording.write_recording(tmp_path / "scene.rrd", [view(0), nothing])
    table = Table(tmp_path / "scene.rrd", "frame")
    assert [len(boxes) for boxes in table.column("/world/ego/detections/observed", "HalfSize3D")] == [1, 0]
    assert [len(tails) for tails in table.column("/world/tracks", "LineStrip3D")] == [1, 0]
    assert [len(arcs) for arcs in table.column("/world/ego/memory/reads", "LineStrip3D")] == [4, 0]


def test_a_frame_with_only_points_can_be_recorded(tmp_path: Path) -> None:
    bare = FrameView(GRID, ("car",), points=torch.zeros(0, 5))
    recording.write_recording(tmp_path / "scene.rrd", [bare])
    assert Table(tmp_path / "scene.rrd", "frame").times == [0]


def test_a_dense_cloud_is_thinned_and_the_recording_says_how_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_POINTS", 100)
    dense = replace(view(0), points=torch.cat((torch.zeros(250, 5), torch.full((900, 5), 90.0))))
    recording.write_recording(tmp_path / "scene.rrd", [dense])
    assert len(Table(tmp_path / "scene.rrd", "frame").column("/world/ego/points", "Position3D")[0]) == 84
    assert recording.kept_points([dense]) == "At most 100 points of a frame are kept, down to one in 3."


def test_a_recording_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        recording.write_recording(tmp_path / "scene.rrd", [])
    assert not list(tmp_path.iterdir())
