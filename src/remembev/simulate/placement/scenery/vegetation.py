"""Shapes of plants: trees, bushes, hedges, tall grass. Each stands on z = 0 about the origin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from remembev.simulate.meshes import Interval, Material, Mesh, merge, rod
from remembev.simulate.placement.scenery.surfaces import leaves, sheet

HEDGE_SECTION = 0.8  # metres between two cross-sections of a hedge


def broadleaf(rng: np.random.Generator, lowest: Interval = (2.2, 4.5), over_road: float = 0.0) -> Mesh:
    """Build a tree: trunk, branches, and a crown of several clumps of leaves.

    Args:
        rng: Source of its shape.
        lowest: Bounds of the height in metres down to which the crown hangs.
        over_road: Height in metres below which nothing hangs over low y, where the road is; 0: as everywhere.
    """
    low, radius = rng.uniform(*lowest), rng.uniform(0.1, 0.3)
    spread, tall = rng.uniform(1.8, 4.0), rng.uniform(1.4, 2.8)
    top = max(low, over_road) + 1.2 * tall
    parts = [rod((0, 0, 0), (0, 0, top), radius, Material.BARK, end_radius=0.5 * radius, sides=6)]
    count = int(rng.integers(4, 7))
    for angle in rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count:
        reach, size = rng.uniform(0.3, 0.6) * spread, rng.uniform(0.45, 0.75) * spread
        half = rng.uniform(0.45, 0.75) * tall
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        if over_road > low and y > 0:
            y = max(y, size - 0.4)  # what hangs low stays behind the kerb
        z = half + rng.uniform(0.0, 0.6) * tall + (max(low, over_road) if y < size - 0.4 else low)
        parts.append(rod((0, 0, max(low - 0.4, 1.6)), (x, y, z), 0.05, Material.BARK, sides=3))
        parts.append(leaves((x, y, z), (size, size, half), rng, rng.uniform(0.5, 0.9)))
    parts.append(leaves((0, 0, top + 0.6 * tall), (0.8 * spread, 0.8 * spread, 0.6 * tall), rng))
    return merge(parts)


def small_tree(rng: np.random.Generator) -> Mesh:
    """Build a young tree, its crown as low as a person's head, perhaps with a stake."""
    trunk, size = rng.uniform(1.9, 2.6), rng.uniform(0.5, 1.1)
    parts = [
        rod((0, 0, 0), (0.1, 0, trunk + size), rng.uniform(0.03, 0.08), Material.BARK, sides=5),
        leaves((0.1, 0, trunk + size), (size, size, 1.2 * size), rng),
        leaves((-0.1, 0.1, trunk + 2 * size), (0.7 * size, 0.7 * size, size), rng),
    ]
    if rng.random() < 0.5:
        parts.append(rod((0.3, 0, 0), (0.3, 0, 1.4), 0.04, Material.WOOD, sides=4))
    return merge(parts)


def street_tree(rng: np.random.Generator) -> Mesh:
    """Build a tree as planted along a kerb: most hang just over people's heads and leave lorries room, some don't."""
    pick = rng.random()
    if pick < 0.15:
        young = small_tree(rng)
        return Mesh(young.vertices * (0.4, 0.4, 1.0), young.faces, young.materials)
    if pick < 0.25:
        return palm(rng)
    return broadleaf(rng, (2.15, 3.4) if pick < 0.8 else (3.4, 5.0), 0.0 if pick < 0.4 else 4.3)


def conifer(rng: np.random.Generator) -> Mesh:
    """Build a spruce or a cypress: ragged cones one above another."""
    height, radius = rng.uniform(3.0, 14.0), rng.uniform(0.6, 2.0)
    parts = [rod((0, 0, 0), (0, 0, 0.5 * height), 0.05 + 0.1 * radius, Material.BARK, sides=5)]
    for low in np.linspace(0.12, 0.7, 4):
        width = radius * (1.05 - low)
        middle = height * (low + 0.16)
        parts.append(leaves((0, 0, middle), (width, width, 0.2 * height), rng, 0.7))
    return merge(parts)


