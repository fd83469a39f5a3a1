"""The picture of a long stream shows its medians, from zero on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from remembev.bench.plots import draw_stream, write_plot
from remembev.bench.stream import STEP, StreamCurve


@pytest.fixture
def curve() -> StreamCurve:
    steps = np.zeros(1000, dtype=STEP)
    steps["wall_s"] = 0.05
    steps["wall_s"][::10] = 9.0
    steps["resident_bytes"] = np.linspace(100, 200, 1000) * 2**20
    steps["state_bytes"], steps["tokens"] = 2**20, 64
    return StreamCurve(steps)


def test_every_panel_starts_at_zero_and_shows_medians_of_a_hundredth_of_the_stream(curve: StreamCurve) -> None:
    time, memory, state, tokens = draw_stream(curve, "a stream").axes
    for axes in (time, memory, state, tokens):
        assert axes.get_ylim()[0] == 0
    frames, milliseconds = time.lines[0].get_data()
    np.testing.assert_allclose(frames, np.arange(100) * 10 + 5)
    np.testing.assert_allclose(milliseconds, 50)
    megabytes = memory.lines[0].get_ydata()
    assert (megabytes[0], megabytes[-1]) == pytest.approx((100, 200), abs=1)
    assert set(tokens.lines[0].get_ydata()) == {64}


def test_a_memory_without_tokens_has_no_scale_for_them(curve: StreamCurve) -> None:
    curve.steps["tokens"] = 0
    assert len(draw_stream(curve, "a stream").axes) == 3


def test_the_picture_is_written_whole(curve: StreamCurve, tmp_path: Path) -> None:
    write_plot(tmp_path / "made" / "stream.png", draw_stream(curve, "a stream"))
    assert (tmp_path / "made" / "stream.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["stream.png"]
