"""Shapes of walls and fences, along x about the origin: garden walls, hoardings, railings, wire, guard rails."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from remembev.simulate.meshes import Material, Mesh, block, merge, rod
from remembev.simulate.placement.scenery.surfaces import sheet

Stretch = Callable[[np.random.Generator, float], Mesh]


def _sections(rng: np.random.Generator, length: float, low: float, high: float) -> list[tuple[float, float]]:
    """Cut a length about 0 into sections of `low` to `high` metres."""
    edges = [0.0]
    while edges[-1] < length - low:
        edges.append(min(edges[-1] + rng.uniform(low, high), length))
    edges[-1] = length
    return [(a - length / 2, b - length / 2) for a, b in itertools.pairwise(edges)]


def garden_wall(rng: np.random.Generator, length: float) -> Mesh:
    """Build a wall 0.5 to 4 m high with steps, gaps and pillars, of brick or concrete."""
    material = Material.BRICK if rng.random() < 0.55 else Material.CONCRETE
    height, half = rng.uniform(0.5, 2.4) if rng.random() < 0.7 else rng.uniform(2.4, 4.0), rng.uniform(0.08, 0.2)
    step, depth, gaps = rng.choice([0.0, 0.15, 0.4]), rng.choice([0.0, 0.03, 0.1]), rng.choice([0.0, 0.0, 0.15])
    pillars, cap = rng.random() < 0.55, rng.random() < 0.4
    parts: list[Mesh] = []
    for number, (start, end) in enumerate(_sections(rng, length, 1.2, 4.0)):
        top, shift = max(height + rng.uniform(-step, step), 0.4), rng.uniform(-depth, depth)
        if pillars:
            wide = half + rng.uniform(0.06, 0.14)
            parts.append(
                block((start, start + 2 * wide), (-wide, wide), (-0.5, top + rng.uniform(0.05, 0.35)), material)
            )
        if number and rng.random() < gaps:
            continue
        parts.append(block((start, end), (shift - half, shift + half), (-0.5, top), material))
        if cap:
            over = half + 0.05
            parts.append(block((start, end), (shift - over, shift + over), (top, top + 0.08), Material.CONCRETE))
    return merge(parts)


def retaining_wall(rng: np.random.Generator, length: float) -> Mesh:
    """Build a thick wall in terraces, with earth behind it."""
    height, back, parts = rng.uniform(0.6, 2.6), 0.0, []
    for _ in range(int(rng.integers(1, 4))):
        deep = rng.uniform(0.4, 1.2)
        for start, end in _sections(rng, length, 2.0, 6.0):
            shift = rng.uniform(-0.06, 0.06)
            parts.append(
                block((start, end), (back + shift, back + deep), (-0.5, height), Material.CONCRETE, rake=(0, 0))
            )
        height, back = height + rng.uniform(0.3, 0.9), back + deep
    whole = merge(parts)
    return Mesh(whole.vertices - (0.0, back / 2, 0.0), whole.faces, whole.materials)


def hoarding(rng: np.random.Generator, length: float) -> Mesh:
    """Build a hoarding of panels on posts, some of them askew or missing."""
    height, material = rng.uniform(1.8, 3.0), Material.WOOD if rng.random() < 0.6 else Material.SHEET_METAL
    foot, parts = rng.choice([0.0, 0.15, 0.4]), []
    for start, end in _sections(rng, length, 1.2, 2.5):
        y = rng.uniform(-0.04, 0.04)
        parts.append(block((start, start + 0.1), (0.05, 0.15), (0.0, height + 0.1), Material.WOOD))
        if rng.random() < 0.93:
            parts.append(block((start + 0.02, end - 0.02), (y - 0.02, y + 0.02), (foot, height), material))
    return merge(parts)


def fence(rng: np.random.Generator, length: float) -> Mesh:
    """Build a fence of upright slats; objects behind it show through the gaps."""
    height, pitch = rng.uniform(1.1, 1.8), rng.uniform(0.3, 0.5)
    starts = np.arange(0.0, length, pitch) - length / 2
    share = rng.uniform(0.45, 0.7)
    return merge([block((x, x + share * pitch), (-0.03, 0.03), (0.0, height), Material.WOOD) for x in starts])


def railing(rng: np.random.Generator, length: float) -> Mesh:
    """Build a railing: posts and two or three rails."""
    height, spacing, half = rng.uniform(0.8, 1.3), rng.uniform(1.2, 2.4), length / 2
    posts = [rod((x, 0, 0), (x, 0, height), 0.03, Material.STEEL, sides=4) for x in np.arange(-half, half, spacing)]
    levels = np.linspace(0.25, 1.0, int(rng.integers(2, 4))) * height
    rails = [block((-half, half), (-0.025, 0.025), (z - 0.05, z), Material.STEEL) for z in levels]
    return merge([*posts, *rails])


def wire_fence(rng: np.random.Generator, length: float) -> Mesh:
    """Build a chain-link fence, which few pulses hit, on posts."""
    height, half = rng.uniform(1.2, 3.0), length / 2
    posts = [rod((x, 0, 0), (x, 0, height), 0.035, Material.STEEL, sides=4) for x in np.arange(-half, half, 2.5)]
    x = np.linspace(-half, half, max(2, int(length / 2.5)))
    y = rng.uniform(-0.04, 0.04, (len(x), 2))
    grid = np.stack([np.stack([x, y[:, k], np.full(len(x), z)], axis=1) for k, z in ((0, 0.05), (1, height))], axis=1)
    return merge([*posts, sheet(grid, Material.CHAIN_LINK)])


def guard_rail(rng: np.random.Generator, length: float) -> Mesh:
    """Build a guard rail: a beam at the height of a car's door on short posts."""
    half, height = length / 2, rng.uniform(0.65, 0.8)
    posts = [block((x, x + 0.1), (-0.05, 0.05), (0.0, height), Material.STEEL) for x in np.arange(-half, half, 2.0)]
    beam = block((-half, half), (-0.12, -0.05), (height - 0.31, height), Material.STEEL)
    return merge([*posts, beam])


WALLS: dict[Stretch, float] = {garden_wall: 0.6, hoarding: 0.25, retaining_wall: 0.15}
FENCES: dict[Stretch, float] = {fence: 0.35, railing: 0.2, wire_fence: 0.3, guard_rail: 0.15}


def draw_stretch(rng: np.random.Generator, kinds: dict[Stretch, float], length: float) -> Mesh:
    """Build a wall or fence of a random kind."""
    return list(kinds)[int(rng.choice(len(kinds), p=list(kinds.values())))](rng, length)
