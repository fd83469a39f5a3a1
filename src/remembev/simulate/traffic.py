"""Motion of vehicles and pedestrians: each follows a fixed path and chooses, ten times a second, only its speed.

Speeds follow the intelligent driver model (Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000); the leader is whatever
stands in a mover's swath. Vehicles obey the signal at stop lines, and pedestrians wait at the kerb for a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from remembev.simulate.meshes import Array
from remembev.simulate.streets import Gate, Path, Signal

STEP = 0.1  # seconds
WARM_UP = 6.0  # seconds
SIGHT = 36.0  # metres of path that a driver watches, every SIGHT_SPACING metres
SIGHT_SPACING = 1.2
SIGHT_ON_FOOT = 2.0
FOREVER = np.inf  # seconds of a pause that does not end
ACCELERATION, BRAKING, HEADWAY, STANDSTILL = 1.8, 2.5, 1.2, 2.0  # m/s², m/s², s, m
LATERAL_ACCELERATION = 2.2  # m/s², the limit in bends

Pause = tuple[float, float]  # station (m) and duration (s)


@dataclass(frozen=True)
class Mover:
    """A vehicle or pedestrian on a path.

    Attributes:
        path: The path it follows.
        start: Station of its centre at the start.
        speed: Desired speed, m/s.
        front: Its extent ahead of its centre.
        rear: Its extent behind its centre, towed trailers included.
        width: Its width.
        gate: Where it waits.
        on_foot: True for pedestrians.
        pauses: Where it stands still, in order.
    """

    path: Path
    start: float
    speed: float
    front: float
    rear: float
    width: float
    gate: Gate | None = None
    on_foot: bool = False
    pauses: tuple[Pause, ...] = ()

    def disc_offsets(self) -> Array:
        """Return offsets [D] of discs, as wide as the mover, that cover it; and a pedestrian's next step."""
        if self.on_foot:
            return np.array([0.0, 0.9])
        inner = max(self.front + self.rear - self.width, 0.0)
        count = int(np.ceil(inner / (0.6 * self.width))) + 1
        return np.linspace(-self.rear + self.width / 2, self.front - self.width / 2, count)

    def poses(self, stations: Array) -> Array:
        """Return poses (x, y, heading) [n, 3] with both axles on the path."""
        base = 0.3 * (2 * self.front)
        ahead, behind = self.path.at(stations + base), self.path.at(stations - base)
        heading = np.arctan2(ahead[:, 1] - behind[:, 1], ahead[:, 0] - behind[:, 0])
        return np.column_stack([(ahead[:, :2] + behind[:, :2]) / 2, np.unwrap(heading)])


def collides(mover: Mover, others: list[Mover], margin: float) -> bool:
    """Return True if a mover's start is within `margin` metres of another's."""
    discs = mover.path.at(mover.start + mover.disc_offsets())[:, :2]
    for other in others:
        other_discs = other.path.at(other.start + other.disc_offsets())[:, :2]
        gap = np.linalg.norm(discs[:, None] - other_discs[None], axis=-1).min()
        if gap < (mover.width + other.width) / 2 + margin:
            return True
    return False


def simulate_traffic(movers: list[Mover], signal: Signal, seconds: float, rng: np.random.Generator) -> Array:
    """Return the stations [n, M] of all movers every STEP seconds from 0 to at least `seconds`, after a warm-up."""
    traffic = Traffic(movers, signal, rng)
    steps = int(np.ceil(seconds / STEP)) + 1
    stations = []
    for step in range(-int(WARM_UP / STEP), steps + 1):
        if step >= 0:
            stations.append(traffic.station)
        traffic.advance(step * STEP)
    return np.array(stations)


