from __future__ import annotations

import numpy as np
import pytest

from remembev.simulate.streets import LANE, Layout, Path, Signal, Street, draw_varied_layout, join


def _crossing() -> Layout:
    main = Street(Path.through(np.stack([np.arange(-200.0, 201.0), np.zeros(401)], 1), -200.0), 1)
    cross = Street(Path.through(np.stack([np.zeros(241), np.arange(-120.0, 121.0)], 1), -120.0), 1)
    return Layout(main, cross, Signal(6.0, 2.0, 0.0))


def test_offsets_are_to_the_left_and_a_path_extends_straight_beyond_its_end() -> None:
    path = Path.through(np.array([[0.0, 0.0], [5.0, 0.0], [10.0, 0.0]]))
    np.testing.assert_allclose(path.at(3.0, 2.0), [3.0, 2.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(path.at(14.0), [14.0, 0.0, 0.0], atol=1e-9)


def test_traffic_keeps_to_the_right_both_ways() -> None:
    layout = _crossing()
    forth, back = (layout.route(layout.main, way, 0).path for way in (1, -1))
    assert forth.points[0, 1] == pytest.approx(-LANE / 2)
    assert back.points[0, 1] == pytest.approx(LANE / 2)
    assert forth.points[0, 0] < 0 < back.points[0, 0]


@pytest.mark.parametrize(("turn", "heading"), [(-1, -np.pi / 2), (0, 0.0), (1, np.pi / 2)])
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("on_main", [True, False])
def test_a_turn_ends_in_its_direction_right_of_the_axis(
    turn: int, heading: float, direction: int, on_main: bool
) -> None:
    layout = _crossing()
    assert layout.cross is not None
    street = layout.main if on_main else layout.cross
    path = layout.route(street, direction, 0, turn).path
    assert path.headings[-1] - path.headings[0] == pytest.approx(heading, abs=0.02)
    end = path.points[-1]
    right = np.array([np.sin(path.headings[-1]), -np.cos(path.headings[-1])])
    assert end @ right == pytest.approx(LANE / 2, abs=0.05)


def test_a_joined_path_has_no_jump_and_no_sharp_kink() -> None:
    a = Path.through(np.stack([np.linspace(-20, -8, 13), np.zeros(13)], 1))
    b = Path.through(np.stack([np.zeros(13), np.linspace(8, 20, 13)], 1))
    path = join(a, b)
    assert np.linalg.norm(np.diff(path.points, axis=0), axis=1).max() < 1.2
    assert np.abs(np.diff(path.headings)).max() < 0.25


def test_never_two_approaches_have_green_at_once() -> None:
    signal = Signal(6.0, 2.0, -3.0)
    opened = [[signal.is_green(a, t) for a in range(4)] for t in np.arange(0, 64, 0.25)]
    assert max(map(sum, opened)) == 1
    assert all(any(column) for column in zip(*opened, strict=True))


def test_the_road_ends_at_the_kerb() -> None:
    layout = draw_varied_layout(np.random.default_rng(1))
    stations = np.linspace(-200, -60, 15)
    for side in (-1, 1):
        inside = layout.main.axis.at(stations, side * (layout.main.half_width - 0.2))[:, :2]
        outside = layout.main.axis.at(stations, side * (layout.main.half_width + 0.2))[:, :2]
        assert layout.on_road(inside).all()
        assert not layout.on_road(outside).any()
