"""Crowd: people stand and stroll all over a street and the square beside it, and hide each other."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.builder import Builder
from remembev.simulate.parts.parked import Parking, add_parked
from remembev.simulate.parts.people import add_dawdler, add_group
from remembev.simulate.parts.scenery import add_buildings, add_ground, add_trees
from remembev.simulate.parts.vehicles import draw_bodies, set_off
from remembev.simulate.traffic import FOR_GOOD

SPARSE = Parking({"car": 0.6, "van": 0.3, "motorcycle": 0.1}, (0.15, 0.35), (1.0, 4.0))
SQUARE = 18.0  # how deep the square beside the street is, in metres


def draw(rng: np.random.Generator) -> Builder:
    """One scene: houses on one side, a square on the other, the ego car creeps or stands."""
    builder = Builder(streets.lay_out(rng, 1, crossed=False), rng)
    street = builder.layout.main
    start, speed = rng.uniform(-30.0, 10.0), rng.uniform(1.0, 3.0)
    on_route = street.axis.end + start
    still = rng.random() < 0.25
    pauses = [(on_route, FOR_GOOD)] if still else [(on_route + rng.uniform(2.0, 15.0), rng.uniform(2.0, 5.0))]
    builder.add_ego(builder.layout.route(street, 1, 0), on_route - 5.0 * speed, speed, pauses)
    add_ground(builder)
    square = int(rng.choice([-1, 1]))
    add_buildings(builder, street, -square)
    add_parked(builder, start + 20.0, SPARSE, add_trees)
    for _ in range(3):
        direction = int(rng.choice([-1, 1]))
        kind = str(rng.choice(["car", "van", "bus", "truck"], p=[0.4, 0.3, 0.2, 0.1]))
        at = street.axis.end + direction * start + rng.uniform(-70.0, -12.0)
        set_off(builder, builder.layout.route(street, direction, 0), at, rng.uniform(0.6, 1.5), draw_bodies(kind, rng))
    for side in (-1, 1):
        builder.keep_clear(street, side * streets.LANE / 2, streets.LANE / 2 + 0.4)
    _add_people(builder, start, square)
    return builder


def _add_people(builder: Builder, start: float, square: int) -> None:
    rng, street = builder.rng, builder.layout.main
    outer = street.half_width
    low, high = (-outer - 3.6, outer + SQUARE) if square > 0 else (-outer - SQUARE, outer + 3.6)

    def somewhere() -> tuple[float, float]:
        return start + rng.uniform(-25.0, 55.0), rng.uniform(low, high)

    for _ in range(6):
        builder.stand("bicycle", street, *somewhere(), rng.uniform(-np.pi, np.pi))
    for _ in range(60):
        add_dawdler(builder, street, *somewhere(), (0.4, 1.2))
    for _ in range(50):
        add_group(builder, street, *somewhere(), int(rng.integers(2, 6)), 0.7)
