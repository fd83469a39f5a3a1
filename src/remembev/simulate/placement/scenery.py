"""Scenery, which is never annotated: ground, buildings, trees, lamps, screens, hedges and fences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from remembev.simulate import streets
from remembev.simulate.meshes import Interval, Material, Mesh, block, ellipsoid, merge, rod
from remembev.simulate.streets import Street, overlaps
from remembev.simulate.world import WorldBuilder

GROUND_WIDTH = 40.0  # metres of raised ground beside a kerb
FURNITURE_OFFSET = 0.55  # metres from the kerb to trees, lamps and screens


# ---------------------------------------------------------------------------------------------------------- shapes


def _tree(rng: np.random.Generator) -> Mesh:
    trunk, height, spread = rng.uniform(2.2, 3.4), rng.uniform(2.5, 5.0), rng.uniform(1.2, 2.4)
    crown = ellipsoid((0.0, 0.0, trunk + height / 2), (spread, spread, height / 2 + 0.4), Material.FOLIAGE)
    return merge([rod((0, 0, 0), (0, 0, trunk + 0.5), rng.uniform(0.12, 0.25), Material.WOOD, sides=6), crown])


def _lamp(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(5.0, 8.0)
    sign = block((-0.03, 0.03), (-0.35, 0.35), (2.2, 2.9), Material.REFLECTOR)
    return merge([rod((0, 0, 0), (0, 0, height), 0.09, Material.STEEL, sides=6), sign])


def _screen(rng: np.random.Generator) -> Mesh:
    """Build a hoarding, a bus shelter's back or a kiosk: as tall as a person, a few metres long."""
    half, depth = rng.uniform(1.2, 3.2), rng.uniform(0.05, 0.5)
    return block((-half, half), (-depth, depth), (0.0, rng.uniform(1.9, 2.7)), Material.WOOD)


def _low_hedge(rng: np.random.Generator) -> Mesh:
    half = rng.uniform(1.5, 4.0)
    return block((-half, half), (-0.35, 0.35), (0.0, rng.uniform(0.9, 1.9)), Material.FOLIAGE, tuck=0.08)


def hedge(rng: np.random.Generator, length: float, height: Interval) -> Mesh:
    """Build a hedge of a given length along x."""
    return block((-length / 2, length / 2), (-0.4, 0.4), (0.0, rng.uniform(*height)), Material.FOLIAGE, tuck=0.08)


def fence(rng: np.random.Generator, length: float) -> Mesh:
    """Build a fence of upright slats; objects behind it show through the gaps."""
    height, pitch = rng.uniform(1.1, 1.8), rng.uniform(0.3, 0.5)
    starts = np.arange(0.0, length, pitch) - length / 2
    share = rng.uniform(0.45, 0.7)
    return merge([block((x, x + share * pitch), (-0.03, 0.03), (0.0, height), Material.WOOD) for x in starts])


def _raised_strip(street: Street, first: float, last: float, inner: float, outer: float) -> Mesh:
    """Build raised ground with its kerb beside a street, between two stations and two offsets."""
    stations = np.linspace(first, last, max(2, int(abs(last - first) / 4.0)))
    near, far = (street.axis.at(stations, offset)[:, :2] for offset in (inner, outer))
    n = len(stations)
    top = np.full((n, 1), streets.KERB)
    kerb_foot, kerb_edge, far_edge = np.hstack([near, 0 * top]), np.hstack([near, top]), np.hstack([far, top])
    a = np.arange(n - 1)
    quads = [(a, a + 1, a + 1 + n, a + n), (a + n, a + 1 + n, a + 1 + 2 * n, a + 2 * n)]
    ends = [(0, n, 2 * n), (n - 1, 2 * n - 1, 3 * n - 1)]
    faces = [np.stack(t, 1) for q in quads for t in ((q[0], q[1], q[2]), (q[0], q[2], q[3]))]
    all_faces = np.concatenate([*faces, np.array(ends)]).astype(np.int32)
    vertices = np.concatenate([kerb_foot, kerb_edge, far_edge])
    return Mesh(vertices, all_faces, np.full(len(all_faces), Material.CONCRETE, np.uint8))


# ------------------------------------------------------------------------------------------------------- placement


