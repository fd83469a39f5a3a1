"""Motorcycles, scooters and bicycles, with and without a rider."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from remembev.simulate.meshes import Material, Mesh, Ring, Section, Vec3, block, hoop, loft, merge, rod, turned
from remembev.simulate.objects.parts import both_sides, draw_paint
from remembev.simulate.objects.people import draw_cloth


class Seat(NamedTuple):
    """A rider's seat, grips and footrests (x, z), and how far the torso leans forward (m)."""

    seat: tuple[float, float]
    grip: tuple[float, float]
    feet: tuple[float, float]
    lean: float
    grip_width: float


def _rider(place: Seat, cloth: Material, helmet: Material, rng: np.random.Generator) -> list[Mesh]:
    """Build a rider; the left and right foot are at different places of the pedals' turn."""
    (x, z), lean = place.seat, place.lean
    shoulder, hand = (x + lean, z + 0.52), (*place.grip, place.grip_width)
    elbow = ((shoulder[0] + hand[0]) / 2 - 0.08, (shoulder[1] + hand[1]) / 2 - 0.10)
    arm = [
        rod((shoulder[0], 0.19, shoulder[1]), (elbow[0], 0.27, elbow[1]), 0.055, cloth, sides=5),
        rod((elbow[0], 0.27, elbow[1]), (hand[0], hand[2], hand[1] + 0.02), 0.045, cloth, sides=5),
    ]
    head = x + 1.22 * lean + 0.05
    rings = [
        Ring(head, z + 0.58, 0.08, 0.07),
        Ring(head + 0.02, z + 0.70, 0.13, 0.11),
        Ring(head, z + 0.84, 0.07, 0.06),
    ]
    return [
        rod((x, 0.0, z - 0.04), (x + lean, 0.0, z + 0.56), 0.17, cloth, end_radius=0.2, sides=6),
        turned(rings, helmet),
        *[half for part in arm for half in both_sides(part)],
        *_legs(place, cloth, rng),
    ]


def _legs(place: Seat, cloth: Material, rng: np.random.Generator) -> list[Mesh]:
    turn = rng.uniform(0.0, 2 * np.pi)
    pedal = 0.16 if place.feet[1] < 0.35 else 0.0  # only bicycles' feet go round
    parts = []
    for side in (-1.0, 1.0):
        foot = (place.feet[0] + side * pedal * np.cos(turn), place.feet[1] + side * pedal * np.sin(turn))
        hip, y = (place.seat[0] + 0.02, place.seat[1]), side * 0.12
        knee = ((hip[0] + foot[0]) / 2 + 0.26, (hip[1] + foot[1]) / 2 + 0.06)
        parts += [
            rod((hip[0], y, hip[1]), (knee[0], 1.3 * y, knee[1]), 0.09, cloth, end_radius=0.07, sides=5),
            rod((knee[0], 1.3 * y, knee[1]), (foot[0], y, foot[1]), 0.065, cloth, end_radius=0.05, sides=5),
            block((foot[0] - 0.08, foot[0] + 0.16), (y - 0.04, y + 0.04), (foot[1] - 0.07, foot[1]), Material.RUBBER),
        ]
    return parts


def _draw_helmet(rng: np.random.Generator) -> Material:
    return Material(rng.choice([Material.LIGHT_PAINT, Material.DARK_PAINT, Material.BLACK_PAINT]))


def _thick_wheels(xs: tuple[float, float], radius: float) -> list[Mesh]:
    return [rod((x, -0.07, radius), (x, 0.07, radius), radius, Material.RUBBER, sides=10) for x in xs]


def _lights(front: Vec3, rear: Vec3) -> list[Mesh]:
    """Build a headlamp, a number plate and a tail lamp above the plate."""
    x, _, z = rear
    return [
        rod((front[0] - 0.06, 0.0, front[2]), (front[0] + 0.06, 0.0, front[2]), 0.09, Material.LAMP, sides=6),
        block((x - 0.01, x + 0.01), (-0.1, 0.1), (z - 0.16, z), Material.REFLECTOR),
        block((x, x + 0.06), (-0.09, 0.09), (z + 0.02, z + 0.1), Material.LAMP),
    ]


