"""Plots along a street: houses, gardens, yards, open ground; and the skyline behind them."""

from __future__ import annotations

import numpy as np

from remembev.simulate import streets
from remembev.simulate.meshes import Array, Interval, Mesh
from remembev.simulate.placement.scenery.facades import building, tower
from remembev.simulate.placement.scenery.street_furniture import OFF_STREET, bollards, draw_shape, lamp
from remembev.simulate.placement.scenery.vegetation import broadleaf, bush, hedge, tall_grass, tree
from remembev.simulate.placement.scenery.walls import FENCES, WALLS, draw_stretch, railing
from remembev.simulate.streets import Street
from remembev.simulate.world import WorldBuilder

DEPTH = 9.0  # metres from the front of a house to its back
PLOTS = {"house": 0.46, "yard": 0.2, "garden": 0.19, "open": 0.15}


def facing_road(side: int) -> float:
    """Return the turn by which a shape whose front is at low y faces the road from one side of it."""
    return 0.0 if side > 0 else np.pi


def add_buildings(builder: WorldBuilder, street: Street, side: int, plot: float = 0.0) -> None:
    """Fill the plots along a sidewalk: houses, gardens, open ground, and yards where cars stand behind a wall.

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
        _add_plot(builder, street, side, station, length)
        station += length + (rng.uniform(1.0, 7.0) if rng.random() < 0.5 else 0.0)


def _add_plot(builder: WorldBuilder, street: Street, side: int, station: float, length: float) -> None:
    kind = builder.random_kind(PLOTS)
    if kind == "yard" and length > 11.0 and not (street is builder.layout.main and side in builder.slopes):
        _add_yard(builder, street, side, station, length)
    elif kind == "garden":
        _add_garden(builder, street, side, station, length)
    elif kind == "open":
        _add_open_ground(builder, street, side, station, length)
    else:
        _add_house(builder, street, side, station, length)


def _draw_height(rng: np.random.Generator) -> float:
    return float(rng.choice([1, 2, 3, 4, 5, 7], p=[0.08, 0.16, 0.26, 0.24, 0.16, 0.1])) * 3.1 + rng.uniform(0.0, 1.2)


def _add_house(builder: WorldBuilder, street: Street, side: int, station: float, length: float) -> None:
    """Add a house at the sidewalk or behind a front garden."""
    rng = builder.rng
    setback = float(rng.choice([0.0, 0.0, 1.0, 3.0, 6.0]))
    front, middle = street.building_offset + setback, station + length / 2
    mesh = building(rng, length - 0.05, DEPTH, _draw_height(rng))
    builder.add_building(mesh, street, middle, side * (front + DEPTH / 2), facing_road(side))
    if setback >= 3.0:
        _add_boundary(builder, street, side, station, length)
        _scatter(builder, street, side, (station, station + length), (1.0, setback - 0.8), 2, garden=True)


def _add_boundary(builder: WorldBuilder, street: Street, side: int, station: float, length: float) -> None:
    """Add walls, fences and hedges along a plot's front, in stretches of a vehicle's length."""
    rng, at, end = builder.rng, station + 0.3, station + length - 0.3
    while at < end - 2.0:
        stretch = min(rng.uniform(2.0, 15.0), end - at)
        offset = side * (street.building_offset + 0.5)
        mesh = _draw_boundary(rng, stretch)
        builder.add_obstacle(mesh, street, at + stretch / 2, offset, facing_road(side))
        at += stretch + (rng.uniform(1.0, 3.5) if rng.random() < 0.6 else 0.1)


def _draw_boundary(rng: np.random.Generator, length: float) -> Mesh:
    pick = rng.random()
    if pick < 0.25:
        return hedge(rng, length, (0.8, 2.4))
    return draw_stretch(rng, WALLS if pick < 0.65 else FENCES, length)


def _scatter(
    builder: WorldBuilder, street: Street, side: int, along: Interval, behind: Interval, count: int, *, garden: bool
) -> None:
    """Add plants, and sheds and the like, anywhere between distances behind the building line."""
    rng = builder.rng
    for _ in range(count):
        station, offset = rng.uniform(*along), side * (street.building_offset + rng.uniform(*behind))
        pick = rng.random()
        if pick < 0.38:
            mesh = tree(rng)
        elif pick < (0.78 if garden else 0.55):
            mesh = tall_grass(rng) if rng.random() < 0.3 else bush(rng)
        else:
            mesh = draw_shape(rng, OFF_STREET)
        builder.add_obstacle(mesh, street, station, offset, builder.random_yaw())


def add_free_walls(
    builder: WorldBuilder, street: Street, side: int, along: Interval, behind: Interval, count: int
) -> None:
    """Add walls and fences that stand alone behind the building line, along the street or at an angle to it."""
    rng = builder.rng
    for _ in range(count):
        length = rng.uniform(2.0, 15.0)
        turn = rng.normal(0.0, 0.05) if rng.random() < 0.4 else builder.random_yaw()
        station, offset = rng.uniform(*along), side * (street.building_offset + rng.uniform(*behind))
        reach = abs(np.sin(turn)) * length / 2 + 0.4
        offset += side * max(0.0, reach - (abs(offset) - street.building_offset))
        builder.add_obstacle(_draw_boundary(rng, length), street, station, offset, turn)


def _add_garden(builder: WorldBuilder, street: Street, side: int, station: float, length: float) -> None:
    """Add a garden behind a wall or a hedge, in most cases with a small house at its back."""
    rng, along = builder.rng, (station + 0.5, station + length - 0.5)
    _add_boundary(builder, street, side, station, length)
    if rng.random() < 0.7:
        wide, deep = rng.uniform(0.4, 0.8) * length, rng.uniform(6.0, 9.0)
        offset = side * (street.building_offset + rng.uniform(6.0, 10.0) + deep / 2)
        mesh = building(rng, wide, deep, rng.uniform(3.0, 7.0))
        builder.add_building(mesh, street, station + length / 2, offset, facing_road(side))
    _scatter(builder, street, side, along, (1.2, 6.0), int(rng.integers(3, 8)), garden=True)
    _scatter(builder, street, side, along, (8.0, 22.0), 5, garden=True)


def _add_open_ground(builder: WorldBuilder, street: Street, side: int, station: float, length: float) -> None:
    """Add a lawn, waste ground or a parking lot without cars: a low edge, lamps, walls, things that stand about."""
    rng, along = builder.rng, (station + 0.5, station + length - 0.5)
    edge = rng.choice(["none", "bollards", "railing", "walls"])
    middle, offset = station + length / 2, side * (street.building_offset + 0.3)
    if edge == "bollards":
        builder.add_obstacle(bollards(rng), street, middle, offset)
    elif edge == "railing":
        builder.add_obstacle(railing(rng, 0.7 * length), street, middle, offset)
    if edge == "walls" or rng.random() < 0.6:
        add_free_walls(builder, street, side, along, (0.5, 18.0), int(rng.integers(1, 4)))
    _scatter(builder, street, side, along, (1.5, 25.0), int(rng.integers(4, 10)), garden=bool(rng.random() < 0.5))
    builder.add_obstacle(lamp(rng), street, middle, side * (street.building_offset + rng.uniform(4.0, 12.0)))


def _add_yard(builder: WorldBuilder, street: Street, side: int, station: float, length: float) -> None:
    """Add a yard: cars behind a wall that hides part of them, and another wall or hedge behind the cars."""
    rng, front = builder.rng, street.building_offset
    wall = draw_stretch(rng, WALLS, rng.uniform(0.35, 0.75) * length)
    builder.add_obstacle(
        wall, street, station + np.ptp(wall.vertices[:, 0]) / 2, side * (front + 0.3), facing_road(side)
    )
    for at in np.arange(1.8, length - 1.5, 2.9):
        if rng.random() < 0.6:
            kind = "van" if rng.random() < 0.2 else "car"
            turn = builder.random_sign() * np.pi / 2 + rng.normal(0.0, 0.03)
            builder.add_object(kind, street, station + at, side * (front + 4.5), turn, streets.KERB)
    back = _draw_boundary(rng, length - 0.5)
    builder.add_obstacle(back, street, station + length / 2, side * (front + 9.0), facing_road(side))


def _clear_of_streets(builder: WorldBuilder, xy: Array, margin: float) -> bool:
    """Return True if points [n, 2] lie more than `margin` metres behind every building line."""
    for street in builder.layout.streets():
        gaps = np.linalg.norm(xy[:, None] - street.axis.points[None], axis=-1)
        if gaps.min() < street.building_offset + margin:
            return False
    return True


def add_skyline(
    builder: WorldBuilder,
    street: Street,
    side: int,
    behind: Interval = (14.0, 55.0),
    spacing: Interval = (2.0, 10.0),
) -> None:
    """Add tall buildings and trees behind the plots of a street, which show over them and through gaps.

    Args:
        builder: The world they are added to.
        street: The street.
        side: The side of it, 1 for left.
        behind: Bounds of their distance behind the building line, in metres; the first holds for every street.
        spacing: Bounds of their distance from each other along the street.
    """
    rng, station = builder.rng, -street.axis.end
    while station < street.axis.end:
        mesh = tower(rng) if rng.random() < 0.55 else broadleaf(rng)
        half, deep = np.ptp(mesh.vertices[:, :2], axis=0) / 2
        offset = side * (street.building_offset + deep + 1.0 + rng.uniform(*behind))
        along, aside = np.meshgrid(station + np.array([-half, 0.0, half]), offset + deep * np.array([-1, 1]))
        if _clear_of_streets(builder, street.axis.at(along, aside)[..., :2].reshape(-1, 2), behind[0]):
            builder.add_scenery(mesh, street, station, offset, facing_road(side) + rng.normal(0.0, 0.05))
        station += half + rng.uniform(*spacing)
