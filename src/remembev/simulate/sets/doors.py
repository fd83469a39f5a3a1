"""Doors: a tightly parked street with open doors, and people who step out between the vehicles and go back."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.builder import Builder
from remembev.simulate.parts.parked import Parking, add_parked, open_doors
from remembev.simulate.parts.people import add_dawdler, add_group, add_weaver
from remembev.simulate.parts.scenery import add_buildings, add_ground, add_trees
from remembev.simulate.parts.vehicles import draw_bodies, set_off
from remembev.simulate.traffic import FOR_GOOD

TIGHT = Parking({"car": 0.44, "van": 0.4, "truck": 0.12, "motorcycle": 0.04}, (0.85, 0.97), (0.9, 1.9))
BEHIND = 12.0  # metres of street behind the ego car's start that are full of people
AHEAD = 75.0


def draw(rng: np.random.Generator) -> Builder:
    """One scene: the ego car creeps along, or stands, between two rows of parked vehicles."""
    builder = Builder(streets.lay_out(rng, 1, crossed=False), rng)
    start = _add_ego(builder)
    add_ground(builder)
    for side in (-1, 1):
        add_buildings(builder, builder.layout.main, side)
    add_parked(builder, start + 30.0, TIGHT, add_trees)
    open_doors(builder, 0.3)
    _add_passing(builder, start)
    _add_people(builder, start)
    return builder


def _add_ego(builder: Builder) -> float:
    """Slow, with a stop on the way; or standing. Returns the axis station where the scene begins."""
    rng, street = builder.rng, builder.layout.main
    start = rng.uniform(-60.0, 0.0)
    route = builder.layout.route(street, 1, 0)
    on_route = street.axis.end + start
    still = rng.random() < 0.2
    speed = rng.uniform(2.0, 5.0)
    pauses = [(on_route, FOR_GOOD)] if still else [(on_route + rng.uniform(5.0, 40.0), rng.uniform(2.0, 6.0))]
    builder.add_ego(route, on_route - 5.0 * speed, speed, pauses)
    return start


def _add_passing(builder: Builder, start: float) -> None:
    """A few vehicles, slow for the narrow street."""
    rng, street = builder.rng, builder.layout.main
    for _ in range(int(rng.integers(6, 11))):
        direction = int(rng.choice([-1, 1]))
        kind = str(rng.choice(["car", "van", "ridden_motorcycle", "truck", "bus"], p=[0.55, 0.15, 0.14, 0.08, 0.08]))
        at = street.axis.end + direction * start + rng.uniform(-110.0, 60.0)
        set_off(builder, builder.layout.route(street, direction, 0), at, rng.uniform(3.0, 7.0), draw_bodies(kind, rng))


def _add_people(builder: Builder, start: float) -> None:
    rng, street = builder.rng, builder.layout.main

    def somewhere() -> float:
        return start + rng.uniform(-BEHIND, AHEAD)

    def a_side() -> int:
        return int(rng.choice([-1, 1]))

    for _ in range(10):
        builder.stand("bicycle", street, somewhere(), a_side() * (street.half_width + 0.6), np.pi / 2, streets.KERB)
    for _ in range(16):
        add_weaver(builder, street, a_side(), somewhere())
    for _ in range(26):  # who loads, waits or talks, close behind the parked vehicles
        add_group(builder, street, somewhere(), a_side() * (street.half_width + rng.uniform(0.2, 1.1)), 2, 0.5)
    for _ in range(24):
        add_dawdler(builder, street, somewhere(), a_side() * (street.half_width + rng.uniform(1.0, 3.2)))
