"""Ground: the cambered road, kerbs and sidewalks, and open ground behind them that may rise or fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from remembev.simulate import streets
from remembev.simulate.meshes import Array, Material, Mesh, merge
from remembev.simulate.placement.scenery.surfaces import sheet
from remembev.simulate.streets import Street
from remembev.simulate.world import WorldBuilder

GROUND_WIDTH = 40.0  # metres of raised ground beside a kerb
HORIZON = 150.0  # metres from the axis to which the main street's ground reaches
CAMBER = 0.05  # metres that the road falls from its axis to its kerbs
UNEVEN = 0.015  # metres that the road lies lower here and there
FOOT = -0.12  # height of a kerb's foot, under the road
BASE = -8.0  # height of the plane under everything
SPACING = 4.0  # metres between two cross-sections


@dataclass(frozen=True)
class Slope:
    """Ground that rises (or falls) by `rise` metres between two distances from a street's axis, in waves along it."""

    rise: float
    start: float
    end: float
    phase: float

    def height(self, station: Array | float, distance: Array | float) -> Array:
        """Return the height above the sidewalk's level at stations and distances from the axis."""
        share = np.clip((np.asarray(distance) - self.start) / (self.end - self.start), 0.0, 1.0)
        wave = 0.75 + 0.25 * np.sin(np.asarray(station) / 25.0 + self.phase)
        height: Array = self.rise * wave * share**2 * (3 - 2 * share)
        return height


def add_ground(builder: WorldBuilder, sloping: Sequence[int] = ()) -> None:
    """Add the roads and the raised ground beside them.

    Args:
        builder: The world it is added to.
        sloping: Sides of the main street without objects behind the sidewalk, where the ground may rise or fall.
    """
    rng, layout = builder.rng, builder.layout
    corners = np.array([[(x, y, BASE) for y in (-400.0, 400.0)] for x in (-400.0, 400.0)])
    builder.scenery.append(sheet(corners, Material.SOIL))
    for side in sloping:
        if layout.cross is None and rng.random() < 0.45:
            builder.slopes[side] = _draw_slope(layout.main, rng)
    for street in layout.streets():
        builder.scenery.append(_road(street, rng))
        crossing, far = layout.crossing(street), street.axis.end
        spans = [(-far, far)] if crossing is None else [(-far, -crossing.half_width), (crossing.half_width, far)]
        for side in (-1, 1):
            for first, last in spans:
                builder.scenery.append(_verge(builder, street, side, first, last))


def _draw_slope(street: Street, rng: np.random.Generator) -> Slope:
    start = street.building_offset + rng.uniform(0.5, 6.0)
    rise = rng.uniform(1.0, 4.0) * rng.choice([-1.0, 1.0], p=[0.4, 0.6])
    return Slope(float(rise), start, start + rng.uniform(10.0, 30.0), rng.uniform(0.0, 6.0))


def _grid(street: Street, stations: Array, offsets: Array, heights: Array) -> Array:
    """Return points [N, M, 3] at stations [N] and offsets [M] of a street, with heights [N, M]."""
    xy = street.axis.at(*np.broadcast_arrays(stations[:, None], offsets[None]))[..., :2]
    return np.concatenate([xy, heights[..., None]], axis=2)


def _road(street: Street, rng: np.random.Generator) -> Mesh:
    """Build a road that is highest, z = 0, along its axis, and uneven by a centimetre or two."""
    stations = np.linspace(-street.axis.end, street.axis.end, int(2 * street.axis.end / SPACING))
    offsets = np.linspace(-1.0, 1.0, 9) * street.half_width
    heights = -CAMBER * (offsets / street.half_width) ** 2 - rng.uniform(0.0, UNEVEN, (len(stations), len(offsets)))
    return sheet(_grid(street, stations, offsets, heights), Material.ASPHALT)


def _verge(builder: WorldBuilder, street: Street, side: int, first: float, last: float) -> Mesh:
    """Build a kerb, a sidewalk and the ground behind it, of concrete, grass or earth in patches."""
    rng, inner = builder.rng, street.half_width
    count = max(2, int(abs(last - first) / SPACING))
    stations = np.concatenate([[first], np.linspace(first, last, count), [last]])
    is_main = street is builder.layout.main
    widths = [0.0, 0.0, streets.SIDEWALK, 7.0, 10.0, 14.0, 20.0, 28.0, GROUND_WIDTH, *([HORIZON] if is_main else [])]
    heights = np.full((len(stations), len(widths)), streets.KERB)
    heights[:, 3:] -= rng.uniform(0.0, 0.04, (len(stations), len(widths) - 3))
    if is_main and side in builder.slopes:
        heights += builder.slopes[side].height(stations[:, None], inner + np.array(widths)[None])
    heights[:, 0] = FOOT
    heights[[0, -1]] = FOOT
    grid = _grid(street, stations, side * (inner + np.array(widths)), heights)
    paved = sheet(grid[:, :3], Material.CONCRETE)
    patches, start = [paved], 0
    while start < len(stations) - 1:
        end = min(start + int(rng.integers(4, 12)), len(stations) - 1)
        material = (Material.GRASS, Material.CONCRETE, Material.SOIL)[int(rng.choice(3, p=[0.5, 0.35, 0.15]))]
        patches.append(sheet(grid[start : end + 1, 2:], material))
        start = end
    return merge(patches)
