"""What is no object: the ground, houses and yards, trees, lamps, screens and hedges."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.builder import Builder
from remembev.simulate.shapes import Material, Mesh, ball, block, merge, rod
from remembev.simulate.streets import Interval, Street, overlaps

GROUND = 40.0  # how far the raised ground reaches from a kerb, in metres


def _tree(rng: np.random.Generator) -> Mesh:
    trunk, height, spread = rng.uniform(2.2, 3.4), rng.uniform(2.5, 5.0), rng.uniform(1.2, 2.4)
    crown = ball((0.0, 0.0, trunk + height / 2), (spread, spread, height / 2 + 0.4), Material.FOLIAGE)
    return merge([rod((0, 0, 0), (0, 0, trunk + 0.5), rng.uniform(0.12, 0.25), Material.WOOD, sides=6), crown])


def _lamp(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(5.0, 8.0)
    sign = block((-0.03, 0.03), (-0.35, 0.35), (2.2, 2.9), Material.REFLECTOR)
    return merge([rod((0, 0, 0), (0, 0, height), 0.09, Material.STEEL, sides=6), sign])


def screen(rng: np.random.Generator) -> Mesh:
    """A hoarding, a bus shelter's back or a kiosk: man-high, a few metres long, along the street."""
    half, deep = rng.uniform(1.2, 3.2), rng.uniform(0.05, 0.5)
    return block((-half, half), (-deep, deep), (0.0, rng.uniform(1.9, 2.7)), Material.WOOD)


def hedge(rng: np.random.Generator) -> Mesh:
    """A few metres of hedge, up to a man's height."""
    half = rng.uniform(1.5, 4.0)
    return block((-half, half), (-0.35, 0.35), (0.0, rng.uniform(0.9, 1.9)), Material.FOLIAGE, tuck=0.08)


def add_furniture(builder: Builder, street: Street, side: int, taken: list[Interval]) -> None:
    """Trees, lamps, screens, hedges and parked bicycles between kerb and walkers."""
    rng, far = builder.rng, street.axis.end - 5.0
    clear = builder.layout.open_from(street, 6.0)
    station = -far
    while station < far:
        station += rng.uniform(5.0, 12.0)
        if overlaps((station - 4.0, station + 4.0), [*taken, (-clear, clear)]):
            continue
        offset = side * (street.half_width + 0.55)
        pick = rng.random()
        if pick < 0.34:
            builder.fix(_tree(rng), street, station, offset)
        elif pick < 0.5:
            builder.fix(_lamp(rng), street, station, offset)
        elif pick < 0.68:
            builder.fix(screen(rng), street, station, offset)
        elif pick < 0.8:
            builder.fix(hedge(rng), street, station, offset)
        else:
            for k in range(int(rng.integers(1, 4))):
                turn = np.pi / 2 + rng.normal(0.0, 0.12)
                builder.stand("bicycle", street, station - 1.5 + 0.9 * k, offset + side * 0.15, turn, streets.KERB)


def add_buildings(builder: Builder, street: Street, side: int, plot: float = 0.0) -> None:
    """House fronts along the sidewalk, with yards between them where cars stand behind a wall.

    plot is how many metres along the main street stay free at a crossing's corners.
    """
    rng, far = builder.rng, street.axis.end - 2.0
    main = street is builder.layout.main
    clear = builder.layout.open_from(street, streets.SIDEWALK + (plot if main else 18.0))
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
            setback, height = rng.choice([0.0, 1.0, 3.0, 6.0]), rng.uniform(3.0, 11.0)
            front = street.building_offset + setback
            house = block((-length / 2, length / 2), (-4.5, 4.5), (0.0, height), Material.FACADE)
            builder.fix(house, street, station + length / 2, side * (front + 4.5))
            _add_front(builder, street, side, station, length, front)
        station += length + (rng.uniform(2.0, 9.0) if rng.random() < 0.5 else 0.0)


def _add_front(builder: Builder, street: Street, side: int, station: float, length: float, front: float) -> None:
    """Pillars and shop signs that break a flat house front."""
    rng = builder.rng
    for at in np.arange(1.0, length - 0.5, rng.uniform(2.5, 5.0)):
        pillar = block((-0.2, 0.2), (-0.18, 0.18), (0.0, rng.uniform(2.5, 4.5)), Material.CONCRETE)
        builder.fix(pillar, street, station + at, side * front)


