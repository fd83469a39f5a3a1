"""Streets: paths, lanes, kerbs and sidewalks, a crossing with its signal, and the routes through them.

Coordinates are the scene's own, in metres, with the crossing (or the middle of the street) at the origin.
A station is a distance along a path, an offset a distance to the left of it. Traffic keeps to the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from remembev.simulate.meshes import Array, Interval

LANE = 3.6
CYCLE_LANE = 2.1
BUFFER = 1.2  # metres between cycle lane and parked cars: room for their doors
PARKING = 2.7
SIDEWALK = 4.2
KERB = 0.14
STOP_LINE = 5.5  # metres before the cross street's kerb: room for a crosswalk


def overlaps(span: Interval, taken: list[Interval]) -> bool:
    """Return True if a span overlaps one of those taken."""
    return any(span[0] < high and low < span[1] for low, high in taken)


@dataclass(frozen=True)
class Path:
    """A curve sampled about every metre: points [n, 2], stations [n] (m), headings [n] (rad, unwrapped)."""

    points: Array
    stations: Array
    headings: Array

    @staticmethod
    def through(points: Array, first_station: float = 0.0) -> Path:
        """Return the path through a dense polyline, resampled to a spacing of about one metre."""
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
        """Return poses (x, y, heading) [..., 3] at stations, `offset` metres to the left; straight beyond the ends."""
        station = np.asarray(station, np.float64)
        inside = np.clip(station, self.stations[0], self.stations[-1])
        heading = np.interp(inside, self.stations, self.headings)
        x, y = (np.interp(inside, self.stations, self.points[:, i]) for i in (0, 1))
        beyond = station - inside
        c, s = np.cos(heading), np.sin(heading)
        return np.stack([x + beyond * c - offset * s, y + beyond * s + offset * c, heading], axis=-1)

    def parallel(self, offset: float, first: float, last: float) -> Path:
        """Return the path `offset` metres to the left between two stations; reversed where last < first."""
        stations = np.linspace(first, last, max(3, int(abs(last - first)) + 1))
        return Path.through(self.at(stations, offset)[:, :2])


def join(incoming: Path, outgoing: Path) -> Path:
    """Return two paths as one, with a smooth turn from the end of the first to the start of the second."""
    start, end = incoming.points[-1], outgoing.points[0]
    reach = 0.55 * float(np.linalg.norm(end - start)) / np.sqrt(2)
    lead = start + reach * np.array([np.cos(incoming.headings[-1]), np.sin(incoming.headings[-1])])
    trail = end - reach * np.array([np.cos(outgoing.headings[0]), np.sin(outgoing.headings[0])])
    u = np.linspace(0.0, 1.0, 20)[1:-1, None]
    turn = (1 - u) ** 3 * start + 3 * (1 - u) ** 2 * u * lead + 3 * (1 - u) * u**2 * trail + u**3 * end
    return Path.through(np.concatenate([incoming.points, turn, outgoing.points]))


@dataclass(frozen=True)
class Street:
    """A two-way street: its axis (station 0 at the crossing) and its number of lanes each way."""

    axis: Path
    lanes: int

    def locate(self, xy: Array) -> tuple[float, float]:
        """Return station and offset of a point [2] near the street."""
        nearest = int(np.linalg.norm(self.axis.points - xy, axis=1).argmin())
        dx, dy = xy - self.axis.points[nearest]
        c, s = np.cos(self.axis.headings[nearest]), np.sin(self.axis.headings[nearest])
        return float(self.axis.stations[nearest] + c * dx + s * dy), float(c * dy - s * dx)

    @property
    def half_width(self) -> float:
        """From the axis to the kerb."""
        return self.lanes * LANE + CYCLE_LANE + BUFFER + PARKING

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

    def path_along(self, direction: int, offset: float, first: float, last: float) -> Path:
        """Return a path along the street for one direction of travel (+1 or -1 along the axis).

        Args:
            direction: Direction of travel.
            offset: Metres right of the axis, as seen in that direction.
            first: Where the path starts, in that direction: 0 is the crossing, negative is before it.
            last: Where it ends, likewise.
        """
        return self.axis.parallel(-direction * offset, direction * first, direction * last)


@dataclass(frozen=True)
class Signal:
    """A traffic light that gives each of four approaches green in turn; times in seconds."""

    green: float
    clearance: float
    start: float

    def is_green(self, approach: int, time: float) -> bool:
        """Return True if vehicles of this approach (0..3) may enter the crossing."""
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
    """A path through the scene and the gate at its stop line (None: no crossing ahead)."""

    path: Path
    gate: Gate | None = None


@dataclass(frozen=True)
class Layout:
    """The streets of a scene: the main one, perhaps one across it, and the crossing's signal."""

    main: Street
    cross: Street | None
    signal: Signal

    def streets(self) -> list[Street]:
        """Return all streets, the main one first."""
        return [self.main] if self.cross is None else [self.main, self.cross]

    def crossing(self, street: Street) -> Street | None:
        """Return the street that crosses this one."""
        return self.cross if street is self.main else self.main

    def clear_of_crossing(self, street: Street, margin: float) -> float:
        """Return the station from which a side of this street is `margin` metres clear of the crossing."""
        crossing = self.crossing(street)
        return margin / 2 if crossing is None else crossing.half_width + margin

    def route(self, street: Street, direction: int, lane: int, turn: int = 0) -> Route:
        """Return a route from one end of a street to an end of another; turn: -1 right, 0 straight on, 1 left."""
        offset, far = (lane + 0.5) * LANE, street.axis.end
        crossing = self.crossing(street)
        if crossing is None or self.cross is None:
            return Route(street.path_along(direction, offset, -far, far))
        incoming = street.path_along(direction, offset, -far, -(crossing.half_width + STOP_LINE))
        gate = Gate(incoming.end, self._approach(street, direction))
        if turn == 0:
            return Route(street.path_along(direction, offset, -far, far), gate)
        onto = turn * direction * (1 if street is self.main else -1)
        out_lane = 0 if turn > 0 else crossing.lanes - 1
        outgoing = crossing.path_along(onto, (out_lane + 0.5) * LANE, street.half_width + 2.0, crossing.axis.end)
        return Route(join(incoming, outgoing), gate)

    def cycle_route(self, street: Street, direction: int, aside: float = 0.0) -> Route:
        """Return a route along a street's cycle lane to its other end, `aside` metres right of the lane's middle."""
        far, crossing = street.axis.end, self.crossing(street)
        path = street.path_along(direction, street.cycle_offset + aside, -far, far)
        if crossing is None or self.cross is None:
            return Route(path)
        return Route(path, Gate(path.end / 2 - crossing.half_width - STOP_LINE, self._approach(street, direction)))

    def _approach(self, street: Street, direction: int) -> int:
        return (0 if street is self.main else 2) + (direction < 0)

    def on_road(self, xy: Array) -> NDArray[np.bool_]:
        """Return a mask of the points [n, 2] that lie between the kerbs of a street."""
        inside = np.zeros(len(xy), bool)
        for street in self.streets():
            gaps = np.linalg.norm(xy[:, None] - street.axis.points[None], axis=-1)
            nearest = gaps.argmin(1)
            normal = street.axis.headings[nearest] + np.pi / 2
            delta = xy - street.axis.points[nearest]
            inside |= np.abs(delta[:, 0] * np.cos(normal) + delta[:, 1] * np.sin(normal)) < street.half_width
        return inside


