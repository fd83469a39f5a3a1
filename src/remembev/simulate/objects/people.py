"""People on foot in many postures, and prams."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from remembev.simulate.meshes import Material, Mesh, Ring, Vec3, block, merge, rod, turned
from remembev.simulate.objects.parts import both_sides, wheels

HIP, SHOULDER = 0.90, 1.44  # heights of the joints of a person of 1.75 m
ARMS = {"swinging": 0.5, "hanging": 0.15, "pockets": 0.2, "phone": 0.15}  # probability of each posture of the arms


@dataclass(frozen=True)
class Figure:
    """Build and posture of a person.

    Attributes:
        girth: Factor of the torso's and limbs' radii.
        head: Factor of the head's size.
        step: Half the length of a stride, signed by the foot in front; near 0 for those who stand.
        lean: Metres by which the shoulders are ahead of the hips.
        arms: Name in ARMS.
        jacket: Material of torso and arms.
        trousers: Material of the legs.
        hat: Material of a helmet or of hair.
    """

    girth: float
    head: float
    step: float
    lean: float
    arms: str
    jacket: Material
    trousers: Material
    hat: Material


def draw_cloth(rng: np.random.Generator) -> Material:
    """Draw what clothes are made of."""
    return Material.DARK_CLOTH if rng.random() < 0.45 else Material.CLOTH


def _draw_figure(rng: np.random.Generator) -> Figure:
    walking = rng.random() < 0.65
    return Figure(
        girth=rng.uniform(0.85, 1.25),
        head=1.0,
        step=float(rng.choice([-1.0, 1.0])) * (rng.uniform(0.18, 0.34) if walking else rng.uniform(0.0, 0.06)),
        lean=rng.uniform(0.02, 0.10) if walking else rng.uniform(-0.02, 0.04),
        arms=str(rng.choice(list(ARMS), p=list(ARMS.values()))),
        jacket=draw_cloth(rng),
        trousers=draw_cloth(rng),
        hat=draw_cloth(rng),
    )


def _torso(figure: Figure) -> Mesh:
    """Build the trunk from the hips to the neck: flat from front to back, wide at the shoulders."""
    g, lean = figure.girth, figure.lean
    rings = [
        Ring(0.0, HIP - 0.12, 0.11 * g, 0.15 * g),
        Ring(0.2 * lean, HIP + 0.12, 0.12 * g, 0.16 * g),
        Ring(0.8 * lean, SHOULDER - 0.12, 0.14 * g, 0.20 * g),
        Ring(lean, SHOULDER + 0.04, 0.09 * g, 0.17 * g),
        Ring(lean + 0.01, SHOULDER + 0.10, 0.06, 0.06),
    ]
    return turned(rings, figure.jacket)


def _head(figure: Figure) -> list[Mesh]:
    """Build neck and face, and over them the back and top of the head."""
    x, k = figure.lean + 0.03, figure.head
    base = SHOULDER + 0.06
    face = [Ring(x, base, 0.05, 0.05), Ring(x + 0.03, base + 0.06, 0.08 * k, 0.07 * k)]
    face += [Ring(x + 0.02, base + 0.16 * k, 0.10 * k, 0.08 * k), Ring(x, base + 0.22 * k, 0.07 * k, 0.06 * k)]
    scalp = [Ring(x - 0.02, base + 0.10 * k, 0.08 * k, 0.08 * k), Ring(x - 0.01, base + 0.18 * k, 0.11 * k, 0.09 * k)]
    scalp.append(Ring(x - 0.01, base + 0.26 * k, 0.06 * k, 0.05 * k))
    return [turned(face, Material.SKIN), turned(scalp, figure.hat)]


def _leg(figure: Figure, side: float) -> list[Mesh]:
    """Build a leg; the knee of the leg behind is bent."""
    ahead = side * figure.step
    y, g = side * 0.09, figure.girth
    foot_z = 0.09 if ahead >= -0.1 else 0.16
    knee = (0.5 * ahead + (0.03 if ahead >= 0.0 else 0.09), y, 0.5)
    foot = (ahead, y, foot_z)
    heel = foot_z - 0.09
    return [
        rod((0.0, y, HIP - 0.02), knee, 0.10 * g, figure.trousers, end_radius=0.07 * g, sides=5),
        rod(knee, foot, 0.07 * g, figure.trousers, end_radius=0.05, sides=5),
        block((ahead - 0.07, ahead + 0.19), (y - 0.045, y + 0.045), (heel, heel + 0.09), Material.RUBBER),
    ]


def _arm(figure: Figure, side: float) -> list[Mesh]:
    """Build an arm, which swings against the leg of its side."""
    x, y = figure.lean, side * (0.19 * figure.girth + 0.02)
    shoulder: Vec3 = (x, y, SHOULDER - 0.02)
    swing = -side * figure.step if figure.arms == "swinging" else 0.0
    wide = side * (0.24 * figure.girth + 0.03)
    elbow: Vec3 = (x + 0.5 * swing - 0.04, wide, SHOULDER - 0.29)
    hand: Vec3 = (x + 1.1 * swing + 0.06, wide, HIP - 0.12)
    if figure.arms == "pockets":
        elbow, hand = (x - 0.10, 1.3 * wide, SHOULDER - 0.29), (0.06, 0.6 * wide, HIP + 0.02)
    if figure.arms == "phone" and side < 0:
        elbow, hand = (x + 0.04, wide, SHOULDER - 0.29), (x + 0.34, 0.5 * wide, SHOULDER - 0.16)
    return [
        rod(shoulder, elbow, 0.055 * figure.girth, figure.jacket, end_radius=0.05, sides=5),
        rod(elbow, hand, 0.048, figure.jacket, end_radius=0.035, sides=5),
    ]


def _body(figure: Figure) -> list[Mesh]:
    limbs = [part for side in (-1.0, 1.0) for part in (*_leg(figure, side), *_arm(figure, side))]
    return [_torso(figure), *_head(figure), *limbs]


def _coat(figure: Figure) -> Mesh:
    """Build a coat or skirt that widens towards the knees."""
    g, wide = figure.girth, abs(figure.step)
    rings = [Ring(0.0, 0.52, 0.15 * g + 0.3 * wide, 0.2 * g), Ring(0.0, HIP + 0.1, 0.13 * g, 0.17 * g)]
    return turned(rings, figure.jacket)


def _rucksack(figure: Figure, rng: np.random.Generator) -> Mesh:
    back, size = figure.lean - 0.11 * figure.girth, rng.uniform(0.14, 0.26)
    return block((back - size, back), (-0.16, 0.16), (1.0, 1.45), draw_cloth(rng), rake=(0.05, 0.0), tuck=0.03)


def _bag(side: float, rng: np.random.Generator) -> Mesh:
    y = sorted((side * 0.27, side * 0.39))
    return block((-0.16, 0.16), (y[0], y[1]), (0.55, 0.55 + rng.uniform(0.2, 0.32)), draw_cloth(rng), rake=(0.04, 0.04))


def _suitcase() -> list[Mesh]:
    """Build a suitcase on wheels pulled behind the right hand."""
    case = block((-0.62, -0.36), (-0.45, -0.08), (0.04, 0.66), Material.PLASTIC)
    return [case, rod((-0.46, -0.27, 0.66), (-0.04, -0.29, 0.86), 0.02, Material.STEEL, sides=4)]


def _belongings(figure: Figure, rng: np.random.Generator) -> list[Mesh]:
    """Draw what a person wears and carries; half of all carry nothing."""
    parts = [_coat(figure)] if rng.random() < 0.2 else []
    carried = rng.random()
    if carried < 0.22:
        parts.append(_rucksack(figure, rng))
    elif carried < 0.40:
        parts.append(_bag(float(rng.choice([-1.0, 1.0])), rng))
    elif carried < 0.46:
        parts += _suitcase()
    return parts


def adult(rng: np.random.Generator) -> Mesh:
    """Build an adult who walks or stands, some with a coat, a rucksack, a bag or a suitcase."""
    figure = _draw_figure(rng)
    return merge([*_body(figure), *_belongings(figure, rng)])


def child(rng: np.random.Generator) -> Mesh:
    """Build a child, whose head is larger for its body; some carry a rucksack."""
    drawn = _draw_figure(rng)
    figure = replace(drawn, girth=0.9 * drawn.girth, head=1.4, step=0.8 * drawn.step)
    bag = [_rucksack(figure, rng)] if rng.random() < 0.3 else []
    return merge([*_body(figure), *bag])


def worker(rng: np.random.Generator) -> Mesh:
    """Build a worker: a fluorescent vest with reflective bands and a helmet; some hold a shovel."""
    figure = replace(_draw_figure(rng), head=1.1, jacket=Material.HI_VIS, hat=Material.PLASTIC)
    g, parts = figure.girth, _body(figure)
    for z in (1.02, 1.16):
        rings = [Ring(0.4 * figure.lean, z + dz, 0.145 * g, 0.195 * g) for dz in (0.0, 0.05)]
        parts.append(turned(rings, Material.REFLECTOR))
    if rng.random() < 0.3:
        parts.append(rod((0.3, -0.3, 0.05), (0.2, -0.3, 1.3), 0.03, Material.WOOD, sides=4))
    return merge(parts)


def pram(rng: np.random.Generator) -> Mesh:
    """Build a pram or pushchair: a seat with a hood on four small wheels, the handle behind."""
    cloth, seat = draw_cloth(rng), rng.uniform(0.45, 0.6)
    handle = rod((-0.45, -0.24, 1.0), (-0.45, 0.24, 1.0), 0.02, Material.RUBBER, sides=4)
    return merge(
        [
            block((-0.25, 0.42), (-0.2, 0.2), (seat - 0.12, seat + 0.12), cloth, rake=(0.05, 0.0), tuck=-0.03),
            block((-0.3, 0.08), (-0.22, 0.22), (seat + 0.1, seat + 0.42), cloth, rake=(0.12, 0.05), tuck=0.05),
            *wheels((-0.28, 0.36), 0.24, 0.11, 0.05),
            *both_sides(rod((0.3, 0.23, 0.12), (-0.45, 0.23, 1.0), 0.02, Material.STEEL, sides=4)),
            *both_sides(rod((-0.28, 0.23, 0.12), (0.15, 0.23, seat), 0.02, Material.STEEL, sides=4)),
            handle,
        ]
    )
