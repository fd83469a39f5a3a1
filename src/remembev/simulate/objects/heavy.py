"""Trucks, buses and trailers."""

from __future__ import annotations

import numpy as np

from remembev.simulate.meshes import Material, Mesh, Section, block, loft, merge, rod
from remembev.simulate.objects.parts import both_sides, draw_paint, lamps, mirrors, number_plate, wheels

BODIES = {"box": 0.5, "flatbed": 0.25, "tipper": 0.25}  # probability of each body of a truck


def truck(rng: np.random.Generator) -> Mesh:
    """Build a truck: a cab over the front axle, and behind it a box, a flatbed or a tipper."""
    body = str(rng.choice(list(BODIES), p=list(BODIES.values())))
    height = rng.uniform(2.9, 3.5)
    build = {"box": _box_body, "flatbed": _flatbed, "tipper": _tipper}[body]
    return merge([*_cab(draw_paint(rng)), *_chassis(), *build(height, rng)])


def _cab(paint: Material) -> list[Mesh]:
    """Build a cab: bumper with lamps, a large screen, a visor, mirrors in front of the doors."""
    body = loft(
        [
            Section(1.70, (0.95, 2.60), (1.14, 1.04)),
            Section(2.90, (0.95, 2.64), (1.14, 1.04)),
            Section(3.02, (0.45, 2.60), (1.14, 1.02)),
            Section(3.26, (0.42, 1.95), (1.12, 1.04)),
            Section(3.42, (0.42, 1.35), (1.08, 1.06)),
        ],
        paint,
        tops=(paint, paint, Material.GLASS, Material.GLASS),
    )
    return [
        body,
        block((2.35, 3.1), (-1.15, 1.15), (1.55, 2.2), Material.GLASS, rake=(0.0, 0.1), tuck=0.06),
        block((3.30, 3.46), (-0.7, 0.7), (0.75, 1.2), Material.RUBBER),
        *lamps((3.3, 3.46), (0.75, 1.05), (0.55, 0.75)),
        *mirrors((3.1, 3.24), (1.14, 1.34), (1.6, 2.15), Material.DARK_PAINT),
        number_plate(3.46, 0.5),
    ]


def _chassis() -> list[Mesh]:
    """Build the frame with its wheels, underrun bar, tail lamps and number plate."""
    return [
        block((-3.4, 3.0), (-0.45, 0.45), (0.62, 0.92), Material.STEEL),
        *wheels((-2.35, 2.40), 1.0, 0.48, 0.3),
        block((-3.48, -3.38), (-1.1, 1.1), (0.42, 0.56), Material.STEEL),
        *lamps((-3.52, -3.4), (0.7, 1.05), (0.68, 0.84)),
        number_plate(-3.50, 0.68),
        *both_sides(block((-0.9, 0.9), (0.75, 1.1), (0.5, 0.85), Material.STEEL)),
    ]


def _box_body(height: float, rng: np.random.Generator) -> list[Mesh]:
    """Build a box with a rolling door, and often an air deflector on the cab."""
    wall = Material.LIGHT_PAINT if rng.random() < 0.7 else Material.MID_PAINT
    parts = [
        block((-3.5, 1.5), (-1.23, 1.23), (0.95, height), wall),
        block((-3.53, -3.45), (-1.05, 1.05), (1.1, height - 0.2), Material.STEEL),
        block((-3.54, -3.45), (-1.23, 1.23), (0.95, 1.02), Material.REFLECTOR),
    ]
    if rng.random() < 0.6:
        deflector = [Section(1.75, (2.55, height - 0.1), (1.0, 0.9)), Section(2.9, (2.55, 2.68), (0.95, 0.85))]
        parts.append(loft(deflector, wall))
    return parts


def _flatbed(_: float, rng: np.random.Generator) -> list[Mesh]:
    """Build a bed with a headboard; half of them carry pipes or crates."""
    parts = [
        block((-3.5, 1.5), (-1.23, 1.23), (0.95, 1.12), Material.WOOD),
        block((1.38, 1.5), (-1.2, 1.2), (1.1, 2.3), Material.STEEL),
        *both_sides(block((-3.5, 1.4), (1.18, 1.23), (1.1, 1.1 + rng.uniform(0.15, 0.5)), Material.STEEL)),
    ]
    load = rng.random()
    if load < 0.25:
        parts += [rod((-3.3, y, 1.4), (1.2, y, 1.4), 0.22, Material.CONCRETE, sides=6) for y in (-0.6, 0.0, 0.6)]
    elif load < 0.6:
        starts = rng.uniform(-3.2, -0.6, 2)
        parts += [block((x, x + 1.3), (-0.9, 0.9), (1.12, rng.uniform(1.6, 2.3)), Material.WOOD) for x in starts]
    return parts


def _tipper(_: float, rng: np.random.Generator) -> list[Mesh]:
    """Build an open trough that overhangs the cab, with soil in it."""
    paint, rim = draw_paint(rng), rng.uniform(1.9, 2.4)
    sections = [Section(-3.5, (1.0, rim - 0.2), (1.0, 1.2)), Section(1.45, (0.95, rim), (1.0, 1.2))]
    return [
        loft(sections, paint),
        block((1.3, 1.5), (-1.15, 1.15), (1.0, 2.75), paint),
        block((1.4, 2.2), (-1.0, 1.0), (2.68, 2.78), paint),
        block((-2.9, 1.2), (-1.05, 1.05), (rim - 0.3, rim + 0.15), Material.SOIL, rake=(1.0, 0.8), tuck=0.5),
    ]


