from __future__ import annotations

import numpy as np
import pytest

from remembev.simulate.streets import Gate, Path, Signal
from remembev.simulate.traffic import STEP, Mover, collides, simulate_traffic

STRAIGHT = Path.through(np.stack([np.arange(0.0, 401.0), np.zeros(401)], 1))
ALL_RED = Signal(green=0.0, clearance=5.0, start=0.0)


def _car(start: float, speed: float, gate: Gate | None = None, path: Path = STRAIGHT) -> Mover:
    return Mover(path, start, speed, 2.3, 2.3, 1.9, gate)


def _drive(*movers: Mover, seconds: float = 20.0) -> np.ndarray:
    return simulate_traffic(list(movers), ALL_RED, seconds, np.random.default_rng(0))


def test_a_fast_car_never_runs_into_a_slow_one() -> None:
    stations = _drive(_car(0.0, 13.0), _car(30.0, 3.0))
    assert (stations[:, 1] - stations[:, 0]).min() > 4.6
    assert np.diff(stations[-20:, 0]).mean() / STEP < 3.5


def test_a_free_car_reaches_its_speed() -> None:
    stations = _drive(_car(0.0, 9.0))
    assert abs(np.diff(stations[-10:, 0]).mean() / STEP - 9.0) < 0.3


def test_a_car_stops_before_a_red_light() -> None:
    stations = _drive(_car(0.0, 10.0, Gate(120.0, 0)))
    assert 110.0 < stations[-1, 0] + 2.3 <= 120.1


def test_a_pedestrian_waits_for_a_gap_and_then_walks() -> None:
    across = Path.through(np.stack([np.full(60, 150.0), np.linspace(-14, 40, 60)], 1))
    walker = Mover(across, 0.3, 1.4, 0.35, 0.35, 0.7, Gate(8.0, None), on_foot=True)
    alone = _drive(walker)[:, 0]
    with_car = _drive(walker, _car(125.0, 3.5))[:, 0]
    assert alone[-1] > 20
    assert with_car[-1] > 9.0
    assert with_car[-1] < alone[-1] - 2.0


def test_a_mover_pauses_at_the_station_for_the_duration() -> None:
    walker = Mover(STRAIGHT, 0.1, 1.2, 0.35, 0.35, 0.7, on_foot=True, pauses=((12.0, 5.0), (18.0, 1e3)))
    station = _drive(walker, seconds=40.0)[:, 0]
    standing = np.abs(station - 12.0) < 0.35
    assert 5.0 <= standing.sum() * STEP < 7.0
    assert station[-1] == pytest.approx(18.0, abs=0.3)


def test_a_taken_place_is_refused() -> None:
    assert collides(_car(10.0, 5.0), [_car(13.0, 5.0)], 1.0)
    assert not collides(_car(10.0, 5.0), [_car(20.0, 5.0)], 1.0)
