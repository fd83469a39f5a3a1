"""Traffic: who drives where on the lanes and the cycle lanes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from remembev.simulate.builder import Body, Builder
from remembev.simulate.shapes import KINDS, draw_size
from remembev.simulate.streets import Gate, Interval, Route, Street
from remembev.simulate.traffic import Mover


def draw_bodies(kind: str, rng: np.random.Generator, towing: float = 0.35) -> list[Body]:
    """A vehicle of this kind; a truck tows a trailer with the given chance."""
    size = draw_size(KINDS[kind], rng)
    bodies: list[Body] = [(kind, size, 0.0)]
    if kind == "truck" and rng.random() < towing:
        towed = draw_size(KINDS["trailer"], rng)
        bodies.append(("trailer", towed, size[0] / 2 + 0.8 + towed[0] / 2))
    return bodies


def set_off(
    builder: Builder,
    route: Route,
    start: float,
    speed: float,
    bodies: list[Body],
    *,
    margin: float = 4.0,
    pauses: Sequence[Interval] = (),
) -> bool:
    """Put a vehicle on a route, unless it would begin in a crossing or within `margin` metres of another mover."""
    if _starts_inside(route.gate, start):
        return False
    _, (length, width, _), _ = bodies[0]
    rear = sum((0.8 + towed[0] for _, towed, _ in bodies[1:]), length / 2)
    return builder.add_mover(
        Mover(route.path, start, speed, length / 2, rear, width, route.gate, pauses=tuple(pauses)), bodies, margin
    )


def add_vehicle(builder: Builder, street: Street, direction: int, kind: str, start: float) -> None:
    """A vehicle that goes straight on or turns at the crossing."""
    rng = builder.rng
    bodies = draw_bodies(kind, rng)
    long_one = bodies[0][1][0] > 6.0
    turn = int(rng.choice([-1, 0, 1], p=[0.1, 0.8, 0.1] if long_one else [0.2, 0.6, 0.2]))
    lane = {-1: street.lanes - 1, 0: int(rng.integers(street.lanes)), 1: 0}[turn]
    speed = rng.uniform(6.0, 10.0) if long_one else rng.uniform(7.5, 13.0)
    set_off(builder, builder.layout.route(street, direction, lane, turn), start, speed, bodies)


def add_traffic(builder: Builder, middle: float) -> None:
    """Ordinary traffic on all streets, about a station of the main one."""
    rng, layout = builder.rng, builder.layout
    kinds = ["car", "van", "truck", "bus", "ridden_motorcycle"]
    shares = [0.6, 0.1, 0.12, 0.08, 0.1]
    for street in layout.streets():
        count = int(rng.integers(16, 24)) * street.lanes if street is layout.main else int(rng.integers(7, 11))
        for _ in range(count):
            direction = int(rng.choice([-1, 1]))
            about = middle if street is layout.main else 0.0
            start = street.axis.end + direction * about + rng.uniform(-190.0, 90.0)
            if start < 5.0 or (street is layout.main and direction > 0 and _delays_ego(builder, start)):
                continue
            add_vehicle(builder, street, direction, str(rng.choice(kinds, p=shares)), start)
        for _ in range(int(rng.integers(4, 8)) if street is layout.main else 2):
            add_cyclist(builder, street)


def _delays_ego(builder: Builder, start: float) -> bool:
    """Whether a vehicle would begin between the ego car and its stop line, where a queue costs it its green."""
    ego = builder.movers[0]
    return ego.gate is not None and ego.start < start < ego.gate.station and builder.rng.random() < 0.7


def _starts_inside(gate: Gate | None, start: float) -> bool:
    """Whether a mover would begin in the crossing, where the signal can't have let it in."""
    return gate is not None and -6.0 < start - gate.station < 40.0


def add_cyclist(builder: Builder, street: Street) -> None:
    """Somebody on a bicycle on one of the cycle lanes."""
    rng, far = builder.rng, street.axis.end
    direction = int(rng.choice([-1, 1]))
    bodies = draw_bodies("ridden_bicycle", rng)
    route = builder.layout.cycle_route(street, direction, rng.uniform(-0.25, 0.25))
    start = rng.uniform(0.2, 1.3) * far
    set_off(builder, route, start, rng.uniform(3.0, 6.0), bodies, margin=1.0)