def _motorbike(rng: np.random.Generator) -> tuple[list[Mesh], Seat]:
    """Build a motorcycle: fork, tank, seat with a raised tail, exhaust on the right; two in three have a fairing."""
    paint = draw_paint(rng)
    tank = [Section(-0.1, (0.7, 0.84), (0.13, 0.1)), Section(0.15, (0.68, 1.0), (0.17, 0.12))]
    parts = [
        *_thick_wheels((-0.72, 0.72), 0.31),
        block((-0.35, 0.35), (-0.19, 0.19), (0.22, 0.68), Material.STEEL, rake=(0.1, 0.0), tuck=0.04),
        loft([*tank, Section(0.42, (0.70, 0.95), (0.13, 0.1))], paint),
        loft([Section(-0.95, (0.78, 0.95), (0.1, 0.08)), Section(-0.1, (0.68, 0.82), (0.15, 0.13))], Material.RUBBER),
        rod((-0.55, 0.0, 0.35), (-0.72, 0.0, 0.31), 0.06, Material.STEEL, sides=4),
        *both_sides(rod((0.72, 0.1, 0.31), (0.42, 0.1, 1.05), 0.04, Material.STEEL, sides=4)),
        rod((-0.95, -0.2, 0.45), (0.0, -0.2, 0.3), 0.07, Material.STEEL, sides=5),
        rod((0.38, -0.36, 1.08), (0.38, 0.36, 1.08), 0.03, Material.STEEL, sides=4),
        *both_sides(block((0.42, 0.46), (0.24, 0.36), (1.16, 1.25), Material.BLACK_PAINT)),
        *_lights((0.68, 0.0, 0.92), (-1.0, 0.0, 0.72)),
    ]
    sporty = rng.random() < 0.65
    if sporty:
        fairing = [Section(0.3, (0.45, 1.0), (0.24, 0.18)), Section(0.62, (0.62, 1.08), (0.2, 0.12))]
        parts.append(loft([*fairing, Section(0.72, (0.78, 0.95), (0.1, 0.08))], paint))
        parts.append(block((0.4, 0.62), (-0.14, 0.14), (1.0, 1.22), Material.GLASS, rake=(0.0, 0.18), tuck=0.05))
    lean = rng.uniform(0.28, 0.40) if sporty else rng.uniform(0.02, 0.16)
    return parts, Seat((-0.32, 0.86), (0.36, 1.06), (-0.15, 0.4), lean, 0.34)


def _scooter(rng: np.random.Generator) -> tuple[list[Mesh], Seat]:
    """Build a scooter: small wheels, a leg shield, a low floor and a bulky tail; often a top box."""
    paint = draw_paint(rng)
    tail = [Section(-0.95, (0.55, 0.76), (0.12, 0.1)), Section(-0.7, (0.35, 0.82), (0.19, 0.15))]
    shield = [Section(0.38, (0.25, 0.9), (0.26, 0.2)), Section(0.5, (0.3, 1.0), (0.2, 0.12))]
    parts = [
        *_thick_wheels((-0.68, 0.70), 0.24),
        loft([*tail, Section(-0.2, (0.3, 0.78), (0.16, 0.14))], paint),
        block((-0.25, 0.45), (-0.2, 0.2), (0.24, 0.33), Material.RUBBER),
        loft(shield, paint),
        rod((0.70, 0.0, 0.24), (0.46, 0.0, 1.02), 0.05, Material.STEEL, sides=5),
        rod((0.42, -0.34, 1.04), (0.42, 0.34, 1.04), 0.03, Material.STEEL, sides=4),
        *both_sides(block((0.44, 0.48), (0.26, 0.37), (1.14, 1.24), Material.BLACK_PAINT)),
        *_lights((0.5, 0.0, 0.98), (-0.98, 0.0, 0.58)),
    ]
    if rng.random() < 0.5:
        box = Material.HI_VIS if rng.random() < 0.2 else Material.DARK_PAINT
        parts.append(block((-1.05, -0.62), (-0.22, 0.22), (0.85, 1.2), box, tuck=0.03))
    return parts, Seat((-0.36, 0.8), (0.4, 1.02), (0.18, 0.4), rng.uniform(0.0, 0.1), 0.33)


