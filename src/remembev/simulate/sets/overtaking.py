"""Overtaking: long vehicles pass the ego car, or it passes them, and they occlude the street beyond."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.placement.parked import ORDINARY, add_parked
from remembev.simulate.placement.people import add_slow_walker, add_standing_group
from remembev.simulate.placement.scenery import (
    add_buildings,
    add_furniture_obstacles,
    add_ground,
    add_overhead,
    add_skyline,
)
from remembev.simulate.placement.vehicles import add_vehicle, draw_bodies
from remembev.simulate.traffic import FOREVER
from remembev.simulate.world import WorldBuilder

LONG_VEHICLES = {"truck": 0.55, "bus": 0.35, "van": 0.1}
JAM = {"car": 0.6, "van": 0.12, "ridden_motorcycle": 0.16, "truck": 0.07, "bus": 0.05}


def draw(rng: np.random.Generator) -> WorldBuilder:
    """Draw a scene: two lanes each way, long vehicles in the lane beside the ego car, a jam on the far side."""
    builder = WorldBuilder(streets.draw_layout(rng, 2, crossed=False), rng)
    start = rng.uniform(-80.0, -20.0)
    lane = int(rng.integers(2))
    speed = rng.uniform(3.0, 6.0)
    on_route = builder.layout.main.axis.end + start
    pauses = [(on_route, FOREVER)] if lane == 1 and rng.random() < 0.25 else []
    builder.add_ego(builder.layout.route(builder.layout.main, 1, lane), on_route - 5.0 * speed, speed, pauses)
    add_ground(builder, (-1, 1))
    for side in (-1, 1):
        add_buildings(builder, builder.layout.main, side)
        add_skyline(builder, builder.layout.main, side, (10.0, 50.0), (2.0, 10.0))
    add_overhead(builder, start)
    add_parked(builder, start + 40.0, ORDINARY, add_furniture_obstacles)
    faster = lane == 1 or rng.random() < 0.3
    lane_speed = speed + (1.0 if faster else -1.0) * rng.uniform(1.5, 3.5)
    _add_long_vehicles(builder, 1 - lane, start, lane_speed, faster)
    _add_jam(builder, start)
    _add_cyclists(builder, start, speed)
    _add_people(builder, start)
    return builder


def _add_long_vehicles(builder: WorldBuilder, lane: int, start: float, speed: float, faster: bool) -> None:
    """Add trucks and buses to one lane at one speed: behind the ego car if they are faster, else ahead of it."""
    rng, street = builder.rng, builder.layout.main
    speed = max(speed, 1.2)
    route = builder.layout.route(street, 1, lane)
    at = street.axis.end + start + (rng.uniform(-20.0, -5.0) if faster else rng.uniform(5.0, 20.0)) - 6.0 * speed
    for _ in range(int(rng.integers(4, 7))):
        bodies = draw_bodies(builder.random_kind(LONG_VEHICLES), rng, towing=0.3)
        add_vehicle(builder, route, at, speed * rng.uniform(0.95, 1.05), bodies)
        at += (-1.0 if faster else 1.0) * (bodies[-1].behind + rng.uniform(18.0, 34.0))


def _add_jam(builder: WorldBuilder, start: float) -> None:
    """Add slow and standing traffic in the opposite direction."""
    rng, street = builder.rng, builder.layout.main
    for lane in (0, 1):
        at, speed = street.axis.end - start - 100.0, rng.uniform(0.6, 2.5)
        route = builder.layout.route(street, -1, lane)
        while at < street.axis.end - start + 40.0:
            bodies = draw_bodies(builder.random_kind(JAM), rng, towing=0.2)
            pauses = [(at + rng.uniform(1.0, 20.0), rng.uniform(2.0, 8.0))]
            add_vehicle(builder, route, at, speed, bodies, margin=2.0, pauses=pauses)
            at += bodies[0].size[0] + bodies[-1].behind + rng.uniform(4.0, 16.0)


def _add_cyclists(builder: WorldBuilder, start: float, speed: float) -> None:
    """Add cyclists on both sides, at about the ego car's speed."""
    rng, street = builder.rng, builder.layout.main
    for _ in range(12):
        direction = builder.random_sign()
        route = builder.layout.cycle_route(street, direction, rng.uniform(-0.25, 0.25))
        at = street.axis.end + direction * start + rng.uniform(-50.0, 60.0)
        cycling_speed = float(np.clip(speed * rng.uniform(0.7, 1.1), 1.8, 4.5))
        add_vehicle(builder, route, at, cycling_speed, draw_bodies("ridden_bicycle", rng), margin=1.0)


def _add_people(builder: WorldBuilder, start: float) -> None:
    rng, street = builder.rng, builder.layout.main
    for _ in range(12):
        offset = builder.random_sign() * (street.half_width + rng.uniform(1.2, 3.0))
        station, count = start + rng.uniform(-30.0, 110.0), int(rng.integers(1, 4))
        add_standing_group(builder, street, station, offset, count, 0.7)
    for _ in range(14):
        offset = builder.random_sign() * (street.half_width + rng.uniform(1.0, 3.4))
        add_slow_walker(builder, street, start + rng.uniform(-30.0, 110.0), offset)