def add_ground(builder: WorldBuilder) -> None:
    """Add the roadway and the raised ground beside the streets."""
    corners = np.array([[-400.0, -400.0, 0], [400.0, -400.0, 0], [400.0, 400.0, 0], [-400.0, 400.0, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    builder.scenery.append(Mesh(corners, faces, np.full(2, Material.ASPHALT, np.uint8)))
    for street in builder.layout.streets():
        crossing, far = builder.layout.crossing(street), street.axis.end
        spans = [(-far, far)] if crossing is None else [(-far, -crossing.half_width), (crossing.half_width, far)]
        for side in (-1, 1):
            for first, last in spans:
                inner = side * street.half_width
                builder.scenery.append(_raised_strip(street, first, last, inner, inner + side * GROUND_WIDTH))


def add_buildings(builder: WorldBuilder, street: Street, side: int, plot: float = 0.0) -> None:
    """Add house fronts along the sidewalk, and yards where cars stand behind a wall.

    Args:
        builder: The world they are added to.
        street: The street they stand along.
        side: The side of it, 1 for left.
        plot: Metres along the main street that stay free at a crossing's corners.
    """
    rng, far = builder.rng, street.axis.end - 2.0
    corner = plot if street is builder.layout.main else 18.0
    clear = builder.layout.clear_of_crossing(street, streets.SIDEWALK + corner)
    station = -far
    while station < far:
        length = rng.uniform(9.0, 24.0)
        if -clear < station + length and station < clear:
            if station < -clear - 6.0:
                length = -clear - station
            else:
                station = max(station, clear) if station > -clear else clear
                continue
        if rng.random() < 0.25 and length > 11.0:
            _add_yard(builder, street, side, station, length)
        else:
            _add_house(builder, street, side, station, length)
        station += length + (rng.uniform(2.0, 9.0) if rng.random() < 0.5 else 0.0)


def _add_house(builder: WorldBuilder, street: Street, side: int, station: float, length: float) -> None:
    """Add a house whose front is broken by pillars."""
    rng = builder.rng
    setback, height = rng.choice([0.0, 1.0, 3.0, 6.0]), rng.uniform(3.0, 11.0)
    front = street.building_offset + setback
    house = block((-length / 2, length / 2), (-4.5, 4.5), (0.0, height), Material.FACADE)
    builder.add_scenery(house, street, station + length / 2, side * (front + 4.5))
    for at in np.arange(1.0, length - 0.5, rng.uniform(2.5, 5.0)):
        pillar = block((-0.2, 0.2), (-0.18, 0.18), (0.0, rng.uniform(2.5, 4.5)), Material.CONCRETE)
        builder.add_scenery(pillar, street, station + at, side * front)


def _add_yard(builder: WorldBuilder, street: Street, side: int, station: float, length: float) -> None:
    rng, front = builder.rng, street.building_offset
    wall_share = rng.uniform(0.35, 0.75)
    wall = block((0.0, wall_share * length), (-0.12, 0.12), (0.0, rng.uniform(1.2, 2.4)), Material.CONCRETE)
    builder.add_scenery(wall, street, station, side * front)
    back = block((0.0, length), (-0.2, 0.2), (0.0, 3.0), Material.FACADE)
    builder.add_scenery(back, street, station, side * (front + 9.0))
    for at in np.arange(1.8, length - 1.5, 2.9):
        if rng.random() < 0.6:
            kind = "van" if rng.random() < 0.2 else "car"
            turn = builder.random_sign() * np.pi / 2 + rng.normal(0.0, 0.03)
            builder.add_object(kind, street, station + at, side * (front + 4.5), turn, streets.KERB)


def _furniture_stations(
    builder: WorldBuilder, street: Street, taken: list[Interval], spacing: Interval
) -> Iterator[float]:
    """Draw stations along a kerb, clear of the crossing and of what is taken."""
    far = street.axis.end - 5.0
    clear = builder.layout.clear_of_crossing(street, 6.0)
    station = -far
    while station < far:
        station += builder.rng.uniform(*spacing)
        if not overlaps((station - 4.0, station + 4.0), [*taken, (-clear, clear)]):
            yield station


def add_furniture(builder: WorldBuilder, street: Street, side: int, taken: list[Interval]) -> None:
    """Add trees, lamps, screens, hedges and parked bicycles between kerb and pedestrians."""
    rng, offset = builder.rng, side * (street.half_width + FURNITURE_OFFSET)
    for station in _furniture_stations(builder, street, taken, (5.0, 12.0)):
        pick = rng.random()
        if pick < 0.8:
            shape = _tree if pick < 0.34 else _lamp if pick < 0.5 else _screen if pick < 0.68 else _low_hedge
            builder.add_scenery(shape(rng), street, station, offset)
            continue
        for k in range(int(rng.integers(1, 4))):
            turn = np.pi / 2 + rng.normal(0.0, 0.12)
            builder.add_object("bicycle", street, station - 1.5 + 0.9 * k, offset + side * 0.15, turn, streets.KERB)


def add_furniture_obstacles(builder: WorldBuilder, street: Street, side: int, taken: list[Interval]) -> None:
    """Add trees, lamps and a few screens near the kerb, which pedestrians added later keep clear of."""
    rng, offset = builder.rng, side * (street.half_width + FURNITURE_OFFSET)
    for station in _furniture_stations(builder, street, taken, (8.0, 18.0)):
        shape = (_tree, _lamp, _screen)[int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
        builder.add_obstacle(shape(rng), street, station, offset)
