"""Crossings: the ego car comes to a crossing and turns; objects at the corners occlude people seen earlier.

The corner plots are open ground except for a house, hedges or vans right at the corner: from further back one sees
over the plot into the cross street, from the stop line one doesn't.
"""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.placement.parked import Parking, add_parked
from remembev.simulate.placement.people import add_crossing_pedestrian, add_slow_walker, add_standing_group
from remembev.simulate.placement.scenery import (
    add_buildings,
    add_furniture_obstacles,
    add_ground,
    add_skyline,
)
from remembev.simulate.placement.scenery.facades import building
from remembev.simulate.placement.scenery.plots import facing_road
from remembev.simulate.placement.scenery.vegetation import hedge
from remembev.simulate.placement.vehicles import add_vehicle, draw_bodies
from remembev.simulate.streets import KERB
from remembev.simulate.world import WorldBuilder

PARKING = Parking({"car": 0.62, "van": 0.3, "truck": 0.04, "motorcycle": 0.04}, (0.6, 0.9), (0.7, 1.8))
VEHICLES = {"car": 0.6, "van": 0.1, "ridden_motorcycle": 0.1, "truck": 0.1, "bus": 0.1}
PLOT = 24.0  # metres from the cross street's sidewalk to the first house


def draw(rng: np.random.Generator) -> WorldBuilder:
    """Draw a scene: a crossing whose corner plots are open except for something near the corner."""
    builder = WorldBuilder(streets.draw_layout(rng, 1, crossed=True), rng)
    _add_ego(builder)
    add_ground(builder)
    main = builder.layout.main
    for side in (-1, 1):
        add_buildings(builder, main, side, plot=PLOT)
        for street in builder.layout.streets():
            add_skyline(builder, street, side, (PLOT, PLOT + 35.0), (2.0, 10.0))
        for end in (-1, 1):
            _add_corner(builder, side, end)
    add_parked(builder, 45.0 * builder.random_sign(), PARKING, add_furniture_obstacles)
    _add_traffic(builder)
    _add_people(builder)
    return builder


def _add_ego(builder: WorldBuilder) -> None:
    """Add the ego car: slowly up to the stop line, perhaps a wait, then straight on or round the corner."""
    rng, layout = builder.rng, builder.layout
    turn = int(rng.choice([-1, 0, 1], p=[0.4, 0.2, 0.4]))
    route = layout.route(layout.main, 1, 0, turn)
    speed = rng.uniform(3.5, 6.0)
    stop = layout.main.axis.end - (layout.cross or layout.main).half_width - streets.STOP_LINE
    builder.add_ego(route, stop - rng.uniform(10.0, 45.0) - 6.0 * speed, speed)


def _add_corner(builder: WorldBuilder, side: int, end: int) -> None:
    """Add what occludes the cross street from near the corner, and people on the plot behind it."""
    rng, main = builder.rng, builder.layout.main
    corner, front = builder.layout.clear_of_crossing(main, streets.SIDEWALK), main.building_offset

    def at(along: float, aside: float) -> tuple[float, float]:
        return end * (corner + along), side * (front + aside)

    kind = rng.choice(["house", "hedges", "vans"])
    if kind == "house":
        half, half_depth = rng.uniform(3.0, 5.0), rng.uniform(3.0, 5.0)
        house = building(rng, 2 * half, 2 * half_depth, rng.uniform(3.5, 14.0))
        builder.add_obstacle(house, main, *at(half + 0.4, half_depth + 0.4), facing_road(side))
    elif kind == "hedges":
        length, depth = rng.uniform(6.0, 11.0), rng.uniform(5.0, 10.0)
        builder.add_obstacle(hedge(rng, length, (1.8, 2.4)), main, *at(length / 2 + 0.5, 0.6))
        builder.add_obstacle(hedge(rng, depth, (1.8, 2.4)), main, *at(0.6, depth / 2 + 2.0), np.pi / 2)
    else:
        for number in range(int(rng.integers(2, 4))):
            turn = np.pi / 2 + rng.normal(0.0, 0.05)
            builder.add_object(str(rng.choice(["van", "van", "truck"])), main, *at(2.0 + 3.2 * number, 4.2), turn, KERB)
    for number in range(int(rng.integers(2, 6))):
        builder.add_object("car", main, *at(8.0 + 3.0 * number, rng.uniform(11.0, 14.0)), np.pi / 2, KERB)
    for _ in range(4):
        add_standing_group(builder, main, *at(rng.uniform(1.0, 20.0), rng.uniform(1.5, 20.0)), 2, 0.8)


def _add_traffic(builder: WorldBuilder) -> None:
    rng, layout = builder.rng, builder.layout
    for street in layout.streets():
        for _ in range(7):
            direction = builder.random_sign()
            kind = builder.random_kind(VEHICLES)
            turn = int(rng.choice([-1, 0, 1], p=[0.25, 0.5, 0.25]))
            at = street.axis.end + rng.uniform(-70.0, 40.0)
            bodies = draw_bodies(kind, rng, towing=0.2)
            add_vehicle(builder, layout.route(street, direction, 0, turn), at, rng.uniform(4.0, 7.0), bodies)
        for _ in range(4):
            route = layout.cycle_route(street, builder.random_sign())
            at = street.axis.end + rng.uniform(-50.0, 30.0)
            add_vehicle(builder, route, at, rng.uniform(2.0, 4.0), draw_bodies("ridden_bicycle", rng), margin=1.0)


def _add_people(builder: WorldBuilder) -> None:
    rng, layout = builder.rng, builder.layout
    for street in layout.streets():
        for sign in (-1.0, 1.0):
            at = sign * layout.clear_of_crossing(street, 2.5)
            for _ in range(2):
                add_crossing_pedestrian(builder, street, at + rng.uniform(-1.0, 1.0))
        for _ in range(10):
            side, end = rng.choice([-1, 1], 2)
            station = end * (layout.clear_of_crossing(street, 1.0) + rng.uniform(0.0, 40.0))
            add_slow_walker(builder, street, station, side * (street.half_width + rng.uniform(1.0, 3.4)))
        for _ in range(10):
            side, end = rng.choice([-1, 1], 2)
            station = end * rng.uniform(1.5, 40.0) + end * layout.clear_of_crossing(street, 0.0)
            add_standing_group(builder, street, station, side * (street.half_width + rng.uniform(0.7, 3.4)), 2, 0.6)
