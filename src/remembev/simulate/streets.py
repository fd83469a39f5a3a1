"""Where things may be: paths, streets with lanes, kerbs and sidewalks, a crossing with its signal.

Coordinates are the scene's own, in metres, with the crossing (or the middle of the street) at the origin.
Offsets are to the left of the axis. Traffic keeps to the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

LANE = 3.4
CYCLE_LANE = 1.7
PARKING = 2.7
SIDEWALK = 4.2
KERB = 0.14
STOP_LINE = 5.5  # metres before the cross street's kerb: room for a crosswalk


def overlaps(span: Interval, taken: list[Interval]) -> bool:
    """Whether a span shares ground with one of those taken."""
    return any(span[0] < high and low < span[1] for low, high in taken)


@dataclass(frozen=True)
class Path:
    """A curve sampled about every metre: points [n, 2], stations [n] (m), headings [n] (rad, unwrapped)."""

    points: Array
    stations: Array
    headings: Array

    @staticmethod
    def through(points: Array, first_station: float = 0.0) -> Path:
        """The path through a dense polyline, resampled to a spacing of about one metre."""
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        at = np.linspace(0.0, along[-1], max(3, round(along[-1]) + 1))
        even = np.stack([np.interp(at, along, points[:, i]) for i in (0, 1)], axis=1)
        tangent = np.gradient(even, axis=0)
        headings = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
        return Path(even, at + first_station, headings)

    @property
    def end(self) -> float:
        """Station of the last point."""
        return float(self.stations[-1])

    def at(self, station: Array | float, offset: Array | float = 0.0) -> Array:
        """Poses (x, y, heading) [..., 3] at stations, `offset` metres to the left; straight on beyond the ends."""
        station = np.asarray(station, np.float64)
        inside = np.clip(station, self.stations[0], self.stations[-1])
        heading = np.interp(inside, self.stations, self.headings)
        x, y = (np.interp(inside, self.stations, self.points[:, i]) for i in (0, 1))
        ahead = station - inside
        c, s = np.cos(heading), np.sin(heading)
        return np.stack([x + ahead * c - offset * s, y + ahead * s + offset * c, heading], axis=-1)

    def beside(self, offset: float, first: float, last: float) -> Path:
        """The path `offset` metres to the left, from station first to station last; backwards where last < first."""
        stations = np.linspace(first, last, max(3, int(abs(last - first)) + 1))
        return Path.through(self.at(stations, offset)[:, :2])


def join(incoming: Path, outgoing: Path) -> Path:
    """Two paths as one, with a smooth turn between the end of the first and the start of the second."""
    start, end = incoming.points[-1], outgoing.points[0]
    reach = 0.55 * float(np.linalg.norm(end - start)) / np.sqrt(2)
    lead = start + reach * np.array([np.cos(incoming.headings[-1]), np.sin(incoming.headings[-1])])
    trail = end - reach * np.array([np.cos(outgoing.headings[0]), np.sin(outgoing.headings[0])])
    u = np.linspace(0.0, 1.0, 20)[1:-1, None]
    turn = (1 - u) ** 3 * start + 3 * (1 - u) ** 2 * u * lead + 3 * (1 - u) * u**2 * trail + u**3 * end
    return Path.through(np.concatenate([incoming.points, turn, outgoing.points]))


@dataclass(frozen=True)
class Street:
    """A two-way street: its axis (station 0 at the crossing) and its lanes each way."""

    axis: Path
    lanes: int

    def locate(self, xy: Array) -> tuple[float, float]:
        """Station and offset of a point [2] near the street."""
        nearest = int(np.linalg.norm(self.axis.points - xy, axis=1).argmin())
        dx, dy = xy - self.axis.points[nearest]
        c, s = np.cos(self.axis.headings[nearest]), np.sin(self.axis.headings[nearest])
        return float(self.axis.stations[nearest] + c * dx + s * dy), float(c * dy - s * dx)

    @property
    def half_width(self) -> float:
        """From the axis to the kerb."""
        return self.lanes * LANE + CYCLE_LANE + PARKING

    @property
    def parking_offset(self) -> float:
        """From the axis to the middle of the parking strip."""
        return self.half_width - PARKING / 2

    @property
    def cycle_offset(self) -> float:
        """From the axis to the middle of the cycle lane."""
        return self.lanes * LANE + CYCLE_LANE / 2

    @property
    def building_offset(self) -> float:
        """From the axis to the building line."""
        return self.half_width + SIDEWALK

    def way(self, direction: int, offset: float, first: float, last: float) -> Path:
        """A path `offset` metres right of the axis as seen when going in `direction` (+1 or -1 along the axis).

        first and last are measured in that direction, so that 0 is the crossing and negative is before it.
        """
        return self.axis.beside(-direction * offset, direction * first, direction * last)


@dataclass(frozen=True)
class Signal:
    """A traffic light that gives each approach in turn its green."""

    green: float
    clearance: float
    start: float

    def is_open(self, approach: int, time: float) -> bool:
        """Whether vehicles of this approach (0..3) may enter the crossing."""
        period = self.green + self.clearance
        phase = (time + self.start) % (4 * period)
        return approach * period <= phase < approach * period + self.green


@dataclass(frozen=True)
class Gate:
    """A station where a mover waits: for the green of its approach, or (None) for a gap in the traffic."""

    station: float
    approach: int | None


@dataclass(frozen=True)
class Route:
    """A way through the scene: its path and the gate at its stop line (None: no crossing ahead)."""

    path: Path
    gate: Gate | None = None


@dataclass(frozen=True)
class Layout:
    """The streets of a scene: the main one, perhaps one across it, and the crossing's signal."""

    main: Street
    cross: Street | None
    signal: Signal

    def streets(self) -> list[Street]:
        """All streets, the main one first."""
        return [self.main] if self.cross is None else [self.main, self.cross]

    def other(self, street: Street) -> Street | None:
        """The street that crosses this one."""
        return self.cross if street is self.main else self.main

    def open_from(self, street: Street, margin: float) -> float:
        """Station from which a side of this street lies `margin` metres clear of the crossing."""
        other = self.other(street)
        return margin / 2 if other is None else other.half_width + margin

    def route(self, street: Street, direction: int, lane: int, turn: int = 0) -> Route:
        """From one end of a street to an end of another; turn is -1 (right), 0 (straight on) or 1 (left)."""
        offset, far = (lane + 0.5) * LANE, street.axis.end
        other = self.other(street)
        if other is None or self.cross is None:
            return Route(street.way(direction, offset, -far, far))
        stop = other.half_width + STOP_LINE
        approach = (0 if street is self.main else 2) + (direction < 0)
        incoming = street.way(direction, offset, -far, -stop)
        if turn == 0:
            return Route(street.way(direction, offset, -far, far), Gate(incoming.end, approach))
        onto = turn * direction * (1 if street is self.main else -1)
        out_lane = 0 if turn > 0 else other.lanes - 1
        leave = street.half_width + 2.0
        outgoing = other.way(onto, (out_lane + 0.5) * LANE, leave, other.axis.end)
        return Route(join(incoming, outgoing), Gate(incoming.end, approach))

    def cycle_route(self, street: Street, direction: int, aside: float = 0.0) -> Route:
        """Along a street's cycle lane to its other end, `aside` metres right of the lane's middle."""
        far, other = street.axis.end, self.other(street)
        path = street.way(direction, street.cycle_offset + aside, -far, far)
        if other is None or self.cross is None:
            return Route(path)
        approach = (0 if street is self.main else 2) + (direction < 0)
        return Route(path, Gate(path.end / 2 - other.half_width - STOP_LINE, approach))

    def on_road(self, xy: Array) -> NDArray[np.bool_]:
        """Which of the points [n, 2] lie between the kerbs of a street."""
        inside = np.zeros(len(xy), bool)
        for street in self.streets():
            gaps = np.linalg.norm(xy[:, None] - street.axis.points[None], axis=-1)
            nearest = gaps.argmin(1)
            normal = street.axis.headings[nearest] + np.pi / 2
            delta = xy - street.axis.points[nearest]
            inside |= np.abs(delta[:, 0] * np.cos(normal) + delta[:, 1] * np.sin(normal)) < street.half_width
        return inside


