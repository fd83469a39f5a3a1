"""Shapes of buildings: about the origin, length along x, the front at low y; rooms show through the windows."""

from __future__ import annotations

import itertools

import numpy as np

from remembev.simulate.meshes import Array, Material, Mesh, block, merge, rod
from remembev.simulate.placement.scenery.surfaces import BOTTOM, FAR, FRONT, NEAR, REAR, TOP, sheet, slab, thinned

FOUNDATION = -4.5  # metres that walls reach below the kerb's height, for ground that falls
STOREY = 3.1
WALL_MATERIALS = (Material.BRICK, Material.CONCRETE, Material.FACADE)


def building(rng: np.random.Generator, length: float, depth: float, height: float) -> Mesh:
    """Build a house: a grid of piers and bands before recessed windows, and what protrudes from its front."""
    wall = WALL_MATERIALS[int(rng.choice(3, p=[0.4, 0.45, 0.15]))]
    front, recess = -depth / 2, rng.uniform(0.1, 0.45)
    storeys, bays = max(1, round(height / STOREY)), max(2, round(length / rng.uniform(2.4, 4.5)))
    edges, storey = np.linspace(-length / 2, length / 2, bays + 1), height / storeys
    parts = [_body(rng, length, front + recess, depth / 2, height, wall)]
    parts += _piers(edges, rng.uniform(0.5, 0.8), front, recess, height, wall)
    parts += _bands(rng, length, storeys, storey, front, recess, wall)
    if storeys > 1 and rng.random() < 0.4:
        parts += _balconies(rng, edges, storeys, storey, front)
    if storeys > 1 and rng.random() < 0.3:
        parts.append(_oriel(rng, edges, height, front, wall))
    if rng.random() < 0.45:
        parts.append(_awning(rng, edges, front))
    parts += [_gutter(x, front, height) for x in edges[[0, -1]] if rng.random() < 0.5]
    parts.append(_roof(rng, length, depth, height, wall))
    return merge(parts)


def _body(rng: np.random.Generator, length: float, front: float, back: float, height: float, wall: Material) -> Mesh:
    x, z = (-length / 2, length / 2), (FOUNDATION, height)
    shell = slab(x, (front, back), z, wall, FAR, REAR, FRONT, TOP)
    return merge([shell, _panes(rng, length, front, height), *_rooms(rng, length, front, back, height)])


def _panes(rng: np.random.Generator, length: float, front: float, height: float) -> Mesh:
    """Build the glass behind all windows; a share of it that differs by house lets pulses through."""
    grid = np.array([[(x, front, z) for z in np.arange(FOUNDATION, height, 0.5)] for x in np.arange(0.0, length, 0.5)])
    return thinned(sheet(grid - (length / 2 - 0.2, 0.0, 0.0), Material.GLASS), rng.uniform(0.3, 1.0), rng)


def _rooms(rng: np.random.Generator, length: float, front: float, back: float, height: float) -> list[Mesh]:
    """Build what shows through the windows: floors, a wall at the back of the rooms, walls between them, furniture."""
    x, rear = (-length / 2, length / 2), min(back, front + rng.uniform(2.5, 6.0))
    parts = [slab(x, (front, rear), (FOUNDATION, height), Material.CONCRETE, FAR)]
    levels = np.arange(0.0, height, STOREY)
    parts += [slab(x, (front + 0.05, rear), (z - 0.2, z), Material.CONCRETE, BOTTOM, TOP) for z in levels]
    for at in np.arange(x[0] + rng.uniform(2.0, 5.0), x[1] - 1.0, 4.5):
        parts.append(slab((at, at + 0.1), (front + 0.4, rear), (0.0, height), Material.CONCRETE, REAR, FRONT))
    for _ in range(int(rng.integers(2, 7))):
        at, deep, tall = (
            rng.uniform(x[0] + 0.5, x[1] - 1.5),
            rng.uniform(0.5, rear - front - 0.6),
            rng.uniform(0.7, 2.0),
        )
        parts.append(
            block((at, at + rng.uniform(0.4, 1.4)), (front + deep, front + deep + 0.5), (0.0, tall), Material.WOOD)
        )
    return parts


def _piers(edges: Array, share: float, front: float, recess: float, height: float, wall: Material) -> list[Mesh]:
    """Build the upright strips of wall between windows; `share` of each bay is wall."""
    half = share * (edges[1] - edges[0]) / 2
    y, z = (front, front + recess), (FOUNDATION, height)
    inside = [slab((x - half, x + half), y, z, wall, NEAR, REAR, FRONT) for x in edges[1:-1]]
    ends = [(edges[0], edges[0] + half), (edges[-1] - half, edges[-1])]
    return inside + [slab(x, y, z, wall, NEAR, REAR, FRONT) for x in ends]