class Traffic:
    """All movers of a scene at one time: stations and speeds [M], advanced together."""

    def __init__(self, movers: list[Mover], signal: Signal, rng: np.random.Generator) -> None:
        self.movers, self.signal = movers, signal
        self.station = np.array([m.start for m in movers])
        self.desired = np.array([m.speed for m in movers])
        self.speed = self.desired * rng.uniform(0.6, 1.0, len(movers))
        self.front = np.array([m.front for m in movers])
        self.width = np.array([m.width for m in movers])
        self.on_foot = np.array([m.on_foot for m in movers])
        longest = max(len(m.path.points) for m in movers) + int(SIGHT) + 20
        stations = np.arange(longest, dtype=np.float64)
        self._poses = np.stack([m.path.at(stations) for m in movers])  # [M, P, 3], a metre apart
        curvature = np.abs(np.gradient(self._poses[..., 2], axis=1))
        self._speed_limit = np.sqrt(LATERAL_ACCELERATION / np.maximum(curvature, 1e-3))
        self._pauses = {row: list(m.pauses) for row, m in enumerate(movers) if m.pauses}  # ahead or under way
        self._disc_owner = np.concatenate([np.full(len(m.disc_offsets()), i) for i, m in enumerate(movers)])
        self._disc_offset = np.concatenate([m.disc_offsets() for m in movers])

    def advance(self, time: float) -> None:
        """Advance by STEP seconds from `time`."""
        gate = np.minimum(self._gate_distance(time), self._pause_distance())
        gap, leader_speed = np.full(len(self.movers), np.inf), np.zeros(len(self.movers))
        for rows, sight, margin in (
            (np.flatnonzero(~self.on_foot), SIGHT, 0.3),
            (np.flatnonzero(self.on_foot), SIGHT_ON_FOOT, 0.35),
        ):
            if len(rows):
                gap[rows], leader_speed[rows] = self._leader(rows, sight, margin)
        leader_speed = np.where(gate < gap, 0.0, leader_speed)
        gap = np.minimum(gap, gate)
        near = np.clip(self.station.astype(np.intp)[:, None] + np.arange(8), 0, self._speed_limit.shape[1] - 1)
        limit = self._speed_limit[np.arange(len(self.movers))[:, None], near].min(1)
        desired = np.where(self.on_foot, self.desired, np.minimum(self.desired, limit))
        self.speed = self._next_speed(gap, leader_speed, desired)
        self.station = self.station + self.speed * STEP

    def _next_speed(self, gap: Array, leader_speed: Array, desired: Array) -> Array:
        """Return speeds [M] after one step of the intelligent driver model."""
        standstill = np.where(self.on_foot, 0.2, STANDSTILL)
        headway = np.where(self.on_foot, 0.3, HEADWAY)
        closing = self.speed * (self.speed - leader_speed) / (2 * np.sqrt(ACCELERATION * BRAKING))
        desired_gap = standstill + np.maximum(self.speed * headway + closing, 0.0)
        braking = (desired_gap / np.maximum(gap, 0.1)) ** 2
        change = ACCELERATION * (1 - (self.speed / desired) ** 4 - braking)
        speed: Array = np.maximum(self.speed + np.clip(change, -8.0, ACCELERATION) * STEP, 0.0)
        return speed

    def _poses_at(self, rows: NDArray[np.intp], station: Array) -> Array:
        """Return poses [..., 3] of movers at stations of their paths."""
        low = np.clip(station.astype(np.intp), 0, self._poses.shape[1] - 2)
        share = (station - low)[..., None]
        poses: Array = self._poses[rows, low] * (1 - share) + self._poses[rows, low + 1] * share
        return poses

    def _leader(self, rows: NDArray[np.intp], sight: float, margin: float) -> tuple[Array, Array]:
        """Return the free metres [R] ahead of each row's front and the speed [R], along its path, of what is there."""
        discs = self._poses_at(self._disc_owner, self.station[self._disc_owner] + self._disc_offset)
        looks = np.arange(0.0, sight, SIGHT_SPACING)
        ahead = (self.station[rows] + self.front[rows])[:, None] + looks
        swath = self._poses_at(np.broadcast_to(rows[:, None], ahead.shape), ahead)
        reach = (self.width[rows, None] + self.width[None, self._disc_owner]) / 2 + margin
        swath32, discs32 = swath.astype(np.float32), discs.astype(np.float32)
        dx = swath32[..., None, 0] - discs32[:, 0]
        dy = swath32[..., None, 1] - discs32[:, 1]
        hit = dx * dx + dy * dy < (reach * reach)[:, None]
        hit &= (self._disc_owner[None] != rows[:, None])[:, None]
        blocked = hit.any(2)
        first = blocked.argmax(1)
        index = np.arange(len(rows))
        disc = hit[index, first].argmax(1)
        turn = discs[disc, 2] - swath[index, first, 2]
        speed = np.maximum(self.speed[self._disc_owner[disc]] * np.cos(turn), 0.0)
        free = ~blocked.any(1)
        return np.where(free, np.inf, looks[first]), np.where(free, 0.0, speed)

    def _may_cross(self, row: int, gate: Gate) -> bool:
        """Return True if no vehicle will soon reach the place where a pedestrian at the kerb wants to cross."""
        middle = self.movers[row].path.at(gate.station + 5.0)[:2]
        driving = ~self.on_foot & (self.speed > 0.3)
        pose = self._poses_at(np.flatnonzero(driving), self.station[driving])
        delta = middle - pose[:, :2]
        closing = delta[:, 0] * np.cos(pose[:, 2]) + delta[:, 1] * np.sin(pose[:, 2]) > -6.0
        return not bool((closing & (np.hypot(*delta.T) < 8.0 + 3.5 * self.speed[driving])).any())

    def _gate_distance(self, time: float) -> Array:
        """Return the metres [M] to a closed gate; infinite where it is open, passed, or too near to brake for."""
        distance = np.full(len(self.movers), np.inf)
        for row, mover in enumerate(self.movers):
            if mover.gate is None:
                continue
            gap = mover.gate.station - self.station[row] - mover.front
            if not -0.5 < gap < (1.0 if mover.on_foot else SIGHT) or self.speed[row] ** 2 > 10.0 * max(gap, 0.05):
                continue
            approach = mover.gate.approach
            is_open = self._may_cross(row, mover.gate) if approach is None else self.signal.is_green(approach, time)
            if not is_open:
                distance[row] = max(gap, 0.0) + (STANDSTILL if approach is not None else 0.3)
        return distance

    def _pause_distance(self) -> Array:
        """Return the metres [M] to each mover's next pause, infinite without one; count down pauses under way."""
        distance = np.full(len(self.movers), np.inf)
        for row, pauses in self._pauses.items():
            if not pauses:
                continue
            station, seconds = pauses[0]
            gap = station - self.station[row]
            distance[row] = max(gap, 0.0) + (0.2 if self.on_foot[row] else STANDSTILL)
            if gap < 0.3:
                pauses[:1] = [(station, seconds - STEP)] if seconds > STEP else []
        return distance
