from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from remembev.data import NuScenesIndex
from remembev.data.census import Census, take_census
from remembev.errors import DataError

from .handmade import VERSION, write_handmade

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


def _census(root: Path, split: str = "hand_all", **options: float) -> Census:
    return take_census(NuScenesIndex.open(root, VERSION), split, **options)


def test_a_hidden_object_counts_in_every_window_in_which_it_was_well_seen(root: Path) -> None:
    found = _census(root)
    assert found.frames == 10
    counts = (found.objects, found.in_sight, found.faint, found.hidden)
    assert [count[TRUCK] for count in counts] == [10, 1, 1, 8]
    assert found.remembered[TRUCK].tolist() == [1, 2, 3, 3]


def test_nothing_is_remembered_of_another_scene(root: Path) -> None:
    assert _census(root, "hand_last").remembered.sum() == 0


def test_every_object_is_counted_once_in_sight_and_once_in_visibility(root: Path) -> None:
    found = _census(root)
    np.testing.assert_array_equal(found.in_sight + found.faint + found.hidden, found.objects)
    np.testing.assert_array_equal(found.visibility.sum(1), found.objects)


def test_only_what_is_near_counts(root: Path) -> None:
    far, near = _census(root, within=1000.0), _census(root, within=15.0)
    assert far.objects[0] - _census(root).objects[0] == 10  # a car 300 m away
    assert near.objects.sum() < far.objects.sum()


def test_an_unknown_split_is_reported(root: Path) -> None:
    with pytest.raises(DataError, match="val_doors"):
        _census(root, "val_doors")
