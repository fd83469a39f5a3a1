"""How movers get on: everybody follows a path and decides, ten times a second, only how fast.

Speeds come from the intelligent driver model (Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000), with whatever stands
in a mover's swath as the one ahead; stop lines obey the signal, and pedestrians wait at the kerb for a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from remembev.simulate.streets import Array, Gate, Interval, Path, Signal

STEP = 0.1
WARM_UP = 6.0
SIGHT = 36.0  # metres of path that a driver watches, every LOOK metres
LOOK = 1.2
SIGHT_ON_FOOT = 2.0
FOR_GOOD = np.inf  # seconds of a pause that does not end
ACCELERATION, BRAKING, HEADWAY, STANDSTILL = 1.8, 2.5, 1.2, 2.0


@dataclass(frozen=True)
class Mover:
    """Who follows which path: where its centre starts, the speed it wants, and its extent about that centre.

    pauses are stations at which it stands still, in order, each with its seconds.
    """

    path: Path
    start: float
    speed: float
    front: float
    rear: float
    width: float
    gate: Gate | None = None
    on_foot: bool = False
    pauses: tuple[Interval, ...] = ()

    def discs(self) -> Array:
        """Offsets along the path of discs, as wide as the mover, that cover it [D]; a pedestrian's next step too."""
        if self.on_foot:
            return np.array([0.0, 0.9])
        inner = max(self.front + self.rear - self.width, 0.0)
        count = int(np.ceil(inner / (0.6 * self.width))) + 1
        return np.linspace(-self.rear + self.width / 2, self.front - self.width / 2, count)

    def poses(self, stations: Array) -> Array:
        """Poses (x, y, heading) [n, 3] with both axles on the path."""
        base = 0.3 * (2 * self.front)
        ahead, behind = self.path.at(stations + base), self.path.at(stations - base)
        heading = np.arctan2(ahead[:, 1] - behind[:, 1], ahead[:, 0] - behind[:, 0])
        return np.column_stack([(ahead[:, :2] + behind[:, :2]) / 2, np.unwrap(heading)])


def clashes(mover: Mover, others: list[Mover], margin: float) -> bool:
    """Whether a mover's start would be within `margin` of another's."""
    spot = mover.path.at(mover.start + mover.discs())[:, :2]
    for other in others:
        there = other.path.at(other.start + other.discs())[:, :2]
        gap = np.linalg.norm(spot[:, None] - there[None], axis=-1).min()
        if gap < (mover.width + other.width) / 2 + margin:
            return True
    return False


