"""Vehicles on their way along a route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from remembev.simulate.meshes import Interval
from remembev.simulate.objects import KINDS
from remembev.simulate.streets import Gate, Route
from remembev.simulate.traffic import Mover, Pause
from remembev.simulate.world import Body, WorldBuilder

HITCH = 0.8  # metres between a truck and its trailer
PICK_UPS = 0.3  # share of pick-ups among passing trucks


def draw_bodies(kind: str, rng: np.random.Generator, towing: float = 0.35, pick_ups: float = 0.0) -> list[Body]:
    """Draw a vehicle; a truck is a pick-up, or else tows a trailer, with the given probabilities."""
    if kind == "truck" and rng.random() < pick_ups:
        kind = "pick_up"
    size = KINDS[kind].draw_size(rng)
    bodies = [Body(kind, size, 0.0)]
    if kind == "truck" and rng.random() < towing:
        trailer = KINDS["trailer"].draw_size(rng)
        bodies.append(Body("trailer", trailer, size[0] / 2 + HITCH + trailer[0] / 2))
    return bodies


def add_vehicle(
    builder: WorldBuilder,
    route: Route,
    start: float,
    speed: float,
    bodies: list[Body],
    *,
    margin: float = 4.0,
    pauses: Sequence[Pause] = (),
) -> bool:
    """Add a vehicle unless it would start inside a crossing or within `margin` metres of another mover."""
    if _starts_inside_crossing(route.gate, start):
        return False
    length, width, _ = bodies[0].size
    rear = sum((HITCH + towed.size[0] for towed in bodies[1:]), length / 2)
    mover = Mover(route.path, start, speed, length / 2, rear, width, route.gate, pauses=tuple(pauses))
    return builder.add_mover(mover, bodies, margin)


def add_passing_vehicle(
    builder: WorldBuilder, station: float, kinds: Mapping[str, float], start: Interval, speed: Interval
) -> None:
    """Add a vehicle in either direction on the main street's inner lane.

    Args:
        builder: The world it is added to.
        station: Station of the main street that its start is relative to.
        kinds: Probability of each kind.
        start: Bounds of its start, metres ahead of the station in its direction.
        speed: Bounds of its speed.
    """
    rng, street = builder.rng, builder.layout.main
    direction = builder.random_sign()
    kind = builder.random_kind(kinds)
    start_station = street.axis.end + direction * station + rng.uniform(*start)
    speed_drawn = rng.uniform(*speed)
    bodies = draw_bodies(kind, rng, pick_ups=PICK_UPS)
    add_vehicle(builder, builder.layout.route(street, direction, 0), start_station, speed_drawn, bodies)


def _starts_inside_crossing(gate: Gate | None, start: float) -> bool:
    return gate is not None and -6.0 < start - gate.station < 40.0