def bus(rng: np.random.Generator) -> Mesh:
    """Build a city bus: a screen over the whole front, doors on the right, the engine behind a grille at the rear."""
    paint = draw_paint(rng)
    roof = 3.1 + rng.uniform(-0.08, 0.08)
    unit = rng.uniform(-4.6, -3.4)
    return merge(
        [
            _bus_body(roof, paint),
            *_bus_windows(paint),
            *_bus_front(),
            *_bus_rear(),
            block((unit, unit + 2.6), (-0.9, 0.9), (roof, roof + 0.3), Material.LIGHT_PAINT, rake=(0.2, 0.3), tuck=0.1),
            *wheels((-2.3, 3.1), 1.15, 0.5, 0.3),
        ]
    )


def _bus_body(roof: float, paint: Material) -> Mesh:
    stations = [
        (-5.25, 0.45, roof - 0.12), (-5.1, 0.35, roof), (-2.92, 0.35, roof), (-2.86, 1.05, roof), (-1.74, 1.05, roof),
        (-1.68, 0.32, roof), (2.46, 0.32, roof), (2.52, 1.05, roof), (3.66, 1.05, roof), (3.72, 0.32, roof),
        (5.05, 0.32, roof), (5.22, 0.32, roof - 0.5),
    ]  # fmt: skip
    sections = [Section(x, (low, high), (1.32, 1.24)) for x, low, high in stations]
    return loft([*sections, Section(5.28, (0.36, 1.0), (1.22, 1.2))], paint)


def _bus_windows(paint: Material) -> list[Mesh]:
    """Build the band of side windows with pillars, and two doors of glass on the right."""
    band = block((-4.3, 4.9), (-1.31, 1.31), (1.35, 2.45), Material.GLASS, tuck=0.04)
    pillars = [block((x, x + 0.2), (-1.33, 1.33), (1.3, 2.5), paint, tuck=0.05) for x in (-2.8, -0.9, 1.0, 3.3)]
    doors = [block((x, x + 1.25), (-1.345, -1.2), (0.4, 2.45), Material.GLASS) for x in (3.75, -0.2)]
    return [band, *pillars, *doors]


def _bus_front() -> list[Mesh]:
    """Build the screen, destination sign, lamps, and mirrors that reach ahead of the front."""
    sections = [Section(5.10, (1.02, 2.95), (1.2, 1.12)), Section(5.24, (1.02, 2.5), (1.18, 1.12))]
    screen = loft([*sections, Section(5.31, (1.02, 1.15), (1.12, 1.1))], Material.GLASS)
    arms = both_sides(block((5.15, 5.45), (1.25, 1.45), (1.75, 2.35), Material.RUBBER))
    return [screen, *lamps((5.2, 5.31), (0.8, 1.15), (0.6, 0.8)), *arms, number_plate(5.3, 0.45)]


def _bus_rear() -> list[Mesh]:
    """Build a small high window, the engine's grille, tall tail lamps, a number plate and a bumper."""
    return [
        block((-5.28, -5.2), (-0.95, 0.95), (1.95, 2.6), Material.GLASS),
        block((-5.30, -5.2), (-0.85, 0.85), (0.85, 1.6), Material.RUBBER),
        *lamps((-5.29, -5.2), (1.0, 1.25), (0.8, 1.7)),
        number_plate(-5.29, 1.68),
        block((-5.34, -5.1), (-1.28, 1.28), (0.4, 0.62), Material.STEEL),
    ]


def trailer(rng: np.random.Generator) -> Mesh:
    """Build a trailer: axles at the back, legs and a drawbar at the front; a box, or a bed with a headboard."""
    body = _trailer_box(rng) if rng.random() < 0.7 else _trailer_bed(rng)
    return merge(
        [
            *body,
            block((-5.9, 5.6), (-0.55, 0.55), (0.9, 1.2), Material.STEEL),
            block((5.6, 6.1), (-0.1, 0.1), (0.9, 1.1), Material.STEEL),
            *both_sides(rod((3.8, 0.7, 0.0), (3.8, 0.7, 0.95), 0.1, Material.STEEL, sides=5)),
            *wheels((-5.0, -3.9, -2.8), 1.15, 0.5, 0.35),
            block((-6.02, -5.92), (-1.2, 1.2), (0.45, 0.6), Material.STEEL),
            *lamps((-6.03, -5.9), (0.8, 1.2), (0.95, 1.12)),
            number_plate(-6.02, 0.98),
        ]
    )


def _trailer_box(rng: np.random.Generator) -> list[Mesh]:
    """Build a box with doors and their locking bars at the rear, reflective tape, and often a cooler in front."""
    height = rng.uniform(3.5, 3.9)
    bars = [
        rod((-6.03, y, 1.3), (-6.03, y, height - 0.1), 0.04, Material.STEEL, sides=4) for y in (-0.7, -0.3, 0.3, 0.7)
    ]
    tape = block((-6.02, -5.95), (-1.38, 1.38), (1.2, 1.28), Material.REFLECTOR)
    box = block((-6.0, 5.5), (-1.38, 1.38), (1.2, height), draw_paint(rng))
    if rng.random() < 0.5:
        bars.append(
            block((5.45, 5.85), (-0.95, 0.95), (height - 1.5, height - 0.1), Material.PLASTIC, rake=(0.0, 0.15))
        )
    return [box, tape, *bars]


def _trailer_bed(rng: np.random.Generator) -> list[Mesh]:
    """Build a bed with a headboard and crates towards the front."""
    parts = [
        block((-6.0, 5.5), (-1.38, 1.38), (1.2, 1.4), Material.WOOD),
        block((5.3, 5.5), (-1.3, 1.3), (1.3, 3.0), Material.STEEL),
    ]
    ends = 5.0 - 2.6 * np.arange(rng.integers(1, 4))
    return parts + [block((x - 2.2, x), (-1.1, 1.1), (1.4, rng.uniform(2.0, 3.2)), Material.WOOD) for x in ends]
