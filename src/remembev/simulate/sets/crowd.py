"""Crowd: people stand and stroll all over a street and the square beside it, and occlude each other."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.placement.parked import Parking, add_parked
from remembev.simulate.placement.people import add_slow_walker, add_standing_group
from remembev.simulate.placement.scenery import (
    add_buildings,
    add_furniture_obstacles,
    add_ground,
    add_skyline,
    add_square,
)
from remembev.simulate.placement.vehicles import add_passing_vehicle
from remembev.simulate.traffic import FOREVER
from remembev.simulate.world import WorldBuilder

PARKING = Parking({"car": 0.6, "van": 0.3, "motorcycle": 0.1}, (0.15, 0.35), (1.0, 4.0))
PASSING = {"car": 0.4, "van": 0.3, "bus": 0.2, "truck": 0.1}
SQUARE = 18.0  # depth of the square beside the street, in metres


def draw(rng: np.random.Generator) -> WorldBuilder:
    """Draw a scene: houses on one side, a square on the other; the ego car creeps or stands."""
    builder = WorldBuilder(streets.draw_layout(rng, 1, crossed=False), rng)
    street = builder.layout.main
    start, speed = rng.uniform(-30.0, 10.0), rng.uniform(1.0, 3.0)
    on_route = street.axis.end + start
    still = rng.random() < 0.25
    pauses = [(on_route, FOREVER)] if still else [(on_route + rng.uniform(2.0, 15.0), rng.uniform(2.0, 5.0))]
    builder.add_ego(builder.layout.route(street, 1, 0), on_route - 5.0 * speed, speed, pauses)
    square_side = builder.random_sign()
    add_ground(builder, (-square_side,))
    add_buildings(builder, street, -square_side)
    add_skyline(builder, street, -square_side)
    add_skyline(builder, street, square_side, (SQUARE + 3.0, SQUARE + 20.0), (0.0, 4.0))
    add_square(builder, street, square_side, SQUARE, 40)
    add_parked(builder, start + 20.0, PARKING, add_furniture_obstacles)
    for _ in range(3):
        add_passing_vehicle(builder, start, PASSING, (-70.0, -12.0), (0.6, 1.5))
    for side in (-1, 1):
        builder.reserve_lane(street, side * streets.LANE / 2, streets.LANE / 2 + 0.4)
    _add_people(builder, start, square_side)
    return builder


def _add_people(builder: WorldBuilder, start: float, square_side: int) -> None:
    rng, street = builder.rng, builder.layout.main
    outer = street.half_width
    low, high = (-outer - 3.6, outer + SQUARE) if square_side > 0 else (-outer - SQUARE, outer + 3.6)

    def place() -> tuple[float, float]:
        return start + rng.uniform(-25.0, 55.0), rng.uniform(low, high)

    for _ in range(6):
        builder.add_object("bicycle", street, *place(), builder.random_yaw())
    for _ in range(60):
        add_slow_walker(builder, street, *place(), (0.4, 1.2))
    for _ in range(50):
        add_standing_group(builder, street, *place(), int(rng.integers(2, 6)), 0.7)
