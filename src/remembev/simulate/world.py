"""The simulated world of one scene: who and what stands and moves where, for how long.

Draws a street layout, fills it with buildings, clutter, parked and moving objects of all ten detection classes, and
drives the traffic. Knows nothing of sensors or files. Coordinates are the scene's own (streets.py), in metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from remembev.simulate import streets
from remembev.simulate.shapes import KINDS, Material, Mesh, Triple, ball, block, draw_size, merge, rod
from remembev.simulate.streets import Array, Layout, Street
from remembev.simulate.traffic import STEP, Gate, Mover, clashes, drive

CLEARANCE = 0.03  # boxes begin this far above the ground, so that the ground's returns stay outside
TIGHTNESS = 0.98  # how much of its box's length and width a shape fills
HORIZON = 90.0  # what never comes nearer to the ego car is left out
EGO_SIZE: Triple = (4.08, 1.73, 1.56)

Interval = tuple[float, float]


@dataclass(frozen=True)
class Actor:
    """An annotated object: its kind, box size (l, w, h), mesh about the middle of its foot, and poses over time.

    poses [n, 4] are x, y, z of the foot and yaw (unwrapped), every STEP seconds; a single row for what never moves.
    """

    kind: str
    size: Triple
    mesh: Mesh
    poses: Array

    @property
    def category(self) -> str:
        """The full nuScenes category."""
        return KINDS[self.kind].category

    @property
    def moves(self) -> bool:
        """Whether the object ever could move (a parked one doesn't)."""
        return len(self.poses) > 1


@dataclass(frozen=True)
class World:
    """One scene: what is scenery, who acts, and how the ego car drives.

    ego [n, 5] are its x, y, z, yaw and pitch every STEP seconds.
    """

    layout: Layout
    scenery: Mesh
    actors: list[Actor]
    ego: Array


def poses_at(poses: Array, time: Array | float) -> Array:
    """Poses [..., C] at times (s), linear between the rows of `poses` [n, ..., C]; a single row holds for ever."""
    if len(poses) == 1:
        return np.broadcast_to(poses[0], (*np.shape(time), *poses.shape[1:]))
    index = np.asarray(time) / STEP
    low = np.clip(np.floor(index).astype(int), 0, len(poses) - 2)
    share = (index - low)[(...,) + (None,) * (poses.ndim - 1)]
    result: Array = poses[low] * (1 - share) + poses[low + 1] * share
    return result


def _actor(kind: str, size: Triple, poses: Array, rng: np.random.Generator) -> Actor:
    length, width, height = size
    mesh = KINDS[kind].build(rng).fitted(length * TIGHTNESS, width * TIGHTNESS, height - 0.01)
    poses = poses + np.array([0.0, 0.0, CLEARANCE, 0.0])
    return Actor(kind, (length, width, height), mesh, poses)


def _discs(centre: Array, yaw: float, size: Triple) -> Array:
    """Discs (x, y, radius) [D, 3] that cover a footprint, in a row along its longer side."""
    long, short, yaw = (size[0], size[1], yaw) if size[0] > size[1] else (size[1], size[0], yaw + np.pi / 2)
    along = np.linspace(-0.5, 0.5, int(np.ceil(2 * long / short)) - 1) * (long - short)
    xy = centre + along[:, None] * (np.cos(yaw), np.sin(yaw))
    return np.column_stack([xy, np.full(len(xy), short / 2)])


class _Builder:
    """Collects a scene's objects, movers and scenery while it is drawn."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self.layout, self.rng = layout, rng
        self.scenery: list[Mesh] = []
        self.objects: list[tuple[str, Triple, Array]] = []  # kind, size and poses of what will be an actor
        self.occupied = np.zeros((0, 3))  # discs (x, y, radius) that cover what stands
        self.movers: list[Mover] = []
        self.bodies: list[list[tuple[str, Triple, float]]] = []  # a mover's objects: kind, size, distance behind

    def stand(
        self, kind: str, street: Street, station: float, offset: float, turn: float = 0.0, z: float = 0.0
    ) -> None:
        """Put an object that never moves beside a street's axis, turned against its heading, if the place is free."""
        x, y, heading = street.axis.at(station, offset)
        size = draw_size(KINDS[kind], self.rng)
        discs = _discs(np.array([x, y]), heading + turn, size)
        if self.is_free(discs[:, :2], discs[0, 2]):
            self.occupied = np.concatenate([self.occupied, discs])
            self.objects.append((kind, size, np.array([[x, y, z, heading + turn]])))

    def is_free(self, xy: Array, radius: float) -> bool:
        """Whether nothing stands within `radius` of the points [n, 2]."""
        dx, dy = (xy[:, None, i] - self.occupied[None, :, i] for i in (0, 1))
        reach = self.occupied[:, 2] + radius - 0.05
        return not bool((dx * dx + dy * dy < reach * reach).any())

    def fix(self, mesh: Mesh, street: Street, station: float, offset: float, turn: float = 0.0) -> None:
        """Put scenery beside a street's axis."""
        x, y, heading = street.axis.at(station, offset)
        self.scenery.append(mesh.placed(x, y, 0.0, heading + turn))

    def add_mover(self, mover: Mover, bodies: list[tuple[str, Triple, float]], margin: float) -> bool:
        """Add a mover unless its start is taken."""
        if clashes(mover, self.movers, margin):
            return False
        self.movers.append(mover)
        self.bodies.append(bodies)
        return True


# ---------------------------------------------------------------- traffic


def _add_ego(builder: _Builder) -> float:
    """The ego car goes first; returns the station on the main street about which the scene should be full."""
    rng, layout = builder.rng, builder.layout
    turn = int(rng.choice([-1, 1])) if layout.cross is not None and rng.random() < 0.25 else 0
    lane = layout.main.lanes - 1 if turn <= 0 else 0
    route = layout.route(layout.main, 1, lane, turn)
    before = rng.uniform(40.0, 110.0)
    if layout.cross is not None:  # reach the stop line about when the light turns green
        before = float(np.clip(33.0 + 9.0 * (rng.uniform(-4.0, 3.0) - layout.signal.start), 40.0, 110.0))
    start = float(layout.main.axis.end) - before
    gate = None if route.stop is None else Gate(route.stop, route.approach)
    half = EGO_SIZE[0] / 2
    mover = Mover(route.path, start - 35.0, rng.uniform(7.5, 12.0), half, half, EGO_SIZE[1], gate)
    builder.add_mover(mover, [], 0.0)
    return -before + 55.0


def _add_vehicle(builder: _Builder, street: Street, direction: int, kind: str, start: float) -> None:
    rng = builder.rng
    size = draw_size(KINDS[kind], rng)
    half, rear = size[0] / 2, size[0] / 2
    bodies = [(kind, size, 0.0)]
    if kind == "truck" and rng.random() < 0.35:
        towed = draw_size(KINDS["trailer"], rng)
        bodies.append(("trailer", towed, half + 0.8 + towed[0] / 2))
        rear += 0.8 + towed[0]
    long_one = size[0] > 6.0
    turn = int(rng.choice([-1, 0, 1], p=[0.1, 0.8, 0.1] if long_one else [0.2, 0.6, 0.2]))
    lane = {-1: street.lanes - 1, 0: int(rng.integers(street.lanes)), 1: 0}[turn]
    route = builder.layout.route(street, direction, lane, turn)
    gate = None if route.stop is None else Gate(route.stop, route.approach)
    speed = rng.uniform(6.0, 10.0) if long_one else rng.uniform(7.5, 13.0)
    if not _starts_inside(gate, start):
        builder.add_mover(Mover(route.path, start, speed, half, rear, size[1], gate), bodies, 4.0)


def _add_traffic(builder: _Builder, middle: float) -> None:
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
            _add_vehicle(builder, street, direction, str(rng.choice(kinds, p=shares)), start)
        for _ in range(int(rng.integers(4, 8)) if street is layout.main else 2):
            _add_cyclist(builder, street)


def _delays_ego(builder: _Builder, start: float) -> bool:
    """Whether a vehicle would begin between the ego car and its stop line, where a queue costs it its green."""
    ego = builder.movers[0]
    return ego.gate is not None and ego.start < start < ego.gate.station and builder.rng.random() < 0.7


def _starts_inside(gate: Gate | None, start: float) -> bool:
    """Whether a mover would begin in the crossing, where the signal can't have let it in."""
    return gate is not None and -6.0 < start - gate.station < 40.0


def _add_cyclist(builder: _Builder, street: Street) -> None:
    rng, far = builder.rng, street.axis.end
    direction = int(rng.choice([-1, 1]))
    size = draw_size(KINDS["ridden_bicycle"], rng)
    path = street.way(direction, street.cycle_offset + rng.uniform(-0.25, 0.25), -far, far)
    gate = None
    other = builder.layout.other(street)
    if builder.layout.cross is not None and other is not None:
        approach = (0 if street is builder.layout.main else 2) + (direction < 0)
        gate = Gate(path.end / 2 - other.half_width - streets.STOP_LINE, approach)
    half, start = size[0] / 2, rng.uniform(0.2, 1.3) * far
    mover = Mover(path, start, rng.uniform(3.0, 6.0), half, half, size[1], gate)
    if not _starts_inside(gate, start):
        builder.add_mover(mover, [("ridden_bicycle", size, 0.0)], 1.0)


# ---------------------------------------------------------------- people

WALKS = (1.5, 2.3, 3.1)  # metres from the kerb; each keeps to one direction a side


def _add_people(builder: _Builder, middle: float) -> None:
    rng, layout = builder.rng, builder.layout
    for _ in range(int(rng.integers(3, 7))):
        side = int(rng.choice([-1, 1]))
        station = middle + rng.uniform(-45, 60)
        if abs(station) > layout.open_from(layout.main, 1.0):
            offset = side * (layout.main.half_width + rng.uniform(0.4, 0.9))
            builder.stand("adult", layout.main, station, offset, rng.uniform(-np.pi, np.pi), streets.KERB)
    for _ in range(int(rng.integers(16, 26))):
        _add_walker(builder, layout.main, middle + rng.uniform(-60, 75))
    for _ in range(int(rng.integers(5, 10))):
        _add_crosser(builder, layout.main, middle + rng.uniform(-45, 65))
    if layout.cross is not None:
        for _ in range(int(rng.integers(4, 9))):
            _add_walker(builder, layout.cross, rng.uniform(-60, 60))
        for sign in (-1.0, 1.0):
            at = sign * (layout.cross.half_width + 2.5)
            for _ in range(int(rng.integers(1, 4))):
                _add_crosser(builder, layout.main, at + rng.uniform(-1.2, 1.2))


def _walker(builder: _Builder, path: streets.Path, start: float, gate: Gate | None, reach: float) -> bool:
    """Add somebody on foot, unless something stands on the `reach` metres of path from the start."""
    rng = builder.rng
    kind = "child" if rng.random() < 0.1 else "adult"
    size = draw_size(KINDS[kind], rng)
    way = path.at(np.arange(start, start + reach, 0.3))[:, :2]
    if not builder.is_free(way, size[1] / 2 + 0.1):
        return False
    mover = Mover(path, start, rng.uniform(0.8, 1.7), size[0] / 2, size[0] / 2, size[1], gate, on_foot=True)
    return builder.add_mover(mover, [(kind, size, 0.0)], 0.2)


def _add_walker(builder: _Builder, street: Street, station: float) -> None:
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
    _walker(builder, path, start, gate, 40.0)


def _add_crosser(builder: _Builder, street: Street, station: float) -> None:
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
        path = streets.Path.through(np.concatenate([first, across[1:-1], last]))
        kerb = along + abs(near) - street.half_width
        start = rng.uniform(0.3, kerb)
        if _walker(builder, path, start, Gate(kerb - 0.2, None), path.end - 20.0 - start):
            return


# ---------------------------------------------------------------- what stands on the street


def _overlaps(span: Interval, taken: list[Interval]) -> bool:
    return any(span[0] < high and low < span[1] for low, high in taken)


def _add_road_works(builder: _Builder, middle: float) -> tuple[int, Interval]:
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


PARKED = {"car": 0.66, "van": 0.12, "truck": 0.10, "trailer": 0.04, "motorcycle": 0.06, "bus": 0.02}


def _park_along(builder: _Builder, street: Street, side: int, taken: list[Interval], featured: list[str]) -> None:
    """Fill one parking strip; `featured` kinds are used up first, wherever the strip passes its middle third."""
    rng, far = builder.rng, street.axis.end - 12.0
    clear = builder.layout.open_from(street, 9.0)
    occupancy = rng.uniform(0.45, 0.85)
    station = -far
    while station < far:
        near = abs(station) < 0.45 * far
        if near and featured and rng.random() < 0.35:
            kind = featured.pop()
        elif rng.random() < occupancy:
            kind = str(rng.choice(list(PARKED), p=list(PARKED.values())))
        else:
            station += rng.uniform(4.0, 7.0)
            continue
        length = 3.6 if kind == "motorcycle" else KINDS[kind].mean[0] + KINDS[kind].spread[0] * 2
        span = (station, station + length)
        if _overlaps(span, [*taken, (-clear, clear)]):
            station += 1.0
            if kind not in PARKED or KINDS[kind].mean[0] > 6.0 or kind == "motorcycle":
                featured.append(kind)
            continue
        _park(builder, street, side, station, length, kind)
        station += length + rng.uniform(0.5, 1.4)


def _park(builder: _Builder, street: Street, side: int, station: float, length: float, kind: str) -> None:
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


def _add_parked(builder: _Builder, middle: float) -> None:
    layout, rng = builder.layout, builder.rng
    works_side, works = _add_road_works(builder, middle)
    featured = ["truck", "trailer", "bus", "motorcycle", "van", "truck", "trailer"]
    rng.shuffle(featured)
    for street in layout.streets():
        for side in (-1, 1):
            taken = [works] if street is layout.main and side == works_side else []
            _park_along(builder, street, side, taken, featured if street is layout.main else [])
            _add_furniture(builder, street, side, taken)


# ---------------------------------------------------------------- scenery


def _tree(rng: np.random.Generator) -> Mesh:
    trunk, height, spread = rng.uniform(2.2, 3.4), rng.uniform(2.5, 5.0), rng.uniform(1.2, 2.4)
    crown = ball((0.0, 0.0, trunk + height / 2), (spread, spread, height / 2 + 0.4), Material.FOLIAGE)
    return merge([rod((0, 0, 0), (0, 0, trunk + 0.5), rng.uniform(0.12, 0.25), Material.WOOD, sides=6), crown])


def _lamp(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(5.0, 8.0)
    sign = block((-0.03, 0.03), (-0.35, 0.35), (2.2, 2.9), Material.REFLECTOR)
    return merge([rod((0, 0, 0), (0, 0, height), 0.09, Material.STEEL, sides=6), sign])


def _screen(rng: np.random.Generator) -> Mesh:
    """A hoarding, a bus shelter's back or a kiosk: man-high, a few metres long, along the street."""
    half, deep = rng.uniform(1.2, 3.2), rng.uniform(0.05, 0.5)
    return block((-half, half), (-deep, deep), (0.0, rng.uniform(1.9, 2.7)), Material.WOOD)


def _hedge(rng: np.random.Generator) -> Mesh:
    half = rng.uniform(1.5, 4.0)
    return block((-half, half), (-0.35, 0.35), (0.0, rng.uniform(0.9, 1.9)), Material.FOLIAGE, tuck=0.08)


def _add_furniture(builder: _Builder, street: Street, side: int, taken: list[Interval]) -> None:
    """Trees, lamps, screens, hedges and parked bicycles between kerb and walkers."""
    rng, far = builder.rng, street.axis.end - 5.0
    clear = builder.layout.open_from(street, 6.0)
    station = -far
    while station < far:
        station += rng.uniform(5.0, 12.0)
        if _overlaps((station - 4.0, station + 4.0), [*taken, (-clear, clear)]):
            continue
        offset = side * (street.half_width + 0.55)
        pick = rng.random()
        if pick < 0.34:
            builder.fix(_tree(rng), street, station, offset)
        elif pick < 0.5:
            builder.fix(_lamp(rng), street, station, offset)
        elif pick < 0.68:
            builder.fix(_screen(rng), street, station, offset)
        elif pick < 0.8:
            builder.fix(_hedge(rng), street, station, offset)
        else:
            for k in range(int(rng.integers(1, 4))):
                turn = np.pi / 2 + rng.normal(0.0, 0.12)
                builder.stand("bicycle", street, station - 1.5 + 0.9 * k, offset + side * 0.15, turn, streets.KERB)


def _add_buildings(builder: _Builder, street: Street, side: int) -> None:
    """House fronts along the sidewalk, with yards between them where cars stand behind a wall."""
    rng, far = builder.rng, street.axis.end - 2.0
    main = street is builder.layout.main
    clear = builder.layout.open_from(street, streets.SIDEWALK if main else streets.SIDEWALK + 18.0)
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


def _add_front(builder: _Builder, street: Street, side: int, station: float, length: float, front: float) -> None:
    """Pillars and shop signs that break a flat house front."""
    rng = builder.rng
    for at in np.arange(1.0, length - 0.5, rng.uniform(2.5, 5.0)):
        pillar = block((-0.2, 0.2), (-0.18, 0.18), (0.0, rng.uniform(2.5, 4.5)), Material.CONCRETE)
        builder.fix(pillar, street, station + at, side * front)


def _add_yard(builder: _Builder, street: Street, side: int, station: float, length: float) -> None:
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


def _add_ground(builder: _Builder) -> None:
    corners = np.array([[-400.0, -400.0, 0], [400.0, -400.0, 0], [400.0, 400.0, 0], [-400.0, 400.0, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    builder.scenery.append(Mesh(corners, faces, np.full(2, Material.ASPHALT, np.uint8)))
    for street in builder.layout.streets():
        other, far = builder.layout.other(street), street.axis.end
        spans = [(-far, far)] if other is None else [(-far, -other.half_width), (other.half_width, far)]
        for side in (-1, 1):
            for first, last in spans:
                inner = side * street.half_width
                builder.scenery.append(_slab(street, first, last, inner, inner + side * 40.0))


# ---------------------------------------------------------------- the scene


def _set_in_motion(builder: _Builder, seconds: float) -> Array:
    """Drive the traffic, add its bodies to the objects, and return the ego car's poses [n, 5]."""
    rng = builder.rng
    stations = drive(builder.movers, builder.layout.signal, seconds, rng)
    for i, (mover, bodies) in enumerate(zip(builder.movers, builder.bodies, strict=True)):
        for kind, size, behind in bodies:
            part = Mover(mover.path, 0.0, 0.0, size[0] / 2, size[0] / 2, size[1])
            flat = part.poses(stations[:, i] - behind)
            raised = mover.on_foot and ~builder.layout.on_road(flat[:, :2])
            z = np.where(raised, streets.KERB, np.zeros(len(flat)))
            poses = np.column_stack([flat[:, :2], z, flat[:, 2]])
            builder.objects.append((kind, size, poses))
    flat = builder.movers[0].poses(stations[:, 0])
    speed = np.gradient(stations[:, 0], STEP)
    pitch = -0.004 * np.convolve(np.gradient(speed, STEP), np.full(5, 0.2), mode="same")  # the nose dives in braking
    return np.column_stack([flat[:, :2], np.zeros(len(flat)), flat[:, 2], pitch])


def build_world(seconds: float, rng: np.random.Generator) -> World:
    """Draw one scene of `seconds` from a generator: the same generator state gives the same world."""
    builder = _Builder(streets.draw_layout(rng), rng)
    middle = _add_ego(builder)
    _add_ground(builder)
    for street in builder.layout.streets():
        for side in (-1, 1):
            _add_buildings(builder, street, side)
    _add_parked(builder, middle)
    _add_traffic(builder, middle)
    _add_people(builder, middle)
    ego = _set_in_motion(builder, seconds)
    near = [o for o in builder.objects if np.hypot(*(o[2][:, :2] - ego[:, :2]).T).min() < HORIZON]
    return World(builder.layout, merge(builder.scenery), [_actor(*o, rng) for o in near], ego)
