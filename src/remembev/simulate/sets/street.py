"""Ordinary streets with traffic, pedestrians and parked vehicles."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.placement.parked import add_parked
from remembev.simulate.placement.people import (
    WALK_OFFSETS,
    add_crossing_pedestrian,
    add_pedestrian,
    add_people_at_houses,
)
from remembev.simulate.placement.scenery import add_buildings, add_ground, add_overhead, add_skyline
from remembev.simulate.placement.vehicles import add_vehicle, draw_bodies
from remembev.simulate.streets import Gate, Street
from remembev.simulate.world import WorldBuilder

VEHICLES = {"car": 0.64, "van": 0.1, "truck": 0.09, "bus": 0.05, "ridden_motorcycle": 0.12}
LONG = 6.0  # metres from which a vehicle is slower and turns less often


def draw(rng: np.random.Generator) -> WorldBuilder:
    """Draw a scene: a street, in most scenes with one across it."""
    builder = WorldBuilder(streets.draw_varied_layout(rng), rng)
    middle = _add_ego(builder)
    add_ground(builder, (-1, 1))
    for street in builder.layout.streets():
        for side in (-1, 1):
            add_buildings(builder, street, side)
    for street in builder.layout.streets():
        for side in (-1, 1):
            add_skyline(builder, street, side, (9.0, 45.0), (0.0, 6.0))
    add_overhead(builder, middle)
    add_parked(builder, middle)
    _add_traffic(builder, middle)
    _add_people(builder, middle)
    return builder


def _add_ego(builder: WorldBuilder) -> float:
    """Add the ego car; return the station on the main street about which the scene should be busy."""
    rng, layout = builder.rng, builder.layout
    turn = builder.random_sign() if layout.cross is not None and rng.random() < 0.25 else 0
    lane = layout.main.lanes - 1 if turn <= 0 else 0
    route = layout.route(layout.main, 1, lane, turn)
    before = rng.uniform(40.0, 110.0)
    if layout.cross is not None:  # reach the stop line about when the light turns green
        before = float(np.clip(33.0 + 9.0 * (rng.uniform(-4.0, 3.0) - layout.signal.start), 40.0, 110.0))
    start = float(layout.main.axis.end) - before
    builder.add_ego(route, start - 35.0, rng.uniform(7.5, 12.0))
    return -before + 55.0


def _add_traffic(builder: WorldBuilder, middle: float) -> None:
    """Add traffic on all streets, about a station of the main one."""
    rng, layout = builder.rng, builder.layout
    for street in layout.streets():
        is_main = street is layout.main
        count = int(rng.integers(16, 24)) * street.lanes if is_main else int(rng.integers(7, 11))
        for _ in range(count):
            direction = builder.random_sign()
            station = middle if is_main else 0.0
            start = street.axis.end + direction * station + rng.uniform(-190.0, 90.0)
            if start < 5.0 or (is_main and direction > 0 and _delays_ego(builder, start)):
                continue
            _add_vehicle(builder, street, direction, builder.random_kind(VEHICLES), start)
        for _ in range(int(rng.integers(4, 8)) if is_main else 2):
            _add_cyclist(builder, street)


def _add_vehicle(builder: WorldBuilder, street: Street, direction: int, kind: str, start: float) -> None:
    """Add a vehicle that goes straight on or turns at the crossing."""
    rng = builder.rng
    bodies = draw_bodies(kind, rng)
    is_long = bodies[0].size[0] > LONG
    turn = int(rng.choice([-1, 0, 1], p=[0.1, 0.8, 0.1] if is_long else [0.2, 0.6, 0.2]))
    lane = {-1: street.lanes - 1, 0: int(rng.integers(street.lanes)), 1: 0}[turn]
    speed = rng.uniform(6.0, 10.0) if is_long else rng.uniform(7.5, 13.0)
    add_vehicle(builder, builder.layout.route(street, direction, lane, turn), start, speed, bodies)


def _delays_ego(builder: WorldBuilder, start: float) -> bool:
    """Return True for most vehicles between the ego car and its stop line, where a queue would cost it its green."""
    ego = builder.movers[0]
    return ego.gate is not None and ego.start < start < ego.gate.station and builder.rng.random() < 0.7


def _add_cyclist(builder: WorldBuilder, street: Street) -> None:
    rng, far = builder.rng, street.axis.end
    direction = builder.random_sign()
    bodies = draw_bodies("ridden_bicycle", rng)
    route = builder.layout.cycle_route(street, direction, rng.uniform(-0.25, 0.25))
    start = rng.uniform(0.2, 1.3) * far
    add_vehicle(builder, route, start, rng.uniform(3.0, 6.0), bodies, margin=1.0)


def _add_people(builder: WorldBuilder, middle: float) -> None:
    """Add people who stand, walk along and cross, about a station of the main street."""
    rng, layout = builder.rng, builder.layout
    for _ in range(int(rng.integers(3, 7))):
        side = builder.random_sign()
        station = middle + rng.uniform(-45, 60)
        if abs(station) > layout.clear_of_crossing(layout.main, 1.0):
            offset = side * (layout.main.half_width + rng.uniform(0.4, 0.9))
            builder.add_object("adult", layout.main, station, offset, builder.random_yaw(), streets.KERB)
    for _ in range(int(rng.integers(4, 9))):
        add_people_at_houses(builder, layout.main, builder.random_sign(), middle + rng.uniform(-45, 60))
    for _ in range(int(rng.integers(16, 26))):
        _add_sidewalk_pedestrian(builder, layout.main, middle + rng.uniform(-60, 75))
    for _ in range(int(rng.integers(5, 10))):
        add_crossing_pedestrian(builder, layout.main, middle + rng.uniform(-45, 65))
    if layout.cross is not None:
        for _ in range(int(rng.integers(4, 9))):
            _add_sidewalk_pedestrian(builder, layout.cross, rng.uniform(-60, 60))
        for sign in (-1.0, 1.0):
            at = sign * (layout.cross.half_width + 2.5)
            for _ in range(int(rng.integers(1, 4))):
                add_crossing_pedestrian(builder, layout.main, at + rng.uniform(-1.2, 1.2))


def _add_sidewalk_pedestrian(builder: WorldBuilder, street: Street, station: float) -> None:
    """Add a pedestrian on the sidewalk, who waits at the cross street's kerb for a gap."""
    rng, far = builder.rng, street.axis.end
    side, walk = builder.random_sign(), int(rng.integers(3))
    direction = 1 if (walk + side) % 2 else -1
    offset = street.half_width + WALK_OFFSETS[walk]
    path = street.path_along(direction, -direction * side * offset, -far, far)
    start = float(path.end / 2 + direction * station)
    crossing = builder.layout.crossing(street)
    gate = None
    if builder.layout.cross is not None and crossing is not None:
        kerb = path.end / 2 - crossing.half_width
        if kerb - 1.0 < start < kerb + 2 * crossing.half_width + 1.0:
            return
        gate = Gate(kerb - 0.3, None)
    add_pedestrian(builder, path, start, gate, 40.0)