class Traffic:
    """All movers of a scene at one time: stations and speeds [M], advanced together."""

    def __init__(self, movers: list[Mover], signal: Signal, rng: np.random.Generator) -> None:
        self.movers, self.signal = movers, signal
        self.station = np.array([m.start for m in movers])
        self.wanted = np.array([m.speed for m in movers])
        self.speed = self.wanted * rng.uniform(0.6, 1.0, len(movers))
        self.front = np.array([m.front for m in movers])
        self.width = np.array([m.width for m in movers])
        self.on_foot = np.array([m.on_foot for m in movers])
        longest = max(len(m.path.points) for m in movers) + int(SIGHT) + 20
        reach = np.arange(longest, dtype=np.float64)
        self._track = np.stack([m.path.at(reach) for m in movers])  # [M, P, 3], a metre apart
        bend = np.abs(np.gradient(self._track[..., 2], axis=1))
        self._limit = np.sqrt(2.2 / np.maximum(bend, 1e-3))  # lateral acceleration of 2.2 m/s² at most
        self._pauses = {row: list(m.pauses) for row, m in enumerate(movers) if m.pauses}  # those to come, or going on
        self._owner = np.concatenate([np.full(len(m.discs()), i) for i, m in enumerate(movers)])
        self._offset = np.concatenate([m.discs() for m in movers])

    def _sample(self, who: NDArray[np.intp], station: Array) -> Array:
        """Poses [..., 3] at stations, from the tables of track points."""
        low = np.clip(station.astype(np.intp), 0, self._track.shape[1] - 2)
        share = (station - low)[..., None]
        poses: Array = self._track[who, low] * (1 - share) + self._track[who, low + 1] * share
        return poses

    def _room(self, rows: NDArray[np.intp], sight: float, margin: float) -> tuple[Array, Array]:
        """Free metres ahead of each row's front [R] and the speed, along its path, of what limits them [R]."""
        discs = self._sample(self._owner, self.station[self._owner] + self._offset)
        looks = np.arange(0.0, sight, LOOK)
        ahead = (self.station[rows] + self.front[rows])[:, None] + looks
        swath = self._sample(np.broadcast_to(rows[:, None], ahead.shape), ahead)
        reach = (self.width[rows, None] + self.width[None, self._owner]) / 2 + margin
        near, there = swath.astype(np.float32), discs.astype(np.float32)
        dx = near[..., None, 0] - there[:, 0]
        dy = near[..., None, 1] - there[:, 1]
        hit = dx * dx + dy * dy < (reach * reach)[:, None]
        hit &= (self._owner[None] != rows[:, None])[:, None]
        blocked = hit.any(2)
        first = blocked.argmax(1)
        index = np.arange(len(rows))
        disc = hit[index, first].argmax(1)
        turn = discs[disc, 2] - swath[index, first, 2]
        pace = np.maximum(self.speed[self._owner[disc]] * np.cos(turn), 0.0)
        free = ~blocked.any(1)
        return np.where(free, np.inf, looks[first]), np.where(free, 0.0, pace)

    def _may_walk(self, row: int, gate: Gate) -> bool:
        """Whether no vehicle will reach the crossing in front of a pedestrian's kerb soon."""
        middle = self.movers[row].path.at(gate.station + 5.0)[:2]
        driving = ~self.on_foot & (self.speed > 0.3)
        pose = self._sample(np.flatnonzero(driving), self.station[driving])
        delta = middle - pose[:, :2]
        closing = delta[:, 0] * np.cos(pose[:, 2]) + delta[:, 1] * np.sin(pose[:, 2]) > -6.0
        return not bool((closing & (np.hypot(*delta.T) < 8.0 + 3.5 * self.speed[driving])).any())

    def _gate_room(self, time: float) -> Array:
        """Metres to a closed gate [M]; infinite where it is open, passed, or too near to brake for."""
        room = np.full(len(self.movers), np.inf)
        for row, mover in enumerate(self.movers):
            if mover.gate is None:
                continue
            gap = mover.gate.station - self.station[row] - mover.front
            if not -0.5 < gap < (1.0 if mover.on_foot else SIGHT) or self.speed[row] ** 2 > 10.0 * max(gap, 0.05):
                continue
            approach = mover.gate.approach
            is_open = self._may_walk(row, mover.gate) if approach is None else self.signal.is_open(approach, time)
            if not is_open:
                room[row] = max(gap, 0.0) + (STANDSTILL if approach is not None else 0.3)
        return room

    def _pause_room(self) -> Array:
        """Metres to the station of each mover's next pause [M]; infinite where there is none. Time at one runs off."""
        room = np.full(len(self.movers), np.inf)
        for row, pauses in self._pauses.items():
            if not pauses:
                continue
            station, seconds = pauses[0]
            gap = station - self.station[row]
            room[row] = max(gap, 0.0) + (0.2 if self.on_foot[row] else STANDSTILL)
            if gap < 0.3:
                pauses[:1] = [(station, seconds - STEP)] if seconds > STEP else []
        return room

    def advance(self, time: float) -> None:
        """One step of STEP seconds from `time`."""
        gate = np.minimum(self._gate_room(time), self._pause_room())
        room, pace = np.full(len(self.movers), np.inf), np.zeros(len(self.movers))
        for rows, sight, margin in (
            (np.flatnonzero(~self.on_foot), SIGHT, 0.3),
            (np.flatnonzero(self.on_foot), SIGHT_ON_FOOT, 0.35),
        ):
            if len(rows):
                room[rows], pace[rows] = self._room(rows, sight, margin)
        pace = np.where(gate < room, 0.0, pace)
        room = np.minimum(room, gate)
        near = np.clip(self.station.astype(np.intp)[:, None] + np.arange(8), 0, self._limit.shape[1] - 1)
        limit = self._limit[np.arange(len(self.movers))[:, None], near].min(1)
        wanted = np.where(self.on_foot, self.wanted, np.minimum(self.wanted, limit))
        self.speed = self._next_speed(room, pace, wanted)
        self.station = self.station + self.speed * STEP

    def _next_speed(self, room: Array, pace: Array, wanted: Array) -> Array:
        standstill = np.where(self.on_foot, 0.2, STANDSTILL)
        headway = np.where(self.on_foot, 0.3, HEADWAY)
        closing = self.speed * (self.speed - pace) / (2 * np.sqrt(ACCELERATION * BRAKING))
        desired = standstill + np.maximum(self.speed * headway + closing, 0.0)
        braking = (desired / np.maximum(room, 0.1)) ** 2
        change = ACCELERATION * (1 - (self.speed / wanted) ** 4 - braking)
        speed: Array = np.maximum(self.speed + np.clip(change, -8.0, ACCELERATION) * STEP, 0.0)
        return speed


def drive(movers: list[Mover], signal: Signal, seconds: float, rng: np.random.Generator) -> Array:
    """Stations [n, M] of all movers every STEP seconds from 0 to at least `seconds`, after a warm-up."""
    traffic = Traffic(movers, signal, rng)
    steps = int(np.ceil(seconds / STEP)) + 1
    warm_up = int(WARM_UP / STEP)
    stations = []
    for step in range(-warm_up, steps + 1):
        if step >= 0:
            stations.append(traffic.station)
        traffic.advance(step * STEP)
    return np.array(stations)
