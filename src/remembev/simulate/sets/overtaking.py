"""Overtaking: long vehicles pass the ego car, or it passes them, and they hide the street beyond."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.builder import Builder
from remembev.simulate.parts.parked import ORDINARY, add_parked
from remembev.simulate.parts.people import add_dawdler, add_group
from remembev.simulate.parts.scenery import add_buildings, add_ground, add_trees
from remembev.simulate.parts.vehicles import draw_bodies, set_off
from remembev.simulate.traffic import FOR_GOOD


def draw(rng: np.random.Generator) -> Builder:
    """One scene: two lanes each way, long vehicles in the ego car's other lane, a jam on the far side."""
    builder = Builder(streets.lay_out(rng, 2, crossed=False), rng)
    start = rng.uniform(-80.0, -20.0)
    lane = int(rng.integers(2))
    speed = rng.uniform(3.0, 6.0)
    on_route = builder.layout.main.axis.end + start
    pauses = [(on_route, FOR_GOOD)] if lane == 1 and rng.random() < 0.25 else []
    builder.add_ego(builder.layout.route(builder.layout.main, 1, lane), on_route - 5.0 * speed, speed, pauses)
    add_ground(builder)
    for side in (-1, 1):
        add_buildings(builder, builder.layout.main, side)
    add_parked(builder, start + 40.0, ORDINARY, add_trees)
    faster = lane == 1 or rng.random() < 0.3
    _add_long_ones(builder, 1 - lane, start, speed + (1.0 if faster else -1.0) * rng.uniform(1.5, 3.5), faster)
    _add_jam(builder, start)
    _add_two_wheelers(builder, start, speed)
    _add_people(builder, start)
    return builder


def _add_long_ones(builder: Builder, lane: int, start: float, speed: float, faster: bool) -> None:
    """Trucks and buses in one lane, at one speed: from behind the ego car if they are faster, else from ahead."""
    rng, street = builder.rng, builder.layout.main
    speed = max(speed, 1.2)
    route = builder.layout.route(street, 1, lane)
    at = street.axis.end + start + (rng.uniform(-20.0, -5.0) if faster else rng.uniform(5.0, 20.0)) - 6.0 * speed
    for _ in range(int(rng.integers(4, 7))):
        bodies = draw_bodies(str(rng.choice(["truck", "bus", "van"], p=[0.55, 0.35, 0.1])), rng, towing=0.3)
        set_off(builder, route, at, speed * rng.uniform(0.95, 1.05), bodies)
        at += (-1.0 if faster else 1.0) * (bodies[-1][2] + rng.uniform(18.0, 34.0))


def _add_jam(builder: Builder, start: float) -> None:
    """Slow and standing traffic the other way."""
    rng, street = builder.rng, builder.layout.main
    for lane in (0, 1):
        at, speed = street.axis.end - start - 100.0, rng.uniform(0.6, 2.5)
        route = builder.layout.route(street, -1, lane)
        while at < street.axis.end - start + 40.0:
            kind = str(rng.choice(["car", "van", "ridden_motorcycle", "truck", "bus"], p=[0.6, 0.12, 0.16, 0.07, 0.05]))
            bodies = draw_bodies(kind, rng, towing=0.2)
            pauses = [(at + rng.uniform(1.0, 20.0), rng.uniform(2.0, 8.0))]
            set_off(builder, route, at, speed, bodies, margin=2.0, pauses=pauses)
            at += bodies[0][1][0] + bodies[-1][2] + rng.uniform(4.0, 16.0)


def _add_two_wheelers(builder: Builder, start: float, speed: float) -> None:
    """Cyclists on both sides, on this one about as fast as the ego car."""
    rng, street = builder.rng, builder.layout.main
    for _ in range(12):
        direction = int(rng.choice([-1, 1]))
        route = builder.layout.cycle_route(street, direction, rng.uniform(-0.25, 0.25))
        at = street.axis.end + direction * start + rng.uniform(-50.0, 60.0)
        pace = np.clip(speed * rng.uniform(0.7, 1.1), 1.8, 4.5)
        set_off(builder, route, at, float(pace), draw_bodies("ridden_bicycle", rng), margin=1.0)


def _add_people(builder: Builder, start: float) -> None:
    rng, street = builder.rng, builder.layout.main
    for _ in range(12):
        offset = float(rng.choice([-1, 1])) * (street.half_width + rng.uniform(1.2, 3.0))
        add_group(builder, street, start + rng.uniform(-30.0, 110.0), offset, int(rng.integers(1, 4)), 0.7)
    for _ in range(14):
        offset = float(rng.choice([-1, 1])) * (street.half_width + rng.uniform(1.0, 3.4))
        add_dawdler(builder, street, start + rng.uniform(-30.0, 110.0), offset)
