"""The world of one scene: scenery, actors and the ego car's drive, and the builder that puts one together.

What is placed where is decided in placement/ and sets/. Coordinates are the scene's own (streets.py), in metres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from remembev.simulate import streets
from remembev.simulate.meshes import Array, Mesh, Vec3, merge
from remembev.simulate.objects import KINDS
from remembev.simulate.streets import Layout, Route, Street
from remembev.simulate.traffic import STEP, Mover, Pause, collides, simulate_traffic

CLEARANCE = 0.03  # boxes start this far above the ground, so that the ground's points stay outside
FILL = 0.98  # share of its box's length and width that a shape fills
MAX_DISTANCE = 90.0  # objects that never come nearer to the ego car are left out
TOUCH_STEPS = 3  # steps of a mover's poses between two looks at what it touches
REACH = 2.1  # metres above the ground within which scenery is in a pedestrian's way
OVER_BOXES = 0.1  # metres that scenery stays above the boxes under it
VEHICLE_REACH = 4.2  # metres above the ground within which it is in a vehicle's
EGO_SIZE: Vec3 = (4.08, 1.73, 1.56)


@dataclass(frozen=True)
class Actor:
    """An annotated object.

    Attributes:
        kind: Name in KINDS.
        size: Length, width and height of its box.
        mesh: Its shape, about the centre of its base.
        poses: [n, 4], x, y, z of its base and yaw (unwrapped), every STEP seconds; one row if it never moves.
    """

    kind: str
    size: Vec3
    mesh: Mesh
    poses: Array

    @property
    def category(self) -> str:
        """The full nuScenes category."""
        return KINDS[self.kind].category

    @property
    def moves(self) -> bool:
        """True unless the object is parked or fixed for the whole scene."""
        return len(self.poses) > 1


@dataclass(frozen=True)
class World:
    """One scene: its streets, scenery and actors, and the ego car's x, y, z, yaw, pitch every STEP seconds [n, 5]."""

    layout: Layout
    scenery: Mesh
    actors: list[Actor]
    ego: Array


def poses_at(poses: Array, time: Array | float) -> Array:
    """Interpolate poses linearly.

    Args:
        poses: [n, ..., C], a row every STEP seconds; a single row holds for all times.
        time: [...], in seconds.
    """
    if len(poses) == 1:
        return np.broadcast_to(poses[0], (*np.shape(time), *poses.shape[1:]))
    index = np.asarray(time) / STEP
    low = np.clip(np.floor(index).astype(int), 0, len(poses) - 2)
    share = (index - low)[(...,) + (None,) * (poses.ndim - 1)]
    result: Array = poses[low] * (1 - share) + poses[low + 1] * share
    return result


class Body(NamedTuple):
    """An object that a mover carries: its kind, its size, and how many metres behind and left of the centre it is."""

    kind: str
    size: Vec3
    behind: float
    left: float = 0.0


class PlacedObject(NamedTuple):
    """An object with its poses [n, 4]: an actor, if it comes near the ego car."""

    kind: str
    size: Vec3
    poses: Array


def _make_actor(placed: PlacedObject, rng: np.random.Generator) -> Actor:
    length, width, height = placed.size
    mesh = KINDS[placed.kind].build_sized(length * FILL, width * FILL, height - 0.01, rng)
    return Actor(placed.kind, placed.size, mesh, placed.poses + np.array([0.0, 0.0, CLEARANCE, 0.0]))


def _footprint_discs(centre: Array, yaw: float, length: float, width: float) -> Array:
    """Return discs (x, y, radius) [D, 3] that cover a footprint, in a row along its longer side."""
    long, short, yaw = (length, width, yaw) if length > width else (width, length, yaw + np.pi / 2)
    along = np.linspace(-0.5, 0.5, int(np.ceil(2 * long / short)) - 1) * (long - short)
    xy = centre + along[:, None] * (np.cos(yaw), np.sin(yaw))
    return np.column_stack([xy, np.full(len(xy), short / 2)])


