"""Parked vehicles along the kerbs, their open doors, and road works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from remembev.simulate import streets
from remembev.simulate.meshes import Interval, Material, block, ellipsoid
from remembev.simulate.objects import KINDS
from remembev.simulate.placement.scenery import add_furniture
from remembev.simulate.streets import Street, overlaps
from remembev.simulate.world import WorldBuilder

DOOR_LENGTH = 1.05  # metres from hinge to edge
BARRIER_SPACING = 2.3  # metres between the middles of barriers in a row

Furnish = Callable[[WorldBuilder, Street, int, list[Interval]], None]


@dataclass(frozen=True)
class Parking:
    """Parking along a kerb.

    Attributes:
        shares: Probability of each kind.
        occupancy: Bounds of the share of the strip that is taken.
        gaps: Bounds of the gap between two vehicles, in metres.
    """

    shares: Mapping[str, float]
    occupancy: Interval
    gaps: Interval


ORDINARY = Parking(
    {"car": 0.64, "van": 0.12, "pick_up": 0.04, "truck": 0.08, "trailer": 0.04, "motorcycle": 0.06, "bus": 0.02},
    (0.45, 0.85),
    (0.5, 1.4),
)


def add_parked(
    builder: WorldBuilder, middle: float, parking: Parking = ORDINARY, furnish: Furnish = add_furniture
) -> None:
    """Add road works near a station of the main street, parked vehicles on all strips, and street furniture."""
    layout, rng = builder.layout, builder.rng
    works_side, works = _add_road_works(builder, middle)
    featured = ["truck", "trailer", "bus", "motorcycle", "van", "truck", "trailer"]
    rng.shuffle(featured)
    for street in layout.streets():
        for side in (-1, 1):
            taken = [works] if street is layout.main and side == works_side else []
            _park_along(builder, street, side, taken, featured if street is layout.main else [], parking)
            furnish(builder, street, side, taken)


def _park_along(
    builder: WorldBuilder, street: Street, side: int, taken: list[Interval], featured: list[str], parking: Parking
) -> None:
    """Fill one parking strip; `featured` kinds are used up first, near the middle of the street."""
    rng, far = builder.rng, street.axis.end - 12.0
    clear = builder.layout.clear_of_crossing(street, 9.0)
    occupancy = rng.uniform(*parking.occupancy)
    station = -far
    while station < far:
        if abs(station) < 0.45 * far and featured and rng.random() < 0.35:
            kind = featured.pop()
        elif rng.random() < occupancy:
            kind = builder.random_kind(parking.shares)
        else:
            station += rng.uniform(4.0, 7.0)
            continue
        length = 3.6 if kind == "motorcycle" else KINDS[kind].mean_size[0] + KINDS[kind].size_spread[0] * 2
        if overlaps((station, station + length), [*taken, (-clear, clear)]):
            station += 1.0
            if kind not in parking.shares or KINDS[kind].mean_size[0] > 6.0 or kind == "motorcycle":
                featured.append(kind)
            continue
        _park(builder, street, side, station, length, kind)
        station += length + rng.uniform(*parking.gaps)


def _park(builder: WorldBuilder, street: Street, side: int, station: float, length: float, kind: str) -> None:
    rng, offset = builder.rng, side * street.parking_offset
    if kind == "motorcycle":
        for k in range(int(rng.integers(1, 4))):
            builder.add_object(kind, street, station + 0.6 + 1.2 * k, offset, np.pi / 2 + rng.normal(0.0, 0.2))
        return
    with_traffic = np.pi if side > 0 else 0.0
    against = np.pi if rng.random() < 0.1 else 0.0
    wide = KINDS[kind].mean_size[1] > 2.3
    jitter = side * -0.08 if wide else rng.normal(0.0, 0.1)
    turn = with_traffic + against + rng.normal(0.0, 0.015 if wide else 0.03)
    builder.add_object(kind, street, station + length / 2, offset + jitter, turn)


def _add_road_works(builder: WorldBuilder, middle: float) -> tuple[int, Interval]:
    """Fence off a stretch of the parking strip with a machine at work; return its side and its stations."""
    rng, street = builder.rng, builder.layout.main
    side, length = builder.random_sign(), rng.uniform(18.0, 28.0)
    clear = builder.layout.clear_of_crossing(street, 10.0)
    start = middle + rng.uniform(-25.0, 25.0)
    if start + length > -clear and start < clear:
        start = clear if start > 0 else -clear - length

    def outside(low: float, high: float) -> float:
        """Draw an offset behind the kerb."""
        return side * (street.half_width + rng.uniform(low, high))

    machine = str(rng.choice(["excavator", "loader"]))
    at = start + length * rng.uniform(0.45, 0.55)
    turn = float(rng.choice([0.0, np.pi])) + rng.normal(0.0, 0.15)
    builder.add_object(machine, street, at, side * (street.half_width + 0.7), turn)
    edge = side * (street.half_width - streets.PARKING + 0.25)
    for station in np.arange(start + 4.0, start + length - 4.0, BARRIER_SPACING):
        builder.add_object("barrier", street, station, edge, np.pi / 2 + rng.normal(0.0, 0.05))
    for share in np.linspace(0.0, 1.0, 4):
        inner = side * (street.half_width - 0.4 - (streets.PARKING - 0.7) * share)
        builder.add_object("traffic_cone", street, start + 3.4 * share, inner, builder.random_yaw())
        builder.add_object("traffic_cone", street, start + length - 3.4 * share, inner, builder.random_yaw())
    for _ in range(int(rng.integers(2, 6))):
        offset, aside = outside(0.3, 1.1), rng.uniform(start, start + length) - at
        station = at + np.copysign(max(abs(aside), 4.2), aside)  # clear of the machine
        builder.add_object("traffic_cone", street, station, offset, 0.0, streets.KERB)
    heap = ellipsoid((0.0, 0.0, 0.0), (1.6, 1.1, 1.0), Material.SOIL)
    builder.add_scenery(heap, street, start + 2.5, side * (street.half_width + 0.2))
    for _ in range(int(rng.integers(1, 4))):
        station = at + builder.random_sign() * rng.uniform(4.2, 6.5)
        builder.add_object("worker", street, station, outside(1.4, 2.2), builder.random_yaw(), streets.KERB)
    return side, (start - 1.0, start + length + 1.0)


def open_doors(builder: WorldBuilder, probability: float) -> None:
    """Open a street-side door of some parked cars and vans; a person stands beside some of them.

    The door is scenery and occupies its ground; the vehicle's annotated box doesn't include it.
    """
    rng, street = builder.rng, builder.layout.main
    for kind, size, poses in list(builder.objects):
        x, y, z, yaw = poses[0]
        station, offset = street.locate(poses[0, :2])
        at_kerb = abs(abs(offset) - street.parking_offset) < 0.5
        if kind not in ("car", "van") or not at_kerb or rng.random() > probability:
            continue
        heading = street.axis.at(station)[2]
        side = -np.sign(offset) * np.sign(np.cos(yaw - heading))  # +1: the street is on the vehicle's left
        swing = rng.uniform(0.7, 1.2)
        hinge, reach = np.array([0.2 * size[0], side * size[1] / 2]), np.array([-np.cos(swing), side * np.sin(swing)])
        rotation = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        door = block((0.0, DOOR_LENGTH), (-0.04, 0.04), (0.35, size[2] - 0.12), Material.STEEL)
        foot, direction = rotation @ hinge + (x, y), rotation @ reach
        builder.scenery.append(door.placed(foot[0], foot[1], z, float(np.arctan2(direction[1], direction[0]))))
        along = np.linspace(0.2, DOOR_LENGTH, 5)[:, None]
        discs = np.hstack([foot + along * direction, np.full((5, 1), 0.1)])
        builder.occupied = np.concatenate([builder.occupied, discs])
        if rng.random() < 0.6:
            beside = rotation @ (hinge + np.array([-DOOR_LENGTH - 0.4, side * 0.5])) + (x, y)
            builder.add_object_at("adult", np.array([*beside, z, yaw + builder.random_yaw()]))
