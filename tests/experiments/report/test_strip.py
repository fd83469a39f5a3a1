"""The strip of an object that goes out of sight: which key frames it shows."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from remembev.experiments.report.episodes import Episode
from remembev.experiments.report.strip import shown_frames


@dataclass
class Scene:
    """A scene of so many key frames, where an index is expected."""

    length: int

    def scene_frames(self, scene: int) -> range:
        return range(self.length)


@given(hidden=st.integers(1, 12), before=st.integers(0, 4), after=st.integers(0, 9))
def test_a_strip_goes_from_where_both_find_the_object_to_what_follows_and_is_never_too_long(
    hidden: int, before: int, after: int
) -> None:
    last_seen = 5
    frames = tuple(range(last_seen + 1, last_seen + 1 + hidden))
    episode = Episode(0, 1, 0, last_seen - before, last_seen, frames, ((False,) * hidden, (True,) * hidden))
    shown = shown_frames(Scene(last_seen + 1 + hidden + after), episode)  # type: ignore[arg-type]
    out_of_sight = [number for number in shown if number in frames]
    assert shown == sorted(set(shown))
    assert len(shown) <= 7
    assert shown[0] == episode.both_found
    assert (out_of_sight[0], out_of_sight[-1]) == (frames[0], frames[-1])
    assert (shown[-1] > frames[-1]) == (after > 0)
