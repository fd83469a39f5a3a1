"""Parts that several kinds of vehicles share: paint, wheels, lamps, number plates, mirrors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from remembev.simulate.meshes import Interval, Material, Mesh, block, rod

PAINTS = {
    Material.LIGHT_PAINT: 0.35,
    Material.MID_PAINT: 0.30,
    Material.DARK_PAINT: 0.20,
    Material.BLACK_PAINT: 0.15,
}


def draw_paint(rng: np.random.Generator) -> Material:
    """Draw a vehicle's paint; most return little."""
    return Material(rng.choice(list(PAINTS), p=list(PAINTS.values())))


def both_sides(mesh: Mesh) -> list[Mesh]:
    """Return a part and its mirror image on the other side of the x axis."""
    return [mesh, mesh.mirrored()]


def wheels(xs: Sequence[float], track: float, radius: float, width: float) -> list[Mesh]:
    """Build the wheels of axles at xs; `track` is half the distance between the wheels' middles."""
    return [
        wheel
        for x in xs
        for wheel in both_sides(
            rod((x, track - width / 2, radius), (x, track + width / 2, radius), radius, Material.RUBBER)
        )
    ]


def number_plate(x: float, z: float) -> Mesh:
    """Build a number plate, a retroreflector, at a place on the x axis."""
    return block((x - 0.02, x + 0.02), (-0.26, 0.26), (z, z + 0.12), Material.REFLECTOR)


def lamps(x: Interval, y: Interval, z: Interval) -> list[Mesh]:
    """Build a pair of lamps, y being the extent of the left one."""
    return both_sides(block(x, y, z, Material.LAMP))


def mirrors(x: Interval, y: Interval, z: Interval, material: Material) -> list[Mesh]:
    """Build a pair of wing mirrors, y being the extent of the left one."""
    return both_sides(block(x, y, z, material))