def _draw_motorcycle(rng: np.random.Generator) -> tuple[list[Mesh], Seat]:
    return _motorbike(rng) if rng.random() < 0.65 else _scooter(rng)


def motorcycle(rng: np.random.Generator) -> Mesh:
    """Build a motorcycle or a scooter without a rider."""
    return merge(_draw_motorcycle(rng)[0])


def ridden_motorcycle(rng: np.random.Generator) -> Mesh:
    """Build a motorcycle or a scooter with a rider."""
    parts, seat = _draw_motorcycle(rng)
    return merge([*parts, *_rider(seat, draw_cloth(rng), _draw_helmet(rng), rng)])


def _spoked_wheel(x: float, radius: float) -> list[Mesh]:
    rim = hoop((x, 0.0, radius), radius, 0.04, 0.04, Material.RUBBER)
    reach = radius - 0.03
    angles = np.arange(3) * (np.pi / 3) + 0.3
    ends = [(reach * float(np.cos(a)), reach * float(np.sin(a))) for a in angles]
    spokes = [rod((x - a, 0.0, radius - b), (x + a, 0.0, radius + b), 0.008, Material.STEEL, sides=3) for a, b in ends]
    return [rim, *spokes]


def _bicycle(rng: np.random.Generator) -> tuple[list[Mesh], Seat]:
    """Build a bicycle: frame, fork, handlebars, saddle; many have mudguards, a basket or a carrier."""
    paint = draw_paint(rng)
    upright = rng.random() < 0.6
    bar = 1.06 if upright else 0.96
    frame = [
        ((-0.52, 0.34), (-0.15, 0.78)), ((-0.52, 0.34), (-0.05, 0.29)), ((-0.05, 0.29), (-0.2, 0.92)),
        ((-0.05, 0.29), (0.36, 0.78)), ((-0.15, 0.78), (0.36, 0.82)), ((0.54, 0.34), (0.34, bar)),
    ]  # fmt: skip
    parts = [
        *_spoked_wheel(-0.52, 0.34),
        *_spoked_wheel(0.54, 0.34),
        *[rod((a[0], 0.0, a[1]), (b[0], 0.0, b[1]), 0.022, paint, sides=4) for a, b in frame],
        rod((0.34, -0.27, bar), (0.34, 0.27, bar), 0.018, Material.STEEL, sides=4),
        *both_sides(
            rod((0.34, 0.27, bar), (0.22 if upright else 0.46, 0.27, bar - 0.02), 0.02, Material.RUBBER, sides=4)
        ),
        block((-0.34, -0.06), (-0.07, 0.07), (0.9, 0.97), Material.RUBBER),
        rod((-0.05, -0.14, 0.29), (-0.05, 0.14, 0.29), 0.05, Material.STEEL, sides=5),
        block((-0.56, -0.54), (-0.04, 0.04), (0.62, 0.7), Material.REFLECTOR),
    ]
    if rng.random() < 0.4:
        parts.append(block((0.42, 0.72), (-0.17, 0.17), (0.72, 0.98), Material.STEEL, rake=(0.0, -0.04)))
    if rng.random() < 0.4:
        parts.append(block((-0.8, -0.3), (-0.06, 0.06), (0.70, 0.73), Material.STEEL))
    lean = rng.uniform(0.1, 0.2) if upright else rng.uniform(0.3, 0.42)
    return parts, Seat((-0.2, 0.97), (0.26 if upright else 0.42, bar), (0.0, 0.3), lean, 0.26)


def bicycle(rng: np.random.Generator) -> Mesh:
    """Build a bicycle without a rider; its wheels are mostly air."""
    return merge(_bicycle(rng)[0])


def ridden_bicycle(rng: np.random.Generator) -> Mesh:
    """Build a bicycle with a rider, whose feet are on the pedals."""
    parts, seat = _bicycle(rng)
    head = _draw_helmet(rng) if rng.random() < 0.5 else Material.SKIN
    return merge([*parts, *_rider(seat, draw_cloth(rng), head, rng)])
