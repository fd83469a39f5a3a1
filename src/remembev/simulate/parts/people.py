"""People on foot: along the sidewalks, over the street, standing about."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from remembev.simulate import streets
from remembev.simulate.builder import Builder
from remembev.simulate.shapes import KINDS, draw_size
from remembev.simulate.streets import Gate, Interval, Path, Street
from remembev.simulate.traffic import FOR_GOOD, Mover

WALKS = (1.5, 2.3, 3.1)  # metres from the kerb; each keeps to one direction a side


def add_people(builder: Builder, middle: float) -> None:
    """The people of an ordinary street, about a station of the main one."""
    rng, layout = builder.rng, builder.layout
    for _ in range(int(rng.integers(3, 7))):
        side = int(rng.choice([-1, 1]))
        station = middle + rng.uniform(-45, 60)
        if abs(station) > layout.open_from(layout.main, 1.0):
            offset = side * (layout.main.half_width + rng.uniform(0.4, 0.9))
            builder.stand("adult", layout.main, station, offset, rng.uniform(-np.pi, np.pi), streets.KERB)
    for _ in range(int(rng.integers(16, 26))):
        add_walker(builder, layout.main, middle + rng.uniform(-60, 75))
    for _ in range(int(rng.integers(5, 10))):
        add_crosser(builder, layout.main, middle + rng.uniform(-45, 65))
    if layout.cross is not None:
        for _ in range(int(rng.integers(4, 9))):
            add_walker(builder, layout.cross, rng.uniform(-60, 60))
        for sign in (-1.0, 1.0):
            at = sign * (layout.cross.half_width + 2.5)
            for _ in range(int(rng.integers(1, 4))):
                add_crosser(builder, layout.main, at + rng.uniform(-1.2, 1.2))


def walker(
    builder: Builder,
    path: Path,
    start: float,
    gate: Gate | None,
    reach: float,
    *,
    pace: Interval = (0.8, 1.7),
    pauses: Sequence[Interval] = (),
) -> bool:
    """Add somebody on foot, unless something stands on the `reach` metres of path from the start."""
    rng = builder.rng
    kind = "child" if rng.random() < 0.1 else "adult"
    size = draw_size(KINDS[kind], rng)
    way = path.at(np.arange(start, start + reach, 0.3))[:, :2]
    if not builder.is_free(way, size[1] / 2 + 0.1):
        return False
    half = size[0] / 2
    mover = Mover(path, start, rng.uniform(*pace), half, half, size[1], gate, on_foot=True, pauses=tuple(pauses))
    if not builder.add_mover(mover, [(kind, size, 0.0)], 0.2):
        return False
    builder.ways = np.concatenate([builder.ways, way])
    return True


def add_walker(builder: Builder, street: Street, station: float) -> None:
    """Somebody along the sidewalk; those who come to the cross street stop at its kerb until there is a gap."""
    rng, far = builder.rng, street.axis.end
    side, walk = int(rng.choice([-1, 1])), int(rng.integers(3))
    direction = 1 if (walk + side) % 2 else -1
    offset = street.half_width + WALKS[walk]
    path = street.way(direction, -direction * side * offset, -far, far)
    start = float(path.end / 2 + direction * station)
    other = builder.layout.other(street)
    gate = None
    if builder.layout.cross is not None and other is not None:
        kerb = path.end / 2 - other.half_width
        if kerb - 1.0 < start < kerb + 2 * other.half_width + 1.0:
            return
        gate = Gate(kerb - 0.3, None)
    walker(builder, path, start, gate, 40.0)


def add_crosser(builder: Builder, street: Street, station: float) -> None:
    """Somebody who walks a few metres along the sidewalk, then over the street, then on along the other side.

    The nearest of a few stations is taken where the way between the parked vehicles is free.
    """
    rng = builder.rng
    for shift in np.arange(12) * rng.choice([-0.7, 0.7]):
        at = station + shift
        if abs(at) < builder.layout.open_from(street, 1.2):
            continue
        side, direction = int(rng.choice([-1, 1])), int(rng.choice([-1, 1]))
        along = rng.uniform(1.0, 14.0)
        near = side * (street.half_width + WALKS[int(rng.integers(3))])
        far = -side * (street.half_width + WALKS[int(rng.integers(3))])
        first = street.axis.at(at - direction * np.linspace(along, 0.0, 30), near)[:, :2]
        across = street.axis.at(np.full(60, at), np.linspace(near, far, 60))[:, :2]
        last = street.axis.at(at + direction * np.linspace(0.0, 40.0, 60), far)[:, :2]
        path = Path.through(np.concatenate([first, across[1:-1], last]))
        kerb = along + abs(near) - street.half_width
        start = rng.uniform(0.3, kerb)
        if walker(builder, path, start, Gate(kerb - 0.2, None), path.end - 20.0 - start):
            return


# ---------------------------------------------------------------- people who dawdle, wait and hide


def way_through(street: Street, corners: Sequence[Interval]) -> Path:
    """A path on foot through corners (station, offset) of a street, straight between them."""
    points = np.array(corners)
    gaps = np.maximum(np.ceil(np.linalg.norm(np.diff(points, axis=0), axis=1) / 0.4).astype(int), 1)
    dense = np.concatenate(
        [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(points, points[1:], gaps, strict=False)]
        + [points[-1:]]
    )
    return Path.through(street.axis.at(dense[:, 0], dense[:, 1])[:, :2])


def add_dawdler(builder: Builder, street: Street, station: float, offset: float, pace: Interval = (0.4, 1.1)) -> bool:
    """Somebody who walks slowly along the street at an offset, stands still now and then, and at last for good."""
    rng = builder.rng
    ahead = float(rng.choice([-1, 1])) * rng.uniform(7.0, 18.0)
    path = way_through(street, [(station, offset), (station + ahead, offset)])
    stops = np.sort(rng.uniform(1.0, path.end - 2.0, 2))
    pauses = [*((float(at), rng.uniform(1.0, 5.0)) for at in stops), (path.end - 1.0, FOR_GOOD)]
    return walker(builder, path, 0.1, None, path.end, pace=pace, pauses=pauses)


def add_weaver(builder: Builder, street: Street, side: int, station: float) -> bool:
    """Somebody who steps out between parked vehicles, walks along them and goes back in between two others.

    Stands still before stepping out, and for good once behind the vehicles again. Gaps near the station are tried.
    """
    rng = builder.rng
    behind = side * (street.half_width + rng.uniform(1.2, 2.2))
    before = side * (street.cycle_offset + rng.uniform(-0.2, 0.3))
    gaps = [at for at in np.arange(station - 16.0, station + 16.0, 0.4) if _is_gap(builder, street, at, behind, before)]
    for out, back in itertools.permutations(rng.permutation(gaps)[:8].tolist(), 2):
        along = np.sign(back - out)
        first, last = out - along * rng.uniform(2.0, 6.0), back + along * rng.uniform(2.0, 8.0)
        corners = [(first, behind), (out, behind), (out, before), (back, before), (back, behind), (last, behind)]
        path = way_through(street, corners)
        pauses = [(abs(out - first), rng.uniform(0.5, 4.0)), (path.end - 1.0, FOR_GOOD)]
        long_way = abs(back - out) > 3.0
        if long_way and walker(builder, path, rng.uniform(0.1, 2.0), None, path.end, pace=(0.7, 1.4), pauses=pauses):
            return True
    return False


def _is_gap(builder: Builder, street: Street, station: float, behind: float, before: float) -> bool:
    across = street.axis.at(np.full(12, station), np.linspace(behind, before, 12))[:, :2]
    return builder.is_free(across, 0.45)


def add_group(builder: Builder, street: Street, station: float, offset: float, count: int, spread: float) -> None:
    """People who stand about a place, facing anywhere."""
    rng = builder.rng
    for _ in range(count):
        kind = "child" if rng.random() < 0.12 else "adult"
        along, aside = rng.normal(0.0, spread, 2)
        x, y, _ = street.axis.at(station + along, offset + aside)
        if not builder.is_in_the_way(np.array([x, y]), KINDS[kind].mean[0] / 2 + 0.1):
            z = 0.0 if abs(offset + aside) < street.half_width else streets.KERB
            builder.stand(kind, street, station + along, offset + aside, rng.uniform(-np.pi, np.pi), z)