def _ground_discs(mesh: Mesh, at: Array, yaw: float) -> Array:
    """Return discs (x, y, radius) [D, 3] over the rectangle about what a pedestrian could touch of a placed mesh."""
    return _covering_discs(mesh.vertices[mesh.vertices[:, 2] < REACH, :2], at, yaw)


def _overhang(mesh: Mesh) -> Array:
    """Return the vertices [V, 3] above a pedestrian's reach of the triangles that come down into a vehicle's."""
    corners = mesh.vertices[mesh.faces]
    places: Array = corners[corners[..., 2].min(1) < VEHICLE_REACH].reshape(-1, 3)
    return places[places[:, 2] >= REACH]


def _covering_discs(places: Array, at: Array, yaw: float) -> Array:
    """Return discs (x, y, radius) [D, 3] over the rectangle about places [V, 2] of a mesh that is then placed."""
    low, high = places.min(0), places.max(0)
    size = np.maximum(high - low, 0.2)
    cell = float(np.clip(size.min(), 0.2, 1.5))
    counts = np.ceil(size / cell).astype(int)
    x, y = (
        (np.arange(n) + 0.5) / n * s - s / 2 + (a + b) / 2 for n, s, a, b in zip(counts, size, low, high, strict=True)
    )
    radius = float(np.hypot(*(size / counts))) / 2
    xy = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    c, s = np.cos(yaw), np.sin(yaw)
    return np.column_stack([xy @ np.array([[c, s], [-s, c]]) + at, np.full(len(xy), radius)])


class Obstacle(NamedTuple):
    """Scenery that no object may touch: discs (x, y, radius) under it and under its overhang, and its headroom in m."""

    ground: Array
    above: Array
    headroom: float


class Ground(Protocol):
    """Ground beside a street that isn't level."""

    def height(self, station: Array | float, distance: Array | float) -> Array:
        """Return the height above the sidewalk's level at stations and distances from the axis."""


