"""Doors: a tightly parked street with open doors, and people who step out between the vehicles and go back."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.placement.parked import Parking, add_parked, open_doors
from remembev.simulate.placement.people import add_emerging_pedestrian, add_slow_walker, add_standing_group
from remembev.simulate.placement.scenery import (
    add_buildings,
    add_furniture_obstacles,
    add_ground,
    add_overhead,
    add_skyline,
)
from remembev.simulate.placement.vehicles import add_passing_vehicle
from remembev.simulate.traffic import FOREVER
from remembev.simulate.world import WorldBuilder

PARKING = Parking({"car": 0.44, "van": 0.4, "truck": 0.12, "motorcycle": 0.04}, (0.85, 0.97), (0.9, 1.9))
PASSING = {"car": 0.55, "van": 0.15, "ridden_motorcycle": 0.14, "truck": 0.08, "bus": 0.08}
BEHIND, AHEAD = 12.0, 75.0  # metres of street about the ego car's start that are full of people


def draw(rng: np.random.Generator) -> WorldBuilder:
    """Draw a scene: the ego car creeps along, or stands, between two rows of parked vehicles."""
    builder = WorldBuilder(streets.draw_layout(rng, 1, crossed=False), rng)
    start = _add_ego(builder)
    add_ground(builder, (-1, 1))
    for side in (-1, 1):
        add_buildings(builder, builder.layout.main, side)
        add_skyline(builder, builder.layout.main, side)
    add_overhead(builder, start)
    add_parked(builder, start + 30.0, PARKING, add_furniture_obstacles)
    open_doors(builder, 0.3)
    for _ in range(int(rng.integers(6, 11))):
        add_passing_vehicle(builder, start, PASSING, (-110.0, 60.0), (3.0, 7.0))
    _add_people(builder, start)
    return builder


def _add_ego(builder: WorldBuilder) -> float:
    """Add the ego car, slow with a stop on the way, or standing; return the station where the scene starts."""
    rng, street = builder.rng, builder.layout.main
    start = rng.uniform(-60.0, 0.0)
    on_route = street.axis.end + start
    still = rng.random() < 0.2
    speed = rng.uniform(2.0, 5.0)
    pauses = [(on_route, FOREVER)] if still else [(on_route + rng.uniform(5.0, 40.0), rng.uniform(2.0, 6.0))]
    builder.add_ego(builder.layout.route(street, 1, 0), on_route - 5.0 * speed, speed, pauses)
    return start


def _add_people(builder: WorldBuilder, start: float) -> None:
    rng, street = builder.rng, builder.layout.main

    def station() -> float:
        return start + rng.uniform(-BEHIND, AHEAD)

    def behind_kerb(low: float, high: float) -> float:
        return builder.random_sign() * (street.half_width + rng.uniform(low, high))

    for _ in range(10):
        at, offset = station(), builder.random_sign() * (street.half_width + 0.6)
        builder.add_object("bicycle", street, at, offset, np.pi / 2, streets.KERB)
    for _ in range(16):
        add_emerging_pedestrian(builder, street, builder.random_sign(), station())
    for _ in range(26):  # people who load, wait or talk, close behind the parked vehicles
        add_standing_group(builder, street, station(), behind_kerb(0.2, 1.1), 2, 0.5)
    for _ in range(24):
        add_slow_walker(builder, street, station(), behind_kerb(1.0, 3.2))
