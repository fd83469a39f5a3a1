"""Far: open ground on which objects stand 25 to 45 m away, with a few points or none per sweep."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.objects import KINDS
from remembev.simulate.placement.people import add_slow_walker
from remembev.simulate.placement.scenery import GROUND_WIDTH, add_furniture_obstacles, add_ground, add_skyline
from remembev.simulate.placement.scenery.vegetation import hedge
from remembev.simulate.placement.scenery.walls import FENCES, WALLS, draw_stretch
from remembev.simulate.placement.vehicles import add_passing_vehicle
from remembev.simulate.streets import KERB
from remembev.simulate.world import WorldBuilder

NEAR, FAR = 24.0, 44.0  # metres from the axis
OBJECTS = {
    "car": 9, "van": 3, "truck": 2, "bus": 1, "trailer": 1, "excavator": 1, "motorcycle": 8, "bicycle": 10,
    "barrier": 8, "adult": 26, "child": 6, "worker": 3, "traffic_cone": 12,
}  # fmt: skip
PASSING = {"car": 0.6, "ridden_motorcycle": 0.25, "truck": 0.15}


def draw(rng: np.random.Generator) -> WorldBuilder:
    """Draw a scene: a street over open ground, low hedges and fences beside it, objects scattered beyond them."""
    builder = WorldBuilder(streets.draw_layout(rng, 1, crossed=False), rng)
    street = builder.layout.main
    start = rng.uniform(-50.0, 0.0)
    speed = rng.uniform(1.5, 6.0)
    builder.add_ego(builder.layout.route(street, 1, 0), street.axis.end + start - 5.0 * speed, speed)
    add_ground(builder)
    for side in (-1, 1):
        add_furniture_obstacles(builder, street, side, [])
        _add_screens(builder, side, start)
        add_skyline(builder, street, side, (FAR - 4.0, FAR + 30.0), (4.0, 30.0))
    _scatter_objects(builder, start)
    for _ in range(4):
        add_passing_vehicle(builder, start, PASSING, (-90.0, 60.0), (6.0, 9.0))
    return builder


def _add_screens(builder: WorldBuilder, side: int, start: float) -> None:
    """Add hedges and fences along the street, 8 to 20 m away, over which the sensor sees part of what is beyond."""
    rng, street = builder.rng, builder.layout.main
    station = start - 60.0
    while station < start + 110.0:
        length = rng.uniform(5.0, 14.0)
        pick = rng.random()
        mesh = (
            hedge(rng, length, (1.0, 2.1))
            if pick < 0.4
            else draw_stretch(rng, FENCES if pick < 0.85 else WALLS, length)
        )
        builder.add_obstacle(mesh, street, station + length / 2, side * rng.uniform(9.0, 20.0), rng.normal(0.0, 0.15))
        station += length + rng.uniform(0.0, 8.0)


def _scatter_objects(builder: WorldBuilder, start: float) -> None:
    """Add static objects anywhere beyond the screens, and people who stroll there."""
    rng, street = builder.rng, builder.layout.main

    def place() -> tuple[float, float]:
        return start + rng.uniform(-35.0, 75.0), builder.random_sign() * rng.uniform(NEAR, FAR)

    for kind in (kind for kind, count in OBJECTS.items() for _ in range(count)):
        station, offset = place()
        length, width, _ = KINDS[kind].mean_size
        if not builder.is_blocked(street.axis.at(station, offset)[:2], 0.6 * np.hypot(length, width)):
            z = KERB if abs(offset) < street.half_width + GROUND_WIDTH else 0.0
            builder.add_object(kind, street, station, offset, builder.random_yaw(), z)
    for _ in range(16):
        add_slow_walker(builder, street, *place())
