"""Barriers and traffic cones."""

from __future__ import annotations

import numpy as np

from remembev.simulate.meshes import Material, Mesh, block, merge, rod
from remembev.simulate.objects.parts import both_sides

BARRIERS = {"water_filled": 0.4, "concrete": 0.25, "boards": 0.35}  # probability of each make


def barrier(rng: np.random.Generator) -> Mesh:
    """Build a barrier across the heading, as nuScenes annotates it."""
    make = str(rng.choice(list(BARRIERS), p=list(BARRIERS.values())))
    return {"water_filled": _water_filled, "concrete": _concrete, "boards": _boards}[make](rng)


def _water_filled(rng: np.random.Generator) -> Mesh:
    """Build a plastic barrier: a wide foot with openings for forks, a waist and a narrow top."""
    plastic = Material.HI_VIS if rng.random() < 0.25 else Material.PLASTIC
    waist = rng.uniform(0.4, 0.6)
    feet = [block((-0.3, 0.3), y, (0.0, 0.12), plastic) for y in ((-1.0, -0.6), (-0.25, 0.25), (0.6, 1.0))]
    return merge(
        [
            *feet,
            block((-0.3, 0.3), (-1.0, 1.0), (0.12, waist), plastic, rake=(0.16, 0.16)),
            block((-0.14, 0.14), (-1.0, 1.0), (waist, 1.0), plastic, rake=(0.04, 0.04)),
            block((-0.17, 0.17), (-0.9, 0.9), (0.74, 0.84), Material.LIGHT_PAINT),
        ]
    )


def _concrete(rng: np.random.Generator) -> Mesh:
    """Build a Jersey barrier; one in three carries a reflector."""
    parts = [
        block((-0.3, 0.3), (-1.0, 1.0), (0.0, 0.15), Material.CONCRETE),
        block((-0.3, 0.3), (-1.0, 1.0), (0.15, 0.45), Material.CONCRETE, rake=(0.17, 0.17)),
        block((-0.13, 0.13), (-1.0, 1.0), (0.45, 1.0), Material.CONCRETE, rake=(0.05, 0.05)),
    ]
    if rng.random() < 0.33:
        parts.append(block((-0.03, 0.03), (-0.06, 0.06), (1.0, 1.12), Material.REFLECTOR))
    return merge(parts)


def _boards(rng: np.random.Generator) -> Mesh:
    """Build boards on two A-shaped stands: mostly air below; some have a warning lamp."""
    board = Material.HI_VIS if rng.random() < 0.3 else Material.WOOD
    legs = [
        leg
        for end in (-0.32, 0.32)
        for leg in both_sides(rod((end, 0.8, 0.0), (0.0, 0.8, 1.0), 0.03, Material.STEEL, sides=4))
    ]
    heights = [(0.76, 1.0), (0.42, 0.56), (0.1, 0.18)] if rng.random() < 0.5 else [(0.7, 1.0)]
    parts = [*legs, *[block((-0.03, 0.03), (-1.0, 1.0), z, board) for z in heights]]
    if rng.random() < 0.3:
        parts.append(rod((0.0, 0.7, 1.0), (0.0, 0.7, 1.2), 0.09, Material.LAMP, sides=6))
    return merge(parts)


def traffic_cone(rng: np.random.Generator) -> Mesh:
    """Build a traffic cone: a square base and a cone with a reflective collar; one in ten is a slim delineator."""
    base = block((-0.2, 0.2), (-0.2, 0.2), (0.0, 0.05), Material.RUBBER)
    radii = (0.06, 0.055, 0.05, 0.05) if rng.random() < 0.1 else (0.15, 0.10, 0.07, 0.03)
    collar = rng.uniform(0.35, 0.5)
    heights = (0.05, collar, collar + 0.18, 0.75)
    materials = (Material.PLASTIC, Material.REFLECTOR, Material.PLASTIC)
    bands = zip(heights, heights[1:], radii, radii[1:], materials, strict=False)
    return merge([base, *[rod((0, 0, a), (0, 0, b), r, m, end_radius=last, sides=8) for a, b, r, last, m in bands]])