def _curved_axis(reach: float, straight: float, bend_back: float, bend_ahead: float) -> Path:
    """Return an axis along +x about the origin that bends by angles (rad) beyond `straight` metres either way."""
    station = np.arange(-reach, reach + 0.5, 0.5)
    beyond = np.clip((np.abs(station) - straight) / (reach - straight), 0.0, 1.0)
    heading = np.where(station < 0, bend_back, bend_ahead) * beyond
    x, y = (np.concatenate([[0.0], np.cumsum(f(heading[:-1]) * 0.5)]) for f in (np.cos, np.sin))
    middle = len(station) // 2
    return Path.through(np.stack([x - x[middle], y - y[middle]], axis=1), -reach)


def _cross_street() -> Street:
    axis = np.stack([np.zeros(241), np.arange(-120.0, 121.0)], axis=1)
    return Street(Path.through(axis, -120.0), 1)


def _draw_signal(rng: np.random.Generator) -> Signal:
    # the green of approach 0 starts a little before or after time 0: few scenes are one long red light
    return Signal(rng.uniform(6.0, 9.0), 2.5, rng.uniform(-8.0, 3.0))


def draw_varied_layout(rng: np.random.Generator) -> Layout:
    """Draw a main street 440 m long, straight or bending, in most scenes with a street across it."""
    bends = rng.uniform(-0.7, 0.7, 2) * (rng.random() < 0.7)
    main = Street(_curved_axis(220.0, 45.0, *bends), int(rng.choice([1, 1, 2])))
    signal = _draw_signal(rng)
    return Layout(main, None if rng.random() < 0.25 else _cross_street(), signal)


def draw_layout(rng: np.random.Generator, lanes: int, *, crossed: bool) -> Layout:
    """Draw a main street that bends a little, with or without a street across it."""
    main = Street(_curved_axis(220.0, 60.0, *rng.uniform(-0.4, 0.4, 2)), lanes)
    return Layout(main, _cross_street() if crossed else None, _draw_signal(rng))
