"""Kinds of annotated objects: category, size and shape of each.

Shapes stand on z = 0, look along +x and are low-poly: as fine as a 32-beam LiDAR can resolve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from remembev.simulate.meshes import Material, Mesh, Vec3, block, ellipsoid, merge, rod


def _wheels(xs: Sequence[float], track: float, radius: float, width: float) -> list[Mesh]:
    return [
        rod((x, side * track - width / 2, radius), (x, side * track + width / 2, radius), radius, Material.RUBBER)
        for x in xs
        for side in (-1.0, 1.0)
    ]


def _paint(rng: np.random.Generator) -> Material:
    return Material.LIGHT_PAINT if rng.random() < 0.65 else Material.DARK_PAINT


def _number_plates(x: Sequence[float], z: float) -> list[Mesh]:
    """Build number plates, the retroreflectors of a vehicle, at positions x and height z."""
    return [block((a - 0.01, a + 0.01), (-0.25, 0.25), (z, z + 0.12), Material.REFLECTOR) for a in x]


def car(rng: np.random.Generator) -> Mesh:
    """Build a saloon or a hatchback: body, tapered glass cabin, roof, wheels."""
    paint = _paint(rng)
    boot = rng.choice([0.05, 0.55])
    return merge(
        [
            block((-2.3, 2.3), (-0.95, 0.95), (0.28, 0.62), paint),
            block((-2.27, 2.27), (-0.93, 0.93), (0.62, 0.95), paint, rake=(0.08, 0.25), tuck=0.08),
            block((-2.2 + boot, 1.1), (-0.84, 0.84), (0.95, 1.45), Material.GLASS, rake=(0.35, 0.75), tuck=0.14),
            block((-1.85 + boot, 0.35), (-0.7, 0.7), (1.45, 1.5), paint),
            *_wheels((-1.4, 1.4), 0.82, 0.33, 0.22),
            *_number_plates((-2.3, 2.3), 0.5),
        ]
    )


def van(rng: np.random.Generator) -> Mesh:
    """Build a delivery van: tall body, short raked nose."""
    paint = _paint(rng)
    return merge(
        [
            block((-2.6, 2.6), (-1.0, 1.0), (0.3, 1.1), paint, rake=(0.0, 0.1)),
            block((-2.6, 1.5), (-1.0, 1.0), (1.1, 2.3), paint, tuck=0.08),
            block((1.4, 2.45), (-0.97, 0.97), (1.1, 2.2), Material.GLASS, rake=(0.0, 0.9), tuck=0.1),
            *_wheels((-1.7, 1.7), 0.88, 0.35, 0.24),
            *_number_plates((-2.6, 2.6), 0.6),
        ]
    )


def truck(rng: np.random.Generator) -> Mesh:
    """Build a truck: a cab in front of a box or an open bed."""
    paint = _paint(rng)
    load_height = rng.choice([2.9, 2.9, 1.5])
    return merge(
        [
            block((-3.4, 3.2), (-0.5, 0.5), (0.6, 0.9), Material.STEEL),
            block((1.7, 3.4), (-1.15, 1.15), (0.45, 1.5), paint),
            block((1.7, 3.4), (-1.15, 1.15), (1.5, 2.4), Material.GLASS, rake=(0.0, 0.25), tuck=0.1),
            block((1.75, 3.1), (-1.0, 1.0), (2.4, 2.6), paint),
            block((-3.5, 1.5), (-1.25, 1.25), (0.9, load_height), Material.LIGHT_PAINT),
            *_wheels((-2.6, -1.6, 2.5), 1.05, 0.48, 0.3),
            *_number_plates((-3.5, 3.4), 0.7),
        ]
    )


def bus(rng: np.random.Generator) -> Mesh:
    """Build a city bus: skirt, band of windows, roof with an air conditioner."""
    paint = _paint(rng)
    return merge(
        [
            block((-5.25, 5.25), (-1.45, 1.45), (0.35, 1.3), paint),
            block((-5.2, 5.2), (-1.42, 1.42), (1.3, 2.5), Material.GLASS, rake=(0.0, 0.1)),
            block((-5.2, 5.1), (-1.44, 1.44), (2.5, 3.1), paint, tuck=0.15),
            block((-3.5, 0.0), (-0.9, 0.9), (3.1, 3.4), Material.LIGHT_PAINT, rake=(0.2, 0.2), tuck=0.1),
            *[block((x, x + 0.25), (-1.44, 1.44), (1.3, 2.5), paint) for x in (-5.2, -2.6, 0.0, 2.6, 4.6)],
            *_wheels((-3.2, 3.0), 1.25, 0.5, 0.3),
            *_number_plates((-5.25, 5.25), 0.6),
        ]
    )


def trailer(rng: np.random.Generator) -> Mesh:
    """Build a trailer: a box on a frame, axles at the back, legs and a drawbar at the front."""
    return merge(
        [
            block((-6.0, 5.6), (-1.4, 1.4), (1.2, 3.8), _paint(rng)),
            block((-6.0, 5.6), (-0.6, 0.6), (0.9, 1.2), Material.STEEL),
            block((5.6, 6.1), (-0.1, 0.1), (0.9, 1.1), Material.STEEL),
            *[rod((3.8, y, 0.0), (3.8, y, 0.9), 0.1, Material.STEEL) for y in (-0.7, 0.7)],
            *_wheels((-5.0, -3.9, -2.8), 1.2, 0.5, 0.35),
            *_number_plates((-6.0,), 1.0),
        ]
    )


def excavator(rng: np.random.Generator) -> Mesh:
    """Build an excavator: tracks, upper body with a cab, boom, arm and bucket."""
    lift = rng.uniform(2.6, 3.3)
    paint = Material.LIGHT_PAINT
    return merge(
        [
            *[
                block((-1.9, 1.9), (y - 0.3, y + 0.3), (0.0, 0.85), Material.STEEL, rake=(0.25, 0.25))
                for y in (-1.1, 1.1)
            ],
            block((-1.2, 1.2), (-0.8, 0.8), (0.4, 1.0), Material.STEEL),
            block((-2.1, 1.0), (-1.35, 1.35), (1.0, 1.9), paint, tuck=0.08),
            block((-0.4, 1.2), (0.3, 1.3), (1.9, 2.95), Material.GLASS, rake=(0.1, 0.25), tuck=0.08),
            rod((0.6, -0.3, 1.6), (2.9, -0.3, lift), 0.3, paint, end_radius=0.22, sides=6),
            rod((2.9, -0.3, lift), (3.9, -0.3, 1.0), 0.22, paint, end_radius=0.15, sides=6),
            block((3.5, 4.3), (-0.85, 0.25), (0.2, 1.1), Material.STEEL, rake=(0.3, 0.0)),
        ]
    )


def loader(rng: np.random.Generator) -> Mesh:
    """Build a wheel loader: four big wheels, cab at the back, arms and a bucket."""
    lift = rng.uniform(0.3, 1.0)
    paint = Material.LIGHT_PAINT
    return merge(
        [
            block((-3.0, 0.2), (-0.9, 0.9), (0.8, 1.9), paint, tuck=0.1),
            block((0.2, 1.8), (-0.7, 0.7), (0.7, 1.5), paint, rake=(0.0, 0.3)),
            block((-1.2, 0.4), (-0.75, 0.75), (1.9, 3.2), Material.GLASS, rake=(0.1, 0.1), tuck=0.1),
            *_wheels((-1.9, 1.3), 1.0, 0.75, 0.5),
            *[rod((1.0, y, 1.5), (2.5, y, lift + 0.4), 0.14, paint, sides=6) for y in (-0.6, 0.6)],
            block((2.4, 3.3), (-1.4, 1.4), (lift - 0.3, lift + 0.8), Material.STEEL, rake=(0.0, 0.5)),
        ]
    )


def _rider(x: float, seat: float) -> list[Mesh]:
    return [
        rod((x, 0.0, seat), (x + 0.25, 0.0, seat + 0.55), 0.17, Material.CLOTH, end_radius=0.21),
        ellipsoid((x + 0.32, 0.0, seat + 0.75), (0.11, 0.1, 0.14), Material.CLOTH),
        *[rod((x, s * 0.12, seat), (x + 0.3, s * 0.14, seat - 0.45), 0.08, Material.CLOTH, sides=6) for s in (-1, 1)],
        *[
            rod((x + 0.25, s * 0.2, seat + 0.48), (x + 0.62, s * 0.26, seat + 0.2), 0.05, Material.CLOTH, sides=6)
            for s in (-1, 1)
        ],
    ]


def motorcycle(rng: np.random.Generator) -> Mesh:
    """Build a motorcycle without a rider: two thick wheels, engine, tank and handlebars."""
    return merge(
        [
            *[rod((x, -0.08, 0.31), (x, 0.08, 0.31), 0.31, Material.RUBBER, sides=10) for x in (-0.72, 0.72)],
            block((-0.5, 0.45), (-0.2, 0.2), (0.25, 0.7), Material.STEEL),
            block((-0.85, 0.4), (-0.16, 0.16), (0.7, 0.98), _paint(rng), rake=(0.1, 0.2), tuck=0.04),
            rod((0.72, 0.0, 0.31), (0.45, 0.0, 1.05), 0.07, Material.STEEL, sides=6),
            rod((0.45, -0.38, 1.08), (0.45, 0.38, 1.08), 0.04, Material.STEEL, sides=6),
            block((-1.0, -0.98), (-0.12, 0.12), (0.5, 0.65), Material.REFLECTOR),
        ]
    )


def ridden_motorcycle(rng: np.random.Generator) -> Mesh:
    """Build a motorcycle with a rider."""
    return merge([motorcycle(rng), *_rider(-0.2, 0.85)])


def bicycle(rng: np.random.Generator) -> Mesh:
    """Build a bicycle without a rider: two thin wheels and a frame of rods."""
    paint = _paint(rng)
    bars = [
        ((-0.5, 0.33), (-0.15, 0.8)),
        ((-0.5, 0.33), (-0.05, 0.3)),
        ((-0.05, 0.3), (-0.15, 0.9)),
        ((-0.05, 0.3), (0.38, 0.8)),
        ((-0.15, 0.8), (0.38, 0.82)),
        ((0.5, 0.33), (0.36, 1.0)),
    ]
    return merge(
        [
            *[rod((x, -0.03, 0.33), (x, 0.03, 0.33), 0.33, Material.RUBBER, sides=10) for x in (-0.5, 0.5)],
            *[rod((a[0], 0.0, a[1]), (b[0], 0.0, b[1]), 0.035, paint, sides=5) for a, b in bars],
            rod((0.36, -0.29, 1.0), (0.36, 0.29, 1.0), 0.03, Material.STEEL, sides=5),
            block((-0.3, -0.02), (-0.08, 0.08), (0.88, 0.96), Material.RUBBER),
        ]
    )


def ridden_bicycle(rng: np.random.Generator) -> Mesh:
    """Build a bicycle with a rider."""
    return merge([bicycle(rng), *_rider(-0.2, 0.92)])


def pedestrian(rng: np.random.Generator) -> Mesh:
    """Build a pedestrian: legs in stride, torso, arms and head; one in three carries a bag."""
    cloth, stride = Material.CLOTH, rng.uniform(0.12, 0.26)
    parts = [
        *[rod((s * stride, s * 0.1, 0.0), (0.0, s * 0.09, 0.85), 0.07, cloth, end_radius=0.1) for s in (-1, 1)],
        rod((0.0, 0.0, 0.8), (0.0, 0.0, 1.45), 0.18, cloth, end_radius=0.22),
        ellipsoid((0.03, 0.0, 1.63), (0.11, 0.1, 0.14), cloth),
        *[rod((-s * stride, s * 0.29, 0.8), (0.0, s * 0.25, 1.4), 0.05, cloth, sides=6) for s in (-1, 1)],
    ]
    if rng.random() < 0.33:
        parts.append(block((-0.34, -0.12), (-0.18, 0.18), (0.95, 1.4), Material.PLASTIC))
    return merge(parts)


def barrier(rng: np.random.Generator) -> Mesh:
    """Build a Jersey barrier: wide base, narrow top, across the heading as nuScenes annotates it."""
    material = rng.choice([Material.CONCRETE, Material.PLASTIC])
    return merge(
        [
            block((-0.25, 0.25), (-1.25, 1.25), (0.0, 0.25), material),
            block((-0.25, 0.25), (-1.25, 1.25), (0.25, 0.5), material, rake=(0.13, 0.13)),
            block((-0.12, 0.12), (-1.25, 1.25), (0.5, 1.0), material, rake=(0.03, 0.03)),
        ]
    )


def traffic_cone(rng: np.random.Generator) -> Mesh:
    """Build a traffic cone: a square base and a cone with a reflective collar."""
    return merge(
        [
            block((-0.2, 0.2), (-0.2, 0.2), (0.0, 0.06), Material.RUBBER),
            rod((0.0, 0.0, 0.06), (0.0, 0.0, 0.45), 0.17, Material.PLASTIC, end_radius=0.11),
            rod((0.0, 0.0, 0.45), (0.0, 0.0, 0.7), 0.11, Material.REFLECTOR, end_radius=0.08),
            rod((0.0, 0.0, 0.7), (0.0, 0.0, 1.0), 0.08, Material.PLASTIC, end_radius=0.04),
        ]
    )


@dataclass(frozen=True)
class ObjectKind:
    """A kind of object: its nuScenes category, its shape, and mean and spread of its length, width and height (m)."""

    category: str
    build: Callable[[np.random.Generator], Mesh]
    mean_size: Vec3
    size_spread: Vec3

    def draw_size(self, rng: np.random.Generator) -> Vec3:
        """Draw length, width and height, at most two spreads from the mean, in whole millimetres."""
        deviation = np.clip(rng.standard_normal(3), -2.0, 2.0)
        length, width, height = np.round(np.array(self.mean_size) + deviation * self.size_spread, 3).tolist()
        return length, width, height


KINDS: dict[str, ObjectKind] = {
    "car": ObjectKind("vehicle.car", car, (4.58, 1.94, 1.65), (0.25, 0.08, 0.1)),
    "van": ObjectKind("vehicle.car", van, (5.1, 2.1, 2.2), (0.3, 0.08, 0.15)),
    "truck": ObjectKind("vehicle.truck", truck, (6.93, 2.51, 2.84), (0.8, 0.12, 0.3)),
    "bus": ObjectKind("vehicle.bus.rigid", bus, (10.5, 2.94, 3.47), (0.9, 0.06, 0.15)),
    "trailer": ObjectKind("vehicle.trailer", trailer, (11.6, 2.8, 3.87), (1.2, 0.1, 0.2)),
    "excavator": ObjectKind("vehicle.construction", excavator, (6.37, 2.85, 3.19), (0.5, 0.15, 0.25)),
    "loader": ObjectKind("vehicle.construction", loader, (6.4, 2.75, 3.2), (0.5, 0.12, 0.2)),
    "motorcycle": ObjectKind("vehicle.motorcycle", motorcycle, (2.11, 0.77, 1.25), (0.12, 0.06, 0.08)),
    "ridden_motorcycle": ObjectKind("vehicle.motorcycle", ridden_motorcycle, (2.11, 0.77, 1.65), (0.12, 0.06, 0.08)),
    "bicycle": ObjectKind("vehicle.bicycle", bicycle, (1.7, 0.6, 1.08), (0.08, 0.05, 0.05)),
    "ridden_bicycle": ObjectKind("vehicle.bicycle", ridden_bicycle, (1.72, 0.62, 1.72), (0.08, 0.05, 0.08)),
    "adult": ObjectKind("human.pedestrian.adult", pedestrian, (0.73, 0.68, 1.77), (0.1, 0.06, 0.09)),
    "child": ObjectKind("human.pedestrian.child", pedestrian, (0.53, 0.5, 1.25), (0.06, 0.05, 0.1)),
    "worker": ObjectKind("human.pedestrian.construction_worker", pedestrian, (0.73, 0.7, 1.78), (0.08, 0.06, 0.07)),
    "barrier": ObjectKind("movable_object.barrier", barrier, (0.5, 2.4, 0.98), (0.03, 0.12, 0.06)),
    "traffic_cone": ObjectKind("movable_object.trafficcone", traffic_cone, (0.41, 0.41, 1.0), (0.03, 0.03, 0.12)),
}
