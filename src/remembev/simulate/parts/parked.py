"""What stands at the kerb: parked vehicles, and road works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from remembev.simulate import streets
from remembev.simulate.builder import Builder
from remembev.simulate.parts.scenery import add_furniture
from remembev.simulate.shapes import KINDS, Material, ball, block
from remembev.simulate.streets import Interval, Street, overlaps


def add_road_works(builder: Builder, middle: float) -> tuple[int, Interval]:
    """A fenced-off stretch of the parking strip with a machine at work; returns its side and its stations."""
    rng, street = builder.rng, builder.layout.main
    side, length = int(rng.choice([-1, 1])), rng.uniform(18.0, 28.0)
    clear = builder.layout.open_from(street, 10.0)
    start = middle + rng.uniform(-25.0, 25.0)
    if start + length > -clear and start < clear:
        start = clear if start > 0 else -clear - length
    machine = str(rng.choice(["excavator", "loader"]))
    inside = side * (street.half_width + 0.7)
    at = start + length * rng.uniform(0.45, 0.55)
    builder.stand(machine, street, at, inside, float(rng.choice([0.0, np.pi])) + rng.normal(0.0, 0.15))
    edge = side * (street.half_width - streets.PARKING + 0.25)
    for station in np.arange(start + 4.0, start + length - 4.0, 2.75):
        builder.stand("barrier", street, station, edge, np.pi / 2 + rng.normal(0.0, 0.05))
    for share in np.linspace(0.0, 1.0, 4):
        inner = side * (street.half_width - 0.4 - (streets.PARKING - 0.7) * share)
        builder.stand("traffic_cone", street, start + 3.4 * share, inner, rng.uniform(-np.pi, np.pi))
        builder.stand("traffic_cone", street, start + length - 3.4 * share, inner, rng.uniform(-np.pi, np.pi))
    for _ in range(int(rng.integers(2, 6))):
        beside = side * (street.half_width + rng.uniform(0.3, 1.1))
        builder.stand("traffic_cone", street, rng.uniform(start, start + length), beside, 0.0, streets.KERB)
    heap = ball((0.0, 0.0, 0.0), (1.6, 1.1, 1.0), Material.SOIL)
    builder.fix(heap, street, start + 2.5, side * (street.half_width + 0.2))
    for _ in range(int(rng.integers(1, 4))):
        where = at + float(rng.choice([-1, 1])) * rng.uniform(4.2, 6.5)
        beside = side * (street.half_width + rng.uniform(1.4, 2.2))
        builder.stand("worker", street, where, beside, rng.uniform(-np.pi, np.pi), streets.KERB)
    return side, (start - 1.0, start + length + 1.0)


DOOR = 1.05  # metres from hinge to edge


@dataclass(frozen=True)
class Parking:
    """How a kerb is parked: the share of each kind, how much of the strip is taken, and the gaps in metres."""

    shares: Mapping[str, float]
    occupancy: Interval
    gaps: Interval


ORDINARY = Parking(
    {"car": 0.66, "van": 0.12, "truck": 0.10, "trailer": 0.04, "motorcycle": 0.06, "bus": 0.02},
    (0.45, 0.85),
    (0.5, 1.4),
)


def park_along(
    builder: Builder, street: Street, side: int, taken: list[Interval], featured: list[str], parking: Parking
) -> None:
    """Fill one parking strip; `featured` kinds are used up first, wherever the strip passes its middle third."""
    rng, far = builder.rng, street.axis.end - 12.0
    clear = builder.layout.open_from(street, 9.0)
    occupancy = rng.uniform(*parking.occupancy)
    kinds, shares = list(parking.shares), list(parking.shares.values())
    station = -far
    while station < far:
        near = abs(station) < 0.45 * far
        if near and featured and rng.random() < 0.35:
            kind = featured.pop()
        elif rng.random() < occupancy:
            kind = str(rng.choice(kinds, p=shares))
        else:
            station += rng.uniform(4.0, 7.0)
            continue
        length = 3.6 if kind == "motorcycle" else KINDS[kind].mean[0] + KINDS[kind].spread[0] * 2
        span = (station, station + length)
        if overlaps(span, [*taken, (-clear, clear)]):
            station += 1.0
            if kind not in parking.shares or KINDS[kind].mean[0] > 6.0 or kind == "motorcycle":
                featured.append(kind)
            continue
        _park(builder, street, side, station, length, kind)
        station += length + rng.uniform(*parking.gaps)


def _park(builder: Builder, street: Street, side: int, station: float, length: float, kind: str) -> None:
    rng, offset = builder.rng, side * street.parking_offset
    if kind == "motorcycle":
        for k in range(int(rng.integers(1, 4))):
            builder.stand(kind, street, station + 0.6 + 1.2 * k, offset, np.pi / 2 + rng.normal(0.0, 0.2))
        return
    with_traffic = np.pi if side > 0 else 0.0
    against = np.pi if rng.random() < 0.1 else 0.0
    wide = KINDS[kind].mean[1] > 2.3
    jitter = side * -0.08 if wide else rng.normal(0.0, 0.1)
    turn = with_traffic + against + rng.normal(0.0, 0.015 if wide else 0.03)
    builder.stand(kind, street, station + length / 2, offset + jitter, turn)


def add_parked(
    builder: Builder,
    middle: float,
    parking: Parking = ORDINARY,
    furnish: Callable[[Builder, Street, int, list[Interval]], None] = add_furniture,
) -> None:
    """Road works near a station of the main street, parked vehicles on all strips, and what furnishes the kerbs."""
    layout, rng = builder.layout, builder.rng
    works_side, works = add_road_works(builder, middle)
    featured = ["truck", "trailer", "bus", "motorcycle", "van", "truck", "trailer"]
    rng.shuffle(featured)
    for street in layout.streets():
        for side in (-1, 1):
            taken = [works] if street is layout.main and side == works_side else []
            park_along(builder, street, side, taken, featured if street is layout.main else [], parking)
            furnish(builder, street, side, taken)


def open_doors(builder: Builder, chance: float) -> None:
    """Open a door of some parked cars and vans towards the street; beside some of them somebody stands.

    The leaf is scenery and takes its ground; the box is that of the car without it.
    """
    rng, street = builder.rng, builder.layout.main
    for kind, size, poses in list(builder.objects):
        x, y, z, yaw = poses[0]
        station, offset = street.locate(poses[0, :2])
        at_kerb = abs(abs(offset) - street.parking_offset) < 0.5
        if kind not in ("car", "van") or not at_kerb or rng.random() > chance:
            continue
        heading = street.axis.at(station)[2]
        side = -np.sign(offset) * np.sign(np.cos(yaw - heading))  # +1: the street is on the car's left
        swing = rng.uniform(0.7, 1.2)
        hinge, reach = np.array([0.2 * size[0], side * size[1] / 2]), np.array([-np.cos(swing), side * np.sin(swing)])
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        leaf = block((0.0, DOOR), (-0.04, 0.04), (0.35, size[2] - 0.12), Material.STEEL)
        foot, way = turn @ hinge + (x, y), turn @ reach
        builder.scenery.append(leaf.placed(foot[0], foot[1], z, float(np.arctan2(way[1], way[0]))))
        along = np.linspace(0.2, DOOR, 5)[:, None]
        builder.occupied = np.concatenate([builder.occupied, np.hstack([foot + along * way, np.full((5, 1), 0.1)])])
        if rng.random() < 0.6:
            beside = turn @ (hinge + np.array([-DOOR - 0.4, side * 0.5])) + (x, y)
            builder.stand_at("adult", np.array([*beside, z, yaw + rng.uniform(-np.pi, np.pi)]))
