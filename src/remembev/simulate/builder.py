"""A scene while it is drawn: what stands, who will move, and the scenery; `finish` drives it and makes it a world.

Who puts what where is parts/ and sets/.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from remembev.simulate import streets
from remembev.simulate.shapes import KINDS, Mesh, Triple, draw_size, merge
from remembev.simulate.streets import Array, Interval, Layout, Route, Street
from remembev.simulate.traffic import STEP, Mover, clashes, drive
from remembev.simulate.world import Actor, World

CLEARANCE = 0.03  # boxes begin this far above the ground, so that the ground's returns stay outside
TIGHTNESS = 0.98  # how much of its box's length and width a shape fills
HORIZON = 90.0  # what never comes nearer to the ego car is left out
EGO_SIZE: Triple = (4.08, 1.73, 1.56)

Body = tuple[str, Triple, float]  # kind, size, and distance behind the mover that carries it


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


class Builder:
    """Collects a scene's objects, movers and scenery while it is drawn."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self.layout, self.rng = layout, rng
        self.scenery: list[Mesh] = []
        self.objects: list[tuple[str, Triple, Array]] = []  # kind, size and poses of what will be an actor
        self.occupied = np.zeros((0, 3))  # discs (x, y, radius) that cover what stands
        self.ways = np.zeros((0, 2))  # points of what people will walk over
        self.movers: list[Mover] = []
        self.bodies: list[list[Body]] = []  # a mover's objects: kind, size, distance behind

    def stand(
        self, kind: str, street: Street, station: float, offset: float, turn: float = 0.0, z: float = 0.0
    ) -> bool:
        """Put an object that never moves beside a street's axis, turned against its heading, if the place is free."""
        x, y, heading = street.axis.at(station, offset)
        return self.stand_at(kind, np.array([x, y, z, heading + turn]))

    def stand_at(self, kind: str, pose: Array) -> bool:
        """Put an object that never moves at a pose (x, y, z, yaw), if the place is free."""
        size = draw_size(KINDS[kind], self.rng)
        discs = _discs(pose[:2], float(pose[3]), size)
        if not self.is_free(discs[:, :2], discs[0, 2]):
            return False
        self.occupied = np.concatenate([self.occupied, discs])
        self.objects.append((kind, size, pose[None]))
        return True

    def is_free(self, xy: Array, radius: float) -> bool:
        """Whether nothing stands within `radius` of the points [n, 2]."""
        dx, dy = (xy[:, None, i] - self.occupied[None, :, i] for i in (0, 1))
        reach = self.occupied[:, 2] + radius - 0.05
        return not bool((dx * dx + dy * dy < reach * reach).any())

    def is_in_the_way(self, xy: Array, radius: float) -> bool:
        """Whether somebody of this radius at a point [2] would touch what stands, corners included, or bar a way."""
        poses = np.array([poses[0] for _, _, poses in self.objects]).reshape(-1, 4)
        halves = np.array([size for _, size, _ in self.objects]).reshape(-1, 3)[:, :2] / 2
        delta, (c, s) = xy - poses[:, :2], (f(poses[:, 3]) for f in (np.cos, np.sin))
        local = np.stack([c * delta[:, 0] + s * delta[:, 1], c * delta[:, 1] - s * delta[:, 0]], axis=1)
        gaps = np.hypot(*np.maximum(np.abs(local) - halves, 0.0).T)
        return bool((gaps < radius).any() or (np.hypot(*(xy - self.ways).T) < radius + 0.4).any())

    def fix(self, mesh: Mesh, street: Street, station: float, offset: float, turn: float = 0.0) -> None:
        """Put scenery beside a street's axis."""
        x, y, heading = street.axis.at(station, offset)
        self.scenery.append(mesh.placed(x, y, 0.0, heading + turn))

    def fix_in_the_way(self, mesh: Mesh, street: Street, station: float, offset: float, turn: float = 0.0) -> bool:
        """Put scenery where people might stand or walk, if the place is free; its ground is taken from then on."""
        x, y, heading = street.axis.at(station, offset)
        within_reach = mesh.vertices[mesh.vertices[:, 2] < 2.0]
        length, width, _ = np.maximum(np.ptp(within_reach, axis=0), 0.1)
        discs = _discs(np.array([x, y]), heading + turn, (length, width, 0.0))
        if not self.is_free(discs[:, :2], discs[0, 2]):
            return False
        self.occupied = np.concatenate([self.occupied, discs])
        self.fix(mesh, street, station, offset, turn)
        return True

    def keep_clear(self, street: Street, offset: float, half_width: float) -> None:
        """Take the ground of a lane, so that nobody stands there afterwards."""
        xy = street.axis.at(street.axis.stations, offset)[:, :2]
        self.occupied = np.concatenate([self.occupied, np.column_stack([xy, np.full(len(xy), half_width)])])

    def add_ego(self, route: Route, start: float, speed: float, pauses: Sequence[Interval] = ()) -> None:
        """Let the ego car go first: from a station of its route, with pauses (station, seconds) on its way."""
        half = EGO_SIZE[0] / 2
        mover = Mover(route.path, start, speed, half, half, EGO_SIZE[1], route.gate, pauses=tuple(pauses))
        self.add_mover(mover, [], 0.0)

    def add_mover(self, mover: Mover, bodies: list[Body], margin: float) -> bool:
        """Add a mover unless its start is taken."""
        if clashes(mover, self.movers, margin):
            return False
        self.movers.append(mover)
        self.bodies.append(bodies)
        return True

    def finish(self, seconds: float) -> World:
        """Drive the traffic for `seconds` and make everything that comes near the ego car an actor."""
        ego = self._set_in_motion(seconds)
        near = [o for o in self.objects if np.hypot(*(o[2][:, :2] - ego[:, :2]).T).min() < HORIZON]
        return World(self.layout, merge(self.scenery), [_actor(*o, self.rng) for o in near], ego)

    def _set_in_motion(self, seconds: float) -> Array:
        """Drive the traffic, add its bodies to the objects, and return the ego car's poses [n, 5]."""
        stations = drive(self.movers, self.layout.signal, seconds, self.rng)
        for i, (mover, bodies) in enumerate(zip(self.movers, self.bodies, strict=True)):
            for kind, size, behind in bodies:
                part = Mover(mover.path, 0.0, 0.0, size[0] / 2, size[0] / 2, size[1])
                flat = part.poses(stations[:, i] - behind)
                raised = mover.on_foot and ~self.layout.on_road(flat[:, :2])
                z = np.where(raised, streets.KERB, np.zeros(len(flat)))
                self.objects.append((kind, size, np.column_stack([flat[:, :2], z, flat[:, 2]])))
        flat = self.movers[0].poses(stations[:, 0])
        speed = np.gradient(stations[:, 0], STEP)
        pitch = -0.004 * np.convolve(
            np.gradient(speed, STEP), np.full(5, 0.2), mode="same"
        )  # the nose dives in braking
        return np.column_stack([flat[:, :2], np.zeros(len(flat)), flat[:, 2], pitch])
