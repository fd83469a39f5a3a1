"""Construction vehicles."""

from __future__ import annotations

import numpy as np

from remembev.simulate.meshes import Material, Mesh, Section, block, loft, merge, rod
from remembev.simulate.objects.parts import both_sides, lamps, number_plate, wheels

YELLOW = Material.LIGHT_PAINT


def _glazed_cab(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> list[Mesh]:
    """Build a cab of glass between a frame of rear pillars and a roof."""
    return [
        block(x, y, z, Material.GLASS, rake=(0.05, 0.2), tuck=0.06),
        block((x[0] - 0.02, x[0] + 0.22), (y[0] - 0.01, y[1] + 0.01), z, YELLOW, rake=(0.05, 0.0), tuck=0.06),
        block((x[0], x[1] - 0.1), y, (z[1], z[1] + 0.1), YELLOW),
    ]


def excavator(rng: np.random.Generator) -> Mesh:
    """Build an excavator: tracks, a cab on the left, a counterweight behind, boom, arm and bucket in front."""
    lift, reach, bucket = rng.uniform(2.6, 3.4), rng.uniform(2.4, 3.0), rng.uniform(0.2, 0.9)
    track = block((-1.9, 1.9), (0.8, 1.4), (0.0, 0.85), Material.STEEL, rake=(0.25, 0.25))
    counterweight = [
        Section(-2.35, (1.1, 1.9), (0.9, 0.85)),
        Section(-2.05, (1.05, 2.1), (1.3, 1.25)),
        Section(-1.5, (1.05, 2.1), (1.35, 1.3)),
    ]
    return merge(
        [
            *both_sides(track),
            block((-1.2, 1.2), (-0.8, 0.8), (0.4, 1.0), Material.STEEL),
            block((-1.6, 1.0), (-1.35, 1.35), (1.0, 1.75), YELLOW, tuck=0.05),
            loft(counterweight, Material.DARK_PAINT),
            rod((-1.2, -0.7, 1.7), (-1.2, -0.7, 2.5), 0.07, Material.STEEL, sides=5),
            *_glazed_cab((-0.4, 1.25), (0.3, 1.3), (1.6, 2.85)),
            rod((0.6, -0.3, 1.5), (0.5 + reach, -0.3, lift), 0.32, YELLOW, end_radius=0.22, sides=6),
            rod((0.4 + reach, -0.3, lift), (1.3 + reach, -0.3, bucket + 0.7), 0.22, YELLOW, end_radius=0.15, sides=6),
            block((0.9 + reach, 1.7 + reach), (-0.85, 0.25), (bucket, bucket + 0.9), Material.STEEL, rake=(0.3, 0.0)),
        ]
    )


def loader(rng: np.random.Generator) -> Mesh:
    """Build a wheel loader: a bucket on arms in front, the cab in the middle, the engine behind."""
    lift = rng.uniform(0.3, 1.2)
    engine = [
        Section(-3.0, (0.85, 1.65), (0.75, 0.7)),
        Section(-2.7, (0.7, 1.85), (0.95, 0.8)),
        Section(-0.6, (0.7, 2.0), (0.95, 0.8)),
    ]
    bucket = [
        Section(2.35, (lift - 0.15, lift + 0.7), (1.4, 1.4)),
        Section(2.75, (lift - 0.3, lift + 0.8), (1.4, 1.4)),
        Section(3.35, (lift - 0.3, lift - 0.2), (1.4, 1.4)),
    ]
    return merge(
        [
            loft(engine, YELLOW),
            block((-3.04, -2.9), (-0.6, 0.6), (0.9, 1.5), Material.RUBBER),
            *lamps((-3.04, -2.8), (0.62, 0.78), (1.3, 1.5)),
            number_plate(-3.05, 0.8),
            rod((-2.0, 0.4, 1.8), (-2.0, 0.4, 2.6), 0.07, Material.STEEL, sides=5),
            block((-0.6, 1.8), (-0.7, 0.7), (0.7, 1.45), YELLOW, rake=(0.0, 0.3)),
            *_glazed_cab((-0.9, 0.6), (-0.75, 0.75), (1.5, 3.1)),
            *wheels((-1.9, 1.3), 1.0, 0.75, 0.5),
            *both_sides(rod((0.9, 0.6, 1.5), (2.5, 0.6, lift + 0.3), 0.14, YELLOW, sides=5)),
            loft(bucket, Material.STEEL),
        ]
    )