def palm(rng: np.random.Generator) -> Mesh:
    """Build a palm: a bare trunk and drooping fronds."""
    height, lean = rng.uniform(4.5, 9.0), rng.normal(0.0, 0.3, 2)
    parts = [rod((0, 0, 0), (lean[0], lean[1], height), 0.2, Material.BARK, end_radius=0.14, sides=6)]
    for angle in rng.uniform(0, 2 * np.pi) + np.arange(9) * 2 * np.pi / 9:
        along = np.array([0.0, 0.5, 1.0]) * rng.uniform(1.4, 2.2)
        drop = np.array([0.0, 0.3, -0.7]) * rng.uniform(0.6, 1.4)
        width = np.array([0.06, 0.3, 0.03])
        across = np.array([-np.sin(angle), np.cos(angle)])
        middle = np.column_stack([along * np.cos(angle) + lean[0], along * np.sin(angle) + lean[1], height + drop])
        edges = [middle + np.column_stack([side * width[:, None] * across, 0 * along]) for side in (-1, 1)]
        parts.append(sheet(np.stack(edges, axis=1), Material.LEAVES))
    return merge(parts)


def bush(rng: np.random.Generator) -> Mesh:
    """Build a bush the size of a person: 0.4 to 1 m wide, 0.5 to 2 m high."""
    radius, height = rng.uniform(0.2, 0.5), rng.uniform(0.5, 2.0)
    parts = [leaves((0, 0, 0.55 * height), (radius, radius, 0.45 * height), rng, 0.8, Material.FOLIAGE)]
    if rng.random() < 0.5:
        x, y = rng.uniform(-0.5, 0.5, 2) * radius
        parts.append(leaves((x, y, 0.3 * height), (radius, radius, 0.3 * height), rng, 0.8, Material.FOLIAGE))
    return merge(parts)


def tall_grass(rng: np.random.Generator) -> Mesh:
    """Build a clump of tall grass or reeds."""
    blades = []
    for _ in range(8):
        (x, y), lean, height = rng.uniform(-0.3, 0.3, 2), rng.normal(0.0, 0.2, 2), rng.uniform(0.4, 1.5)
        blades.append(
            rod((x, y, 0), (x + lean[0], y + lean[1], height), 0.05, Material.GRASS, end_radius=0.01, sides=3)
        )
    return merge(blades)


def hedge(rng: np.random.Generator, length: float, height: Interval, half: float | None = None) -> Mesh:
    """Build a hedge of a given length along x, of uneven height and depth; `half` is half its depth."""
    top, half = rng.uniform(*height), rng.uniform(0.3, 0.6) if half is None else half
    n = max(3, int(length / HEDGE_SECTION) + 1)
    profile = np.array([(-0.9, 0.0), (-1.0, 0.5), (-0.8, 0.95), (0.0, 1.0), (0.8, 0.95), (1.0, 0.5), (0.9, 0.0)])
    uneven = profile[None] * rng.uniform(0.82, 1.15, (n, len(profile), 2)) * (half, top)
    uneven[[0, -1], :, 0] *= 0.15
    x = np.broadcast_to(np.linspace(-length / 2, length / 2, n)[:, None, None], (n, len(profile), 1))
    return sheet(np.concatenate([x, uneven], axis=2), Material.FOLIAGE)


TREES: dict[Callable[[np.random.Generator], Mesh], float] = {
    broadleaf: 0.58, small_tree: 0.2, conifer: 0.12, palm: 0.1,
}  # fmt: skip


def tree(rng: np.random.Generator) -> Mesh:
    """Build a tree of any kind."""
    kinds = list(TREES)
    return kinds[int(rng.choice(len(kinds), p=list(TREES.values())))](rng)
