"""Simulated streams without a folder: the frames are those of the data set that the same simulation writes."""

from __future__ import annotations

import pytest
import torch
from nuscenes.eval.detection.utils import category_to_detection_name

from remembev.config.classes import DETECTION_NAMES
from remembev.data import Frame, NuScenesIndex
from remembev.simulate import SimulationSettings, simulate_dataset
from remembev.simulate.objects import KINDS
from remembev.simulate.scene import SceneSimulation
from remembev.streaming.sources.simulated import CLASS_OF, simulated_frames

SETTINGS = SimulationSettings(scenes=1, seed=5, seconds=1.5, azimuths=180, sweeps=True, val_share=0.0)
SWEEPS = 3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    root = tmp_path_factory.mktemp("live") / "data"
    simulate_dataset(root, SETTINGS, workers=1)
    index = NuScenesIndex.open(root, SETTINGS.version)
    return [index.load_frame(number, num_sweeps=SWEEPS) for number in index.scene_frames(0)]


@pytest.fixture(scope="module")
def live() -> list[Frame]:
    simulation = SceneSimulation(SETTINGS.seed, 0, SETTINGS.seconds, SETTINGS.azimuths)
    return list(simulated_frames(simulation, DETECTION_NAMES, SWEEPS))


def test_points_poses_and_times_are_those_of_the_data_set(written: list[Frame], live: list[Frame]) -> None:
    assert len(live) == len(written) == 3
    for frame, stored in zip(live, written, strict=True):
        assert frame.timestamp == pytest.approx(stored.timestamp - written[0].timestamp + live[0].timestamp, abs=1e-5)
        torch.testing.assert_close(frame.global_from_lidar, stored.global_from_lidar, rtol=0, atol=1e-6)
        torch.testing.assert_close(frame.points, stored.points, rtol=0, atol=1e-4)


def test_objects_that_had_a_point_are_those_of_the_data_set(written: list[Frame], live: list[Frame]) -> None:
    met: set[int] = set()
    for frame, stored in zip(live, written, strict=True):
        met |= set(stored.track_ids[stored.num_points > 0].tolist())
        known = torch.tensor([track in met for track in stored.track_ids.tolist()])
        order, wanted = by_place(frame.boxes), torch.nonzero(known)[:, 0][by_place(stored.boxes[known])]
        assert len(order) == len(wanted) > 0
        assert frame.labels[order].tolist() == stored.labels[wanted].tolist()
        assert frame.num_points[order].tolist() == stored.num_points[wanted].tolist()
        assert frame.visibility[order].tolist() == stored.visibility[wanted].tolist()
        torch.testing.assert_close(frame.boxes[order, :7], stored.boxes[wanted, :7], rtol=0, atol=2e-3)


def by_place(boxes: torch.Tensor) -> torch.Tensor:
    """Order of boxes by where they are, the same for boxes that differ by rounding."""
    return (boxes[:, 0] + 1000 * boxes[:, 1].round(decimals=1)).argsort()


def test_velocities_are_those_since_the_key_frame_before(live: list[Frame]) -> None:
    assert not live[0].boxes[:, 7:].any()
    before, now = live[1:]
    speed = dict(zip(now.track_ids.tolist(), now.boxes[:, 7:].norm(dim=1).tolist(), strict=True))
    assert max(speed.values()) > 1
    moved = (before.global_from_lidar.inverse() @ now.global_from_lidar).float()
    for track, box in zip(before.track_ids.tolist(), before.boxes, strict=True):
        if track in speed:
            there = now.boxes[now.track_ids == track][0]
            way = moved[:3, :3] @ there[:3] + moved[:3, 3] - box[:3]
            assert float(way[:2].norm()) / (now.timestamp - before.timestamp) == pytest.approx(speed[track], abs=0.05)


def test_other_classes_are_left_out() -> None:
    simulation = SceneSimulation(SETTINGS.seed, 0, 0.5, SETTINGS.azimuths)
    (frame,) = simulated_frames(simulation, ["pedestrian", "car"])
    assert set(frame.labels.tolist()) <= {0, 1}
    assert len(frame.labels) > 0


def test_every_simulated_category_has_the_class_that_the_devkit_gives_it() -> None:
    categories = {kind.category for kind in KINDS.values()}
    assert {category: CLASS_OF[category] for category in categories} == {
        category: category_to_detection_name(category) for category in categories
    }
