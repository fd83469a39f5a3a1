"""Far: open ground on which things stand 25 to 45 m off, with a few points or none a turn."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.builder import Builder
from remembev.simulate.parts.people import add_dawdler
from remembev.simulate.parts.scenery import GROUND, add_ground, add_trees, fence, long_hedge
from remembev.simulate.parts.vehicles import draw_bodies, set_off
from remembev.simulate.shapes import KINDS
from remembev.simulate.streets import KERB

NEAR, FAR = 24.0, 44.0  # metres from the axis
THINGS = {
    "car": 9, "van": 3, "truck": 2, "bus": 1, "trailer": 1, "excavator": 1, "motorcycle": 8, "bicycle": 10,
    "barrier": 8, "adult": 26, "child": 6, "worker": 3, "traffic_cone": 12,
}  # fmt: skip


def draw(rng: np.random.Generator) -> Builder:
    """One scene: a street over open ground, low hedges and fences beside it, things scattered beyond them."""
    builder = Builder(streets.lay_out(rng, 1, crossed=False), rng)
    street = builder.layout.main
    start = rng.uniform(-50.0, 0.0)
    speed = rng.uniform(1.5, 6.0)
    builder.add_ego(builder.layout.route(street, 1, 0), street.axis.end + start - 5.0 * speed, speed)
    add_ground(builder)
    for side in (-1, 1):
        add_trees(builder, street, side, [])
        _add_screens(builder, side, start)
    _scatter(builder, start)
    for _ in range(4):
        direction = int(rng.choice([-1, 1]))
        kind = str(rng.choice(["car", "ridden_motorcycle", "truck"], p=[0.6, 0.25, 0.15]))
        at = street.axis.end + direction * start + rng.uniform(-90.0, 60.0)
        set_off(builder, builder.layout.route(street, direction, 0), at, rng.uniform(6.0, 9.0), draw_bodies(kind, rng))
    return builder


def _add_screens(builder: Builder, side: int, start: float) -> None:
    """Hedges and fences along the street, 8 to 20 m off, over which the sensor sees some of what is beyond."""
    rng, street = builder.rng, builder.layout.main
    station = start - 60.0
    while station < start + 110.0:
        length = rng.uniform(5.0, 14.0)
        mesh = fence(rng, length) if rng.random() < 0.5 else long_hedge(rng, length, (1.3, 2.1))
        builder.fix_in_the_way(mesh, street, station + length / 2, side * rng.uniform(9.0, 20.0), rng.normal(0.0, 0.15))
        station += length + rng.uniform(0.0, 8.0)


def _scatter(builder: Builder, start: float) -> None:
    """Things that stand anywhere beyond the screens, and people who stroll there."""
    rng, street = builder.rng, builder.layout.main

    def somewhere() -> tuple[float, float]:
        return start + rng.uniform(-35.0, 75.0), float(rng.choice([-1, 1])) * rng.uniform(NEAR, FAR)

    for kind in (kind for kind, count in THINGS.items() for _ in range(count)):
        station, offset = somewhere()
        length, width, _ = KINDS[kind].mean
        if not builder.is_in_the_way(street.axis.at(station, offset)[:2], 0.6 * np.hypot(length, width)):
            z = KERB if abs(offset) < street.half_width + GROUND else 0.0
            builder.stand(kind, street, station, offset, rng.uniform(-np.pi, np.pi), z)
    for _ in range(16):
        add_dawdler(builder, street, *somewhere())
