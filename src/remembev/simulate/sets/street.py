"""Ordinary streets: traffic, people and parked vehicles as they come."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.builder import Builder
from remembev.simulate.parts.parked import add_parked
from remembev.simulate.parts.people import add_people
from remembev.simulate.parts.scenery import add_buildings, add_ground
from remembev.simulate.parts.vehicles import add_traffic


def _add_ego(builder: Builder) -> float:
    """The ego car goes first; returns the station on the main street about which the scene should be full."""
    rng, layout = builder.rng, builder.layout
    turn = int(rng.choice([-1, 1])) if layout.cross is not None and rng.random() < 0.25 else 0
    lane = layout.main.lanes - 1 if turn <= 0 else 0
    route = layout.route(layout.main, 1, lane, turn)
    before = rng.uniform(40.0, 110.0)
    if layout.cross is not None:  # reach the stop line about when the light turns green
        before = float(np.clip(33.0 + 9.0 * (rng.uniform(-4.0, 3.0) - layout.signal.start), 40.0, 110.0))
    start = float(layout.main.axis.end) - before
    builder.add_ego(route, start - 35.0, rng.uniform(7.5, 12.0))
    return -before + 55.0


def draw(rng: np.random.Generator) -> Builder:
    """One scene: a street, in most scenes with one across it."""
    builder = Builder(streets.draw_layout(rng), rng)
    middle = _add_ego(builder)
    add_ground(builder)
    for street in builder.layout.streets():
        for side in (-1, 1):
            add_buildings(builder, street, side)
    add_parked(builder, middle)
    add_traffic(builder, middle)
    add_people(builder, middle)
    return builder
