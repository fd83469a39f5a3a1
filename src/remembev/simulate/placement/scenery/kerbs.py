"""Scenery near kerbs and over the road: street furniture, trees, gantries and bridges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from remembev.simulate import streets
from remembev.simulate.meshes import Interval, Material, Mesh, block, merge, rod
from remembev.simulate.placement.scenery.plots import facing_road
from remembev.simulate.placement.scenery.street_furniture import KERBSIDE, OFF_STREET, board, draw_shape
from remembev.simulate.placement.scenery.vegetation import bush, hedge, street_tree, tree
from remembev.simulate.placement.scenery.walls import hoarding, railing
from remembev.simulate.streets import Street, overlaps
from remembev.simulate.world import WorldBuilder

FURNITURE_OFFSET = 0.55  # metres from the kerb to trees, lamps and screens
TREE_SHARES = (0.25, 0.5, 0.9)  # shares of trees among what stands at a kerb; the last is an avenue
HEADROOM = 4.8  # metres between the road and what spans it


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
    trees = float(rng.choice(TREE_SHARES))
    for station in _furniture_stations(builder, street, taken, (4.5, 10.0)):
        if rng.random() < 0.83:
            builder.add_obstacle(_draw_kerbside(rng, trees), street, station, offset, facing_road(side))
            continue
        for k in range(int(rng.integers(1, 4))):
            turn = np.pi / 2 + rng.normal(0.0, 0.12)
            builder.add_object("bicycle", street, station - 1.5 + 0.9 * k, offset + side * 0.15, turn, streets.KERB)


def add_furniture_obstacles(builder: WorldBuilder, street: Street, side: int, taken: list[Interval]) -> None:
    """Add trees, lamps and other furniture near the kerb, less of it where many people are to find room."""
    rng, offset = builder.rng, side * (street.half_width + FURNITURE_OFFSET)
    trees = float(rng.choice(TREE_SHARES))
    for station in _furniture_stations(builder, street, taken, (5.5, 12.0)):
        builder.add_obstacle(_draw_kerbside(rng, trees), street, station, offset, facing_road(side))


def _draw_kerbside(rng: np.random.Generator, trees: float) -> Mesh:
    """Build something to stand at a kerb: a tree, with the given probability, another plant, a screen, or furniture."""
    if rng.random() < trees:
        return street_tree(rng)
    pick = rng.random()
    if pick < 0.08:
        return bush(rng)
    if pick < 0.15:
        return hedge(rng, rng.uniform(2.0, 6.0), (0.7, 1.9), half=0.35)
    if pick < 0.26:
        screen = rng.choice(3)
        length = rng.uniform(2.0, 6.0)
        return board(rng) if screen == 0 else hoarding(rng, length) if screen == 1 else railing(rng, length)
    return draw_shape(rng, KERBSIDE)


def add_square(builder: WorldBuilder, street: Street, side: int, depth: float, count: int) -> None:
    """Add trees, kiosks, pillars, benches and walls about an open square beside a sidewalk."""
    rng = builder.rng
    for _ in range(count):
        station, offset = rng.uniform(-90.0, 110.0), side * (street.half_width + rng.uniform(3.8, depth))
        pick = rng.random()
        if pick < 0.35:
            mesh = tree(rng)
        elif pick < 0.45:
            mesh = hedge(rng, rng.uniform(2.0, 7.0), (0.6, 1.9))
        else:
            mesh = draw_shape(rng, OFF_STREET)
        builder.add_obstacle(mesh, street, station, offset, builder.random_yaw())


def add_overhead(builder: WorldBuilder, middle: float, probability: float = 0.2) -> None:
    """Span the main street with a gantry of signs, a footbridge or a bridge, in some scenes, near a station."""
    rng, street = builder.rng, builder.layout.main
    if rng.random() > probability:
        return
    station, reach = middle + rng.uniform(-30.0, 60.0), street.building_offset + 1.0
    half = float(rng.choice([0.2, rng.uniform(1.2, 2.0), rng.uniform(3.0, 6.0)], p=[0.4, 0.35, 0.25]))
    piers = street.axis.at(np.full(2, station), np.array([-reach, reach]))[:, :2]
    if abs(station) < builder.layout.clear_of_crossing(street, 12.0) or not builder.is_free(piers, half + 0.5):
        return
    for side in (-1, 1):
        pier = block((-half, half), (-0.4, 0.4), (-4.0, HEADROOM), Material.CONCRETE)
        builder.add_obstacle(pier, street, station, side * reach)
    span = _gantry(rng, reach) if half < 1.0 else _deck(rng, half, reach)
    builder.add_scenery(span, street, station, 0.0)


def _gantry(rng: np.random.Generator, reach: float) -> Mesh:
    """Build a beam over the road with signs on it."""
    parts = [block((-0.2, 0.2), (-reach, reach), (HEADROOM + 0.5, HEADROOM + 0.9), Material.STEEL)]
    for y in np.arange(-reach + 5.0, reach - 5.0, 3.4):
        if rng.random() < 0.7:
            tall = rng.uniform(0.6, 2.0)
            parts.append(block((-0.28, -0.22), (y, y + 2.6), (HEADROOM, HEADROOM + tall), Material.SIGN))
    parts += [rod((0, y, 0), (0, y, HEADROOM + 0.9), 0.2, Material.STEEL, sides=6) for y in (-reach, reach)]
    return merge(parts)


def _deck(rng: np.random.Generator, half: float, reach: float) -> Mesh:
    """Build a bridge's deck with parapets."""
    y, top, parapet = (-reach - 6.0, reach + 6.0), HEADROOM + rng.uniform(0.5, 1.2), rng.uniform(0.9, 1.4)
    deck = block((-half, half), y, (HEADROOM, top), Material.CONCRETE)
    sides = [block((x - 0.1, x + 0.1), y, (top, top + parapet), Material.CONCRETE) for x in (-half, half)]
    return merge([deck, *sides])