def _add_yard(builder: Builder, street: Street, side: int, station: float, length: float) -> None:
    rng, front = builder.rng, street.building_offset
    wall_share = rng.uniform(0.35, 0.75)
    wall = block((0.0, wall_share * length), (-0.12, 0.12), (0.0, rng.uniform(1.2, 2.4)), Material.CONCRETE)
    builder.fix(wall, street, station, side * front)
    back = block((0.0, length), (-0.2, 0.2), (0.0, 3.0), Material.FACADE)
    builder.fix(back, street, station, side * (front + 9.0))
    for at in np.arange(1.8, length - 1.5, 2.9):
        if rng.random() < 0.6:
            kind = "van" if rng.random() < 0.2 else "car"
            turn = float(rng.choice([-1, 1])) * np.pi / 2 + rng.normal(0.0, 0.03)
            builder.stand(kind, street, station + at, side * (front + 4.5), turn, streets.KERB)


def _slab(street: Street, first: float, last: float, inner: float, outer: float) -> Mesh:
    """A raised strip of ground beside a street, between two stations and two offsets, with its kerb."""
    stations = np.linspace(first, last, max(2, int(abs(last - first) / 4.0)))
    near, far = (street.axis.at(stations, d)[:, :2] for d in (inner, outer))
    n = len(stations)
    top = np.full((n, 1), streets.KERB)
    vertices = np.concatenate(
        [np.hstack([near, 0 * top]), np.hstack([near, top]), np.hstack([far, top])]
    )  # kerb foot, kerb edge, far edge
    a = np.arange(n - 1)
    quads = [(a, a + 1, a + 1 + n, a + n), (a + n, a + 1 + n, a + 1 + 2 * n, a + 2 * n)]
    ends = [(0, n, 2 * n), (n - 1, 2 * n - 1, 3 * n - 1)]
    faces = [np.stack(t, 1) for q in quads for t in ((q[0], q[1], q[2]), (q[0], q[2], q[3]))]
    all_faces = np.concatenate([*faces, np.array(ends)]).astype(np.int32)
    return Mesh(vertices, all_faces, np.full(len(all_faces), Material.CONCRETE, np.uint8))


def add_ground(builder: Builder) -> None:
    """The roadway, and raised ground beside the streets."""
    corners = np.array([[-400.0, -400.0, 0], [400.0, -400.0, 0], [400.0, 400.0, 0], [-400.0, 400.0, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    builder.scenery.append(Mesh(corners, faces, np.full(2, Material.ASPHALT, np.uint8)))
    for street in builder.layout.streets():
        other, far = builder.layout.other(street), street.axis.end
        spans = [(-far, far)] if other is None else [(-far, -other.half_width), (other.half_width, far)]
        for side in (-1, 1):
            for first, last in spans:
                inner = side * street.half_width
                builder.scenery.append(_slab(street, first, last, inner, inner + side * GROUND))


# ---------------------------------------------------------------- what people walk around


def add_trees(builder: Builder, street: Street, side: int, taken: list[Interval]) -> None:
    """Trees, lamps and a few screens near the kerb, on ground that nobody walks over afterwards."""
    rng, far = builder.rng, street.axis.end - 5.0
    clear = builder.layout.open_from(street, 6.0)
    station = -far
    while station < far:
        station += rng.uniform(8.0, 18.0)
        if overlaps((station - 4.0, station + 4.0), [*taken, (-clear, clear)]):
            continue
        thing = (_tree, _lamp, screen)[int(rng.choice(3, p=[0.5, 0.3, 0.2]))](rng)
        builder.fix_in_the_way(thing, street, station, side * (street.half_width + 0.55))


def fence(rng: np.random.Generator, length: float) -> Mesh:
    """Upright slats with gaps between: what stands behind shows through some of them."""
    height, pitch = rng.uniform(1.1, 1.8), rng.uniform(0.3, 0.5)
    starts = np.arange(0.0, length, pitch) - length / 2
    share = rng.uniform(0.45, 0.7)
    slats = [block((x, x + share * pitch), (-0.03, 0.03), (0.0, height), Material.WOOD) for x in starts]
    return merge(slats)


def long_hedge(rng: np.random.Generator, length: float, height: Interval) -> Mesh:
    """A hedge of a given length along x."""
    return block((-length / 2, length / 2), (-0.4, 0.4), (0.0, rng.uniform(*height)), Material.FOLIAGE, tuck=0.08)