def _bands(
    rng: np.random.Generator, length: float, storeys: int, storey: float, front: float, recess: float, wall: Material
) -> list[Mesh]:
    """Build the level strips of wall between storeys; a shop's windows reach down to the ground."""
    low, high, shop = rng.uniform(0.25, 0.35), rng.uniform(0.12, 0.25), rng.random() < 0.35
    spans = [(k * storey - (high if k else 0.2) * storey, k * storey + low * storey) for k in range(storeys)]
    spans[0] = (FOUNDATION, 0.35 if shop else low * storey)
    spans.append((storeys * storey - high * storey, storeys * storey))
    x, y = (-length / 2, length / 2), (front + 0.03, front + recess)
    return [slab(x, y, z, wall, NEAR, TOP, BOTTOM) for z in spans]


def _balconies(rng: np.random.Generator, edges: Array, storeys: int, storey: float, front: float) -> list[Mesh]:
    """Build balconies in some bays, each a slab with a parapet."""
    deep, parapet, parts = rng.uniform(0.7, 1.5), rng.uniform(0.8, 1.1), []
    material = Material.GLASS if rng.random() < 0.25 else Material.CONCRETE
    for k in range(1, min(storeys, 4)):
        for a, b in itertools.pairwise(edges):
            if rng.random() < 0.4:
                low = k * storey
                slab_y, x = (front - deep, front), (a + 0.2, b - 0.2)
                parts.append(slab(x, slab_y, (low - 0.15, low), Material.CONCRETE, NEAR, BOTTOM, TOP, REAR, FRONT))
                parts.append(slab(x, (front - deep, front), (low, low + parapet), material, NEAR, REAR, FRONT))
    return parts


def _oriel(rng: np.random.Generator, edges: Array, height: float, front: float, wall: Material) -> Mesh:
    """Build a bay that protrudes from the upper storeys."""
    bay, deep, low = int(rng.integers(len(edges) - 1)), rng.uniform(0.4, 0.9), rng.uniform(2.6, 3.2)
    x, top = (edges[bay] + 0.1, edges[bay + 1] - 0.1), height * rng.uniform(0.8, 1.0)
    lower = block(x, (front - deep, front), (low, low + 0.9), wall)
    middle = block(x, (front - deep + 0.1, front), (low + 0.9, max(top, low + 1.2)), Material.GLASS)
    return merge(
        [lower, middle, *[rod((a, front - deep, low), (a, front - deep, top + 0.5), 0.12, wall, sides=4) for a in x]]
    )


def _awning(rng: np.random.Generator, edges: Array, front: float) -> Mesh:
    """Build a shop's awning, above people's heads."""
    first = int(rng.integers(len(edges) - 1))
    last = int(rng.integers(first + 1, len(edges)))
    low, out = rng.uniform(2.2, 2.8), rng.uniform(0.8, 2.6)
    rows = [(front, low + 0.7), (front - out, low + 0.15), (front - out, low)]
    return sheet(np.array([[(x, y, z) for y, z in rows] for x in (edges[first], edges[last])]), Material.CLOTH)


def _gutter(x: float, front: float, height: float) -> Mesh:
    return rod((x, front - 0.08, 0), (x, front - 0.08, height), 0.06, Material.SHEET_METAL, sides=5)


def _roof(rng: np.random.Generator, length: float, depth: float, height: float, wall: Material) -> Mesh:
    """Build a pitched roof with dormers or a chimney, or a flat roof's parapet and plant room."""
    half, deep = length / 2, depth / 2
    chimney = rng.uniform(-0.4, 0.4) * length
    if rng.random() < 0.5:
        ridge, over = height + rng.uniform(1.5, 4.0), 0.3
        rows = [(-deep - over, height), (0.0, ridge), (deep + over, height)]
        roof = sheet(np.array([[(x, y, z) for y, z in rows] for x in (-half, half)]), Material.BRICK)
        return merge([roof, block((chimney, chimney + 0.7), (-0.3, 0.3), (height, ridge + 0.8), Material.BRICK)])
    parapet = block((-half - 0.05, half + 0.05), (-deep - 0.15, -deep + 0.25), (height, height + 0.5), wall)
    room = block((chimney, chimney + 3.0), (-deep + 1.0, deep - 1.0), (height, height + 2.4), Material.SHEET_METAL)
    return merge([parapet, room])


def tower(rng: np.random.Generator) -> Mesh:
    """Build a tall building as seen from far: wings of different height and depth, ledges between storeys."""
    wall, parts, x = WALL_MATERIALS[int(rng.integers(2))], [], 0.0
    height = rng.uniform(8.0, 25.0)
    for _ in range(int(rng.integers(1, 4))):
        wide, shift, top = rng.uniform(6.0, 14.0), rng.uniform(-2.0, 2.0), height * rng.uniform(0.7, 1.1)
        parts.append(slab((x, x + wide), (-5.0 + shift, 5.0), (FOUNDATION, top), wall, NEAR, FAR, REAR, FRONT, TOP))
        levels = np.arange(STOREY, top, STOREY)
        y = (-5.5 + shift, -5.0 + shift)
        parts += [slab((x + 0.5, x + wide - 0.5), y, (z, z + 1.1), wall, NEAR, TOP, BOTTOM) for z in levels]
        x += wide
    whole = merge(parts)
    return Mesh(whole.vertices - (x / 2, 0.0, 0.0), whole.faces, whole.materials)
