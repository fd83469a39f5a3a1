"""Pedestrians: crossing the street, walking slowly, stepping out between parked vehicles, standing in groups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from remembev.simulate import streets
from remembev.simulate.meshes import Interval
from remembev.simulate.objects import KINDS
from remembev.simulate.streets import Gate, Path, Street
from remembev.simulate.traffic import FOREVER, Mover, Pause
from remembev.simulate.world import Body, WorldBuilder

WITH_PRAM = 0.03  # share of walkers who push a pram
IN_COMPANY = 0.12  # share of walkers who walk side by side with one or two others
ABREAST = 0.78  # metres between people side by side
WALK_OFFSETS = (1.5, 2.3, 3.1)  # metres from the kerb; each has one direction per side of the street


def add_pedestrian(
    builder: WorldBuilder,
    path: Path,
    start: float,
    gate: Gate | None,
    reach: float,
    *,
    speed: Interval = (0.8, 1.7),
    pauses: Sequence[Pause] = (),
) -> bool:
    """Add a pedestrian on a path, unless something stands on the `reach` metres from the start.

    Some push a pram, and where there is room some walk side by side with others.
    """
    rng = builder.rng
    bodies = _draw_walkers(rng)
    way = path.at(np.arange(start, start + reach, 0.3))[:, :2]
    if not builder.is_free(way, _total_width(bodies) / 2 + 0.1):
        bodies = [bodies[0]._replace(left=0.0)]  # room for one only
    width = _total_width(bodies)
    if not builder.is_free(way, width / 2 + 0.1):
        return False
    front = max(body.size[0] / 2 - body.behind for body in bodies)
    rear = max(body.size[0] / 2 + body.behind for body in bodies)
    mover = Mover(path, start, rng.uniform(*speed), front, rear, width, gate, on_foot=True, pauses=tuple(pauses))
    if not builder.add_mover(mover, bodies, 0.2):
        return False
    builder.walkways = np.concatenate([builder.walkways, way])
    return True


def _draw_walkers(rng: np.random.Generator) -> list[Body]:
    """Draw a walker, who may push a pram, or two or three people side by side."""
    kind, chance = ("child" if rng.random() < 0.1 else "adult"), rng.random()
    if chance < IN_COMPANY:
        count = 3 if rng.random() < 0.25 else 2
        kinds = ["adult", *rng.choice(["adult", "child"], count - 1, p=[0.85, 0.15]).tolist()]
        lefts = ABREAST * (np.arange(count) - (count - 1) / 2)
        steps = rng.uniform(-0.15, 0.15, count)
        return [
            Body(k, KINDS[k].draw_size(rng), float(step), float(left))
            for k, step, left in zip(kinds, steps, lefts, strict=True)
        ]
    walker = Body(kind, KINDS[kind].draw_size(rng), 0.0)
    if kind == "adult" and chance < IN_COMPANY + WITH_PRAM:
        pram = KINDS["pram"].draw_size(rng)
        return [walker, Body("pram", pram, -(walker.size[0] + pram[0]) / 2)]
    return [walker]


def _total_width(bodies: Sequence[Body]) -> float:
    """Return the width, symmetric about their path, of what walkers take up."""
    left = max(body.left + body.size[1] / 2 for body in bodies)
    right = max(body.size[1] / 2 - body.left for body in bodies)
    return 2 * max(left, right)


def add_crossing_pedestrian(builder: WorldBuilder, street: Street, station: float) -> None:
    """Add a pedestrian who walks along the sidewalk, crosses the street, and walks on along the other side.

    Stations near the given one are tried in turn until the way between the parked vehicles is free.
    """
    rng = builder.rng
    for shift in np.arange(12) * rng.choice([-0.7, 0.7]):
        at = station + shift
        if abs(at) < builder.layout.clear_of_crossing(street, 1.2):
            continue
        side, direction = builder.random_sign(), builder.random_sign()
        along = rng.uniform(1.0, 14.0)
        near = side * (street.half_width + WALK_OFFSETS[int(rng.integers(3))])
        far = -side * (street.half_width + WALK_OFFSETS[int(rng.integers(3))])
        first = street.axis.at(at - direction * np.linspace(along, 0.0, 30), near)[:, :2]
        across = street.axis.at(np.full(60, at), np.linspace(near, far, 60))[:, :2]
        last = street.axis.at(at + direction * np.linspace(0.0, 40.0, 60), far)[:, :2]
        path = Path.through(np.concatenate([first, across[1:-1], last]))
        kerb = along + abs(near) - street.half_width
        start = rng.uniform(0.3, kerb)
        if add_pedestrian(builder, path, start, Gate(kerb - 0.2, None), path.end - 20.0 - start):
            return


def path_through(street: Street, corners: Sequence[tuple[float, float]]) -> Path:
    """Return a path through corners (station, offset) of a street, straight between them."""
    points = np.array(corners)
    gaps = np.maximum(np.ceil(np.linalg.norm(np.diff(points, axis=0), axis=1) / 0.4).astype(int), 1)
    dense = np.concatenate(
        [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(points, points[1:], gaps, strict=False)]
        + [points[-1:]]
    )
    return Path.through(street.axis.at(dense[:, 0], dense[:, 1])[:, :2])


def add_slow_walker(
    builder: WorldBuilder, street: Street, station: float, offset: float, speed: Interval = (0.4, 1.1)
) -> bool:
    """Add a pedestrian who walks slowly along the street, pauses twice, and stops for good at the end."""
    rng = builder.rng
    ahead = builder.random_sign() * rng.uniform(7.0, 18.0)
    path = path_through(street, [(station, offset), (station + ahead, offset)])
    stops = np.sort(rng.uniform(1.0, path.end - 2.0, 2))
    pauses = [*((float(at), rng.uniform(1.0, 5.0)) for at in stops), (path.end - 1.0, FOREVER)]
    return add_pedestrian(builder, path, 0.1, None, path.end, speed=speed, pauses=pauses)


def add_emerging_pedestrian(builder: WorldBuilder, street: Street, side: int, station: float) -> bool:
    """Add a pedestrian who steps out between parked vehicles, walks along them, and goes back between two others.

    The pedestrian pauses before stepping out and stops for good once hidden again. Gaps near the station are tried.
    """
    rng = builder.rng
    behind = side * (street.half_width + rng.uniform(1.2, 2.2))
    before = side * (street.cycle_offset + rng.uniform(-0.2, 0.3))
    gaps = [at for at in np.arange(station - 16.0, station + 16.0, 0.4) if _is_gap(builder, street, at, behind, before)]
    for out, back in itertools.permutations(rng.permutation(gaps)[:8].tolist(), 2):
        along = np.sign(back - out)
        first, last = out - along * rng.uniform(2.0, 6.0), back + along * rng.uniform(2.0, 8.0)
        corners = [(first, behind), (out, behind), (out, before), (back, before), (back, behind), (last, behind)]
        path = path_through(street, corners)
        pauses = [(abs(out - first), rng.uniform(0.5, 4.0)), (path.end - 1.0, FOREVER)]
        if abs(back - out) <= 3.0:
            continue
        if add_pedestrian(builder, path, rng.uniform(0.1, 2.0), None, path.end, speed=(0.7, 1.4), pauses=pauses):
            return True
    return False


def _is_gap(builder: WorldBuilder, street: Street, station: float, behind: float, before: float) -> bool:
    across = street.axis.at(np.full(12, station), np.linspace(behind, before, 12))[:, :2]
    return builder.is_free(across, 0.45)


def add_standing_group(
    builder: WorldBuilder, street: Street, station: float, offset: float, count: int, spread: float
) -> None:
    """Add people who stand about a place, facing anywhere."""
    rng = builder.rng
    for _ in range(count):
        kind = "child" if rng.random() < 0.12 else "adult"
        along, aside = rng.normal(0.0, spread, 2)
        x, y, _ = street.axis.at(station + along, offset + aside)
        if not builder.is_blocked(np.array([x, y]), KINDS[kind].mean_size[0] / 2 + 0.1):
            z = 0.0 if abs(offset + aside) < street.half_width else streets.KERB
            builder.add_object(kind, street, station + along, offset + aside, builder.random_yaw(), z)


def add_people_at_houses(builder: WorldBuilder, street: Street, side: int, station: float) -> None:
    """Add one to three people who stand close to the front of a house or a garden, where there is room."""
    rng = builder.rng
    if abs(station) < builder.layout.clear_of_crossing(street, streets.SIDEWALK):
        return
    for k in range(int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))):
        offset = side * (street.building_offset - rng.uniform(0.35, 0.75))
        builder.add_object("adult", street, station + 0.75 * k, offset, builder.random_yaw(), streets.KERB)
