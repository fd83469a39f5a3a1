from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.data.handmade import VERSION, write_handmade

from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation.dataset_stats import DatasetStats, dataset_stats
from remembev.evaluation.matching import match_frame
from remembev.evaluation.observability import track_observability
from remembev.evaluation.permanence import measure_permanence
from remembev.models import Detections

TRUCK = 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Scenes in the first of which the truck is seen, hidden twice, faint and hidden; in the second never seen."""
    write_handmade(tmp_path)
    path = tmp_path / VERSION / "sample_annotation.json"
    rows = json.loads(path.read_text())
    points = {f"annotation-0-1-{frame}": count for frame, count in enumerate([7, 0, 0, 3, 0])}
    for row in rows:
        if row["instance_token"].endswith("-1"):
            row["num_lidar_pts"] = points.get(row["token"], 0)
    path.write_text(json.dumps(rows))
    return tmp_path


def stats_of(root: Path, split: str = "hand_all", **options: float) -> DatasetStats:
    return dataset_stats(NuScenesIndex.open(root, VERSION), split, **options)


def test_a_hidden_object_counts_in_every_window_in_which_it_was_well_seen(root: Path) -> None:
    stats = stats_of(root)
    assert stats.frames == 10
    counts = (stats.objects, stats.well_seen, stats.faint, stats.no_points)
    assert [count[TRUCK] for count in counts] == [10, 1, 1, 8]
    assert stats.hidden[TRUCK].tolist() == [1, 2, 3, 3]


def test_hidden_objects_are_those_that_permanence_scores(sim_root: Path) -> None:
    index = NuScenesIndex.open(sim_root, "v1.0-sim")
    area = (-40.0, -40.0, -5.0, 40.0, 40.0, 3.0)
    matched = [
        match_frame(frame, Detections.empty())
        for scene in index.split_scenes("val")
        for frame in track_observability(map(index.load_annotations, index.scene_frames(scene)), area)
    ]
    hidden = dataset_stats(index, "val").hidden.sum(dim=0)
    assert hidden[-1] > 0
    assert tuple(hidden.tolist()) == measure_permanence(matched).objects


def test_other_scenes_do_not_count_as_seen(root: Path) -> None:
    assert stats_of(root, "hand_last").hidden.sum() == 0


def test_every_object_counts_once_by_points_and_once_by_visibility(root: Path) -> None:
    stats = stats_of(root)
    assert torch.equal(stats.well_seen + stats.faint + stats.no_points, stats.objects)
    assert torch.equal(stats.visibility.sum(1), stats.objects)


def test_only_near_objects_count(root: Path) -> None:
    far, near = stats_of(root, within_metres=1000.0), stats_of(root, within_metres=15.0)
    assert far.objects[0] - stats_of(root).objects[0] == 10  # a car 300 m away
    assert near.objects.sum() < far.objects.sum()


def test_an_unknown_split_is_reported(root: Path) -> None:
    with pytest.raises(DataError, match="val_doors"):
        stats_of(root, "val_doors")