class WorldBuilder:
    """Collects a scene's objects, movers and scenery; `build` drives the traffic and returns the world."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self.layout, self.rng = layout, rng
        self.scenery: list[Mesh] = []
        self.obstacles: dict[int, Obstacle] = {}  # scenery of an index that is left out if an object touches it
        self.slopes: dict[int, Ground] = {}  # of the sides of the main street that aren't level
        self.objects: list[PlacedObject] = []
        self.occupied = np.zeros((0, 3))  # discs (x, y, radius) that cover what stands
        self.walkways = np.zeros((0, 2))  # points that pedestrians will walk over
        self.movers: list[Mover] = []
        self.bodies: list[list[Body]] = []  # of each mover

    def random_sign(self) -> int:
        """Draw -1 or 1: a side of the street or a direction along it."""
        return int(self.rng.choice([-1, 1]))

    def random_yaw(self) -> float:
        """Draw a heading in radians."""
        return self.rng.uniform(-np.pi, np.pi)

    def random_kind(self, shares: Mapping[str, float]) -> str:
        """Draw a name with the given probabilities."""
        return str(self.rng.choice(list(shares), p=list(shares.values())))

    def add_object(
        self, kind: str, street: Street, station: float, offset: float, turn: float = 0.0, z: float = 0.0
    ) -> bool:
        """Place a static object beside a street's axis, turned against its heading, if the place is free."""
        x, y, heading = street.axis.at(station, offset)
        return self.add_object_at(kind, np.array([x, y, z, heading + turn]))

    def add_object_at(self, kind: str, pose: Array) -> bool:
        """Place a static object at a pose (x, y, z, yaw), if the place is free."""
        size = KINDS[kind].draw_size(self.rng)
        if not self._occupy(_footprint_discs(pose[:2], float(pose[3]), size[0], size[1])):
            return False
        self.objects.append(PlacedObject(kind, size, pose[None]))
        return True

    def add_scenery(self, mesh: Mesh, street: Street, station: float, offset: float, turn: float = 0.0) -> None:
        """Place scenery on the ground beside a street's axis."""
        x, y, heading = street.axis.at(station, offset)
        self.scenery.append(mesh.placed(x, y, self.ground_height(street, station, offset), heading + turn))

    def ground_height(self, street: Street, station: float, offset: float) -> float:
        """Return by how much the ground is higher than the sidewalk beside a street's axis."""
        slope = self.slopes.get(int(np.sign(offset))) if street is self.layout.main else None
        return 0.0 if slope is None else float(slope.height(station, abs(offset)))

    def add_obstacle(self, mesh: Mesh, street: Street, station: float, offset: float, turn: float = 0.0) -> bool:
        """Place scenery where pedestrians might stand or walk, if the place is free, and occupy its ground."""
        x, y, heading = street.axis.at(station, offset)
        discs = _ground_discs(mesh, np.array([x, y]), heading + turn)
        if not self._occupy(discs):
            return False
        overhang = _overhang(mesh)
        above = _covering_discs(overhang[:, :2], np.array([x, y]), heading + turn) if len(overhang) else discs[:0]
        self.obstacles[len(self.scenery)] = Obstacle(discs, above, overhang[:, 2].min(initial=VEHICLE_REACH))
        self.add_scenery(mesh, street, station, offset, turn)
        return True

    def add_building(self, mesh: Mesh, street: Street, station: float, offset: float, turn: float = 0.0) -> None:
        """Place scenery that may adjoin other scenery, and occupy its ground."""
        x, y, heading = street.axis.at(station, offset)
        discs = _ground_discs(mesh, np.array([x, y]), heading + turn)
        self.occupied = np.concatenate([self.occupied, discs])
        self.add_scenery(mesh, street, station, offset, turn)

    def reserve_lane(self, street: Street, offset: float, half_width: float) -> None:
        """Occupy a lane's ground, so that nobody is placed there later."""
        xy = street.axis.at(street.axis.stations, offset)[:, :2]
        self.occupied = np.concatenate([self.occupied, np.column_stack([xy, np.full(len(xy), half_width)])])

    def is_free(self, xy: Array, radius: float) -> bool:
        """Return True if nothing stands within `radius` of the points [n, 2]."""
        low, high = xy.min(0) - radius, xy.max(0) + radius
        centres, size = self.occupied[:, :2], self.occupied[:, 2:]
        near = self.occupied[((centres + size > low) & (centres - size < high)).all(1)]
        dx, dy = (xy[:, None, i] - near[None, :, i] for i in (0, 1))
        reach = near[:, 2] + radius - 0.05
        return not bool((dx * dx + dy * dy < reach * reach).any())

    def is_blocked(self, xy: Array, radius: float) -> bool:
        """Return True if a disc at a point [2] would touch an object's box or bar a pedestrian's way."""
        poses = np.array([placed.poses[0] for placed in self.objects]).reshape(-1, 4)
        halves = np.array([placed.size for placed in self.objects]).reshape(-1, 3)[:, :2] / 2
        delta, (c, s) = xy - poses[:, :2], (f(poses[:, 3]) for f in (np.cos, np.sin))
        local = np.stack([c * delta[:, 0] + s * delta[:, 1], c * delta[:, 1] - s * delta[:, 0]], axis=1)
        gaps = np.hypot(*np.maximum(np.abs(local) - halves, 0.0).T)
        return bool((gaps < radius).any() or (np.hypot(*(xy - self.walkways).T) < radius + 0.4).any())

    def add_ego(self, route: Route, start: float, speed: float, pauses: Sequence[Pause] = ()) -> None:
        """Add the ego car, which has to be the first mover, at a station of its route."""
        half = EGO_SIZE[0] / 2
        mover = Mover(route.path, start, speed, half, half, EGO_SIZE[1], route.gate, pauses=tuple(pauses))
        self.add_mover(mover, [], 0.0)

    def add_mover(self, mover: Mover, bodies: list[Body], margin: float) -> bool:
        """Add a mover unless its start is within `margin` metres of another's."""
        if collides(mover, self.movers, margin):
            return False
        self.movers.append(mover)
        self.bodies.append(bodies)
        return True

    def build(self, seconds: float) -> World:
        """Simulate `seconds` of traffic and return the world; what comes near the ego car becomes an actor."""
        ego = self._drive(seconds)
        scenery = merge(self._untouched_scenery())
        near = [o for o in self.objects if np.hypot(*(o.poses[:, :2] - ego[:, :2]).T).min() < MAX_DISTANCE]
        return World(self.layout, scenery, [_make_actor(placed, self.rng) for placed in near], ego)

    def _occupy(self, discs: Array) -> bool:
        """Occupy the ground under discs of one radius [D, 3], if it is free."""
        if not self.is_free(discs[:, :2], discs[0, 2]):
            return False
        self.occupied = np.concatenate([self.occupied, discs])
        return True

    def _untouched_scenery(self) -> list[Mesh]:
        """Return the scenery without obstacles that an object's box touches at any time."""
        if not self.obstacles:
            return self.scenery
        places = [
            (i, discs, height)
            for i, o in self.obstacles.items()
            for discs, height in ((o.ground, 0.0), (o.above, o.headroom))
        ]
        discs = np.concatenate([found for _, found, _ in places])
        counts = [len(found) for _, found, _ in places]
        owners, heights = (np.repeat([place[k] for place in places], counts) for k in (0, 2))
        touched = np.zeros(len(discs), bool)
        for placed in self.objects:
            half = np.array(placed.size[:2]) / 2
            poses = placed.poses[::TOUCH_STEPS]
            reach = np.hypot(*half) + 1.5
            low, high = poses[:, :2].min(0) - reach, poses[:, :2].max(0) + reach
            near = ((discs[:, :2] > low) & (discs[:, :2] < high)).all(1)
            rows = np.flatnonzero(near & (heights < placed.size[2] + OVER_BOXES))
            delta, c, s = discs[rows, None, :2] - poses[:, :2], np.cos(poses[:, 3]), np.sin(poses[:, 3])
            local = np.stack([c * delta[..., 0] + s * delta[..., 1], c * delta[..., 1] - s * delta[..., 0]], axis=-1)
            gaps = np.linalg.norm(np.maximum(np.abs(local) - half, 0.0), axis=-1).min(1)
            touched[rows] |= gaps < discs[rows, 2]
        left_out = set(owners[touched].tolist())
        return [mesh for index, mesh in enumerate(self.scenery) if index not in left_out]

    def _drive(self, seconds: float) -> Array:
        """Simulate the traffic, add its bodies to the objects, and return the ego car's poses [n, 5]."""
        stations = simulate_traffic(self.movers, self.layout.signal, seconds, self.rng)
        for i, (mover, bodies) in enumerate(zip(self.movers, self.bodies, strict=True)):
            for kind, size, behind, left in bodies:
                body = Mover(mover.path, 0.0, 0.0, size[0] / 2, size[0] / 2, size[1])
                flat = body.poses(stations[:, i] - behind)
                flat[:, :2] += left * np.stack([-np.sin(flat[:, 2]), np.cos(flat[:, 2])], axis=1)
                raised = mover.on_foot and ~self.layout.on_road(flat[:, :2])
                z = np.where(raised, streets.KERB, np.zeros(len(flat)))
                self.objects.append(PlacedObject(kind, size, np.column_stack([flat[:, :2], z, flat[:, 2]])))
        flat = self.movers[0].poses(stations[:, 0])
        acceleration = np.gradient(np.gradient(stations[:, 0], STEP), STEP)
        pitch = -0.004 * np.convolve(acceleration, np.full(5, 0.2), mode="same")  # the nose dives under braking
        return np.column_stack([flat[:, :2], np.zeros(len(flat)), flat[:, 2], pitch])
