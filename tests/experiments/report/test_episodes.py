"""Objects that go out of sight: who is found to keep them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from remembev.data import Frame
from remembev.errors import DataError
from remembev.experiments.report.episodes import EpisodeSearch, find_episodes, read_detections
from remembev.models import Detections
from remembev.streaming import frame_record

NAMES = ("car", "pedestrian")
RANGE = (-40.0, -40.0, -5.0, 40.0, 40.0, 3.0)


def frame(number: int, points: int, *, x: float = 10.0) -> Frame:
    """A key frame with one pedestrian, half a second after the one before."""
    return Frame(
        points=torch.zeros(0, 5),
        global_from_lidar=torch.eye(4, dtype=torch.float64),
        timestamp=1e9 + 0.5 * number,
        scene_token="street",
        sample_token=str(number),
        boxes=torch.tensor([[x, 0.0, 0.0, 0.7, 0.7, 1.8, 0.0, 0.0, 0.0]]),
        labels=torch.tensor([1]),
        track_ids=torch.tensor([4]),
        num_points=torch.tensor([points]),
        visibility=torch.tensor([4]),
    )


@dataclass
class Street:
    """One scene of handwritten frames, where an index is expected."""

    frames: Sequence[Frame]

    def scene_frames(self, scene: int) -> range:
        return range(len(self.frames))

    def load_annotations(self, number: int, class_names: Sequence[str]) -> Frame:
        return self.frames[number]


def says(
    frames: Sequence[Frame], found: Sequence[bool], *, aside: float = 0.5, label: int = 1
) -> dict[str, Detections]:
    """A detector with a box beside the pedestrian in some frames, and in all a worse one where nothing is."""
    return {
        one.sample_token: Detections(
            torch.cat((one.boxes + torch.tensor([aside] + 8 * [0.0]), one.boxes + 20.0))[0 if here else 1 :],
            torch.tensor([0.9, 0.1])[0 if here else 1 :],
            torch.tensor([label, label])[0 if here else 1 :],
        )
        for one, here in zip(frames, found, strict=True)
    }


def searched(points: Sequence[int], first: Sequence[bool], second: Sequence[bool], **told: float) -> EpisodeSearch:
    frames = [frame(number, count) for number, count in enumerate(points)]
    pair = says(frames, first, **told), says(frames, second, **told)
    return find_episodes(Street(frames), [0], NAMES, RANGE, pair, false_boxes=0)  # type: ignore[arg-type]


SEEN_THEN_HIDDEN = [9, 9, 0, 0, 0, 9]
EVERYWHERE = [True] * 6
WHILE_SEEN = [True, True, False, False, False, True]


def test_who_has_a_box_on_the_object_while_no_point_is_on_it_keeps_it() -> None:
    found = searched(SEEN_THEN_HIDDEN, WHILE_SEEN, EVERYWHERE)
    (episode,) = found.episodes
    assert (episode.both_found, episode.last_seen, episode.frames) == (1, 1, (2, 3, 4))
    assert episode.found == ((False,) * 3, (True,) * 3)
    assert episode.kept == (False, True)
    assert found.only_second() == [episode]
    swapped = searched(SEEN_THEN_HIDDEN, EVERYWHERE, WHILE_SEEN)
    assert swapped.only_second() == []
    assert swapped.count(True, False) == 1


def test_boxes_of_another_class_and_boxes_too_far_away_keep_nothing() -> None:
    assert searched(SEEN_THEN_HIDDEN, EVERYWHERE, EVERYWHERE, label=0).episodes == []
    assert searched(SEEN_THEN_HIDDEN, EVERYWHERE, EVERYWHERE, aside=2.1).episodes == []
    assert searched(SEEN_THEN_HIDDEN, EVERYWHERE, EVERYWHERE, aside=1.9).count(True, True) == 1


def test_an_object_that_one_of_the_two_never_found_is_nothing_to_keep() -> None:
    assert searched(SEEN_THEN_HIDDEN, [False] * 6, EVERYWHERE).episodes == []


def test_half_a_second_without_a_point_is_too_short() -> None:
    assert searched([9, 9, 0, 9, 9, 9], EVERYWHERE, EVERYWHERE).episodes == []
    assert len(searched([9, 9, 0, 0, 9, 9], EVERYWHERE, EVERYWHERE).episodes) == 1


def test_only_the_first_four_seconds_out_of_sight_count() -> None:
    points = [9] + [0] * 12
    (episode,) = searched(points, [True] * 13, [True] * 13).episodes
    assert episode.frames == tuple(range(1, 9))


def test_what_leaves_the_range_is_not_out_of_sight() -> None:
    frames = [frame(0, 9), *(frame(number, 0, x=45.0) for number in range(1, 5))]
    pair = says(frames, [True] * 5), says(frames, [True] * 5)
    assert find_episodes(Street(frames), [0], NAMES, RANGE, pair, false_boxes=0).episodes == []  # type: ignore[arg-type]


def test_boxes_count_from_the_score_that_leaves_as_many_false_ones_to_each() -> None:
    found = searched(SEEN_THEN_HIDDEN, WHILE_SEEN, EVERYWHERE)
    assert [one.threshold for one in found.matched] == pytest.approx([0.1, 0.1])
    assert found.matched[1].scores[3] == pytest.approx({4: 0.9})


def test_a_file_of_detections_is_read_as_it_was_written(tmp_path: Path) -> None:
    file, one = tmp_path / "detections.jsonl", frame(3, 9)
    told = replace(says([one], [True])["3"], observed=torch.tensor([True, False]))
    file.write_text(json.dumps(frame_record(one, told, NAMES)) + "\n")
    read = read_detections(file, NAMES)["3"]
    for name in ("boxes", "scores", "labels", "observed"):
        assert torch.equal(getattr(read, name), getattr(told, name))


def test_a_broken_or_incomplete_file_of_detections_is_named(tmp_path: Path) -> None:
    file = tmp_path / "detections.jsonl"
    file.write_text('{"sample_token": "0"')
    with pytest.raises(DataError, match=r"detections\.jsonl"):
        read_detections(file, NAMES)
    frames = [frame(0, 9), frame(1, 9)]
    pair = says(frames, [True] * 2), says(frames[:1], [True])
    with pytest.raises(DataError, match="1 key frames are missing, for instance of 1"):
        find_episodes(Street(frames), [0], NAMES, RANGE, pair, false_boxes=0)  # type: ignore[arg-type]