def _curve(reach: float, straight: float, bend_back: float, bend_ahead: float) -> Path:
    """An axis along +x about the origin that bends by the given angles (rad) beyond `straight` metres either way."""
    station = np.arange(-reach, reach + 0.5, 0.5)
    beyond = np.clip((np.abs(station) - straight) / (reach - straight), 0.0, 1.0)
    heading = np.where(station < 0, bend_back, bend_ahead) * beyond
    x, y = (np.concatenate([[0.0], np.cumsum(f(heading[:-1]) * 0.5)]) for f in (np.cos, np.sin))
    middle = len(station) // 2
    return Path.through(np.stack([x - x[middle], y - y[middle]], axis=1), -reach)


def _cross_street() -> Street:
    axis = np.stack([np.zeros(241), np.arange(-120.0, 121.0)], axis=1)
    return Street(Path.through(axis, -120.0), 1)


def draw_layout(rng: np.random.Generator) -> Layout:
    """A main street 440 m long, straight or bending, in most scenes with a street across it."""
    bends = rng.uniform(-0.7, 0.7, 2) * (rng.random() < 0.7)
    main = Street(_curve(220.0, 45.0, *bends), int(rng.choice([1, 1, 2])))
    # the green of approach 0 begins a little before or after time 0: few scenes are one long red light
    signal = Signal(rng.uniform(6.0, 9.0), 2.5, rng.uniform(-8.0, 3.0))
    if rng.random() < 0.25:
        return Layout(main, None, signal)
    return Layout(main, _cross_street(), signal)


def lay_out(rng: np.random.Generator, lanes: int, *, crossed: bool) -> Layout:
    """A main street that bends a little, with or without a street across it."""
    main = Street(_curve(220.0, 60.0, *rng.uniform(-0.4, 0.4, 2)), lanes)
    signal = Signal(rng.uniform(6.0, 9.0), 2.5, rng.uniform(-8.0, 3.0))
    return Layout(main, _cross_street() if crossed else None, signal)
