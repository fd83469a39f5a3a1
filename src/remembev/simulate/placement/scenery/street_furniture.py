"""Shapes of street furniture: posts, signs, boxes, seats, shelters. Each stands on z = 0 about the origin.

At a kerb on the left of a street +x points along the street and -y to the road.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from remembev.simulate.meshes import Material, Mesh, block, ellipsoid, merge, rod
from remembev.simulate.placement.scenery.surfaces import roughened
from remembev.simulate.placement.scenery.vegetation import bush, tall_grass

Shape = Callable[[np.random.Generator], Mesh]


def pole(rng: np.random.Generator) -> Mesh:
    """Build a bare pole or mast, 0.05 to 0.4 m thick."""
    radius = rng.uniform(0.025, 0.2)
    return rod((0, 0, 0), (0, 0, rng.uniform(1.5, 4.0) + 20.0 * radius), radius, Material.STEEL, sides=6)


def lamp(rng: np.random.Generator) -> Mesh:
    """Build a street lamp, in most cases with an arm over the road, perhaps with a sign on its post."""
    height, radius = rng.uniform(5.0, 10.0), rng.uniform(0.06, 0.13)
    parts = [rod((0, 0, 0), (0, 0, height), radius, Material.STEEL, end_radius=0.6 * radius, sides=6)]
    arm = rng.uniform(0.8, 2.5) if rng.random() < 0.7 else 0.0
    if arm:
        parts.append(rod((0, 0, height - 0.1), (0, -arm, height + 0.2), 0.04, Material.STEEL, sides=4))
    parts.append(block((-0.15, 0.15), (-arm - 0.5, -arm + 0.1), (height + 0.1, height + 0.28), Material.PLASTIC))
    if rng.random() < 0.4:
        parts.append(_plate(rng, -radius - 0.02, 2.3))
    return merge(parts)


def _plate(rng: np.random.Generator, y: float, low: float) -> Mesh:
    """Build a sign's plate that faces along the street or across it."""
    half, tall = rng.uniform(0.2, 0.45), rng.uniform(0.35, 0.9)
    along, across = ((-0.02, 0.02), (-half, half)) if rng.random() < 0.75 else ((-half, half), (y - 0.02, y + 0.02))
    return block(along, across, (low, low + tall), Material.SIGN)


def sign(rng: np.random.Generator) -> Mesh:
    """Build one or two retroreflective signs on a pole: above people's heads, at their height, or low on an island."""
    lowest, highest = ((2.05, 2.4), (1.0, 2.05), (0.25, 1.0))[int(rng.choice(3, p=(0.5, 0.4, 0.1)))]
    low = rng.uniform(lowest, highest)
    parts = [rod((0.04, 0, 0), (0.04, 0, low + 0.6), 0.03, Material.STEEL, sides=5), _plate(rng, -0.05, low)]
    if rng.random() < 0.3:
        parts.append(_plate(rng, -0.05, low + 0.95))
        parts.append(rod((0.04, 0, low + 0.6), (0.04, 0, low + 1.6), 0.03, Material.STEEL, sides=5))
    return merge(parts)


def traffic_light(rng: np.random.Generator) -> Mesh:
    """Build a traffic light, perhaps with a second head on an arm over the road."""
    parts = [_light_head(0.0, 2.2)]
    tall = rng.random() < 0.5
    height = 6.0 if tall else 3.2
    parts.append(rod((0, 0.2, 0), (0, 0.2, height), 0.09 if tall else 0.06, Material.STEEL, sides=6))
    if tall:
        reach = rng.uniform(2.5, 5.0)
        parts += [rod((0, 0.2, 5.9), (0, -reach, 6.0), 0.06, Material.STEEL, sides=4), _light_head(-reach, 5.1)]
    return merge(parts)


def _light_head(y: float, low: float) -> Mesh:
    return block((-0.15, 0.15), (y - 0.17, y + 0.17), (low, low + 0.95), Material.PLASTIC)


def electricity_box(rng: np.random.Generator) -> Mesh:
    """Build a cabinet of the electricity or telephone network."""
    half, deep, height = rng.uniform(0.25, 0.9), rng.uniform(0.14, 0.25), rng.uniform(0.8, 1.7)
    return merge(
        [
            block((-half, half), (-deep, deep), (0.0, 0.12), Material.CONCRETE),
            block((-half + 0.03, half - 0.03), (-deep + 0.02, deep - 0.02), (0.12, height), Material.PLASTIC),
            block((-half, half), (-deep, deep), (height, height + 0.06), Material.PLASTIC),
        ]
    )


def post_box(rng: np.random.Generator) -> Mesh:
    """Build a post box on a stand, or a pillar box."""
    if rng.random() < 0.5:
        return merge(
            [
                rod((0, 0, 0), (0, 0, 1.35), 0.24, Material.SHEET_METAL),
                ellipsoid((0, 0, 1.35), (0.27, 0.27, 0.12), Material.SHEET_METAL),
            ]
        )
    box = block((-0.25, 0.25), (-0.18, 0.18), (0.75, 1.4), Material.SHEET_METAL, tuck=0.03)
    return merge([rod((0, 0, 0), (0, 0, 0.8), 0.05, Material.STEEL, sides=5), box])


def wheelie_bins(rng: np.random.Generator) -> Mesh:
    """Build one to four bins on wheels, none quite in line."""
    count, parts = int(rng.integers(1, 5)), []
    for k in range(count):
        x, y = 0.68 * (k - (count - 1) / 2) + rng.normal(0.0, 0.03), rng.normal(0.0, 0.05)
        body = block((x - 0.27, x + 0.27), (y - 0.33, y + 0.33), (0.0, 1.0), Material.PLASTIC)
        lid = block((x - 0.29, x + 0.29), (y - 0.36, y + 0.36), (1.0, 1.1), Material.PLASTIC, tuck=0.15)
        parts += [roughened(body, 0.02, rng), lid]
    return merge(parts)


def bench(rng: np.random.Generator) -> Mesh:
    """Build a bench that faces the road, or one without a back."""
    half = rng.uniform(0.6, 1.1)
    parts = [block((-half, half), (-0.25, 0.2), (0.4, 0.47), Material.WOOD)]
    parts += [block((x - 0.04, x + 0.04), (-0.22, 0.2), (0.0, 0.4), Material.STEEL) for x in (-half + 0.2, half - 0.2)]
    if rng.random() < 0.7:
        parts.append(block((-half, half), (0.2, 0.26), (0.5, 0.9), Material.WOOD))
    return merge(parts)


def bollards(rng: np.random.Generator) -> Mesh:
    """Build a row of bollards."""
    count, pitch, radius = int(rng.integers(2, 6)), rng.uniform(1.2, 2.0), rng.uniform(0.05, 0.14)
    height = rng.uniform(0.6, 1.1)
    xs = (np.arange(count) - (count - 1) / 2) * pitch
    material = Material.CONCRETE if radius > 0.1 else Material.STEEL
    return merge([rod((x, 0, 0), (x, 0, height), radius, material, sides=6) for x in xs])


def parking_meter(rng: np.random.Generator) -> Mesh:
    """Build a parking meter or a ticket machine."""
    if rng.random() < 0.5:
        return block((-0.17, 0.17), (-0.15, 0.15), (0.0, rng.uniform(1.4, 1.8)), Material.SHEET_METAL)
    head = block((-0.1, 0.1), (-0.08, 0.08), (1.05, 1.4), Material.SHEET_METAL, tuck=0.03)
    return merge([rod((0, 0, 0), (0, 0, 1.1), 0.035, Material.STEEL, sides=5), head])


def post(rng: np.random.Generator) -> Mesh:
    """Build a post, a stele or a standpipe as high as a child or an adult."""
    height, radius = rng.uniform(0.7, 1.8), rng.uniform(0.05, 0.22)
    material = (Material.WOOD, Material.CONCRETE, Material.SHEET_METAL)[int(rng.integers(3))]
    if rng.random() < 0.4:
        return block((-radius, radius), (-0.7 * radius, 0.7 * radius), (0.0, height), material, tuck=0.2 * radius)
    return rod((0, 0, 0), (0, 0, height), radius, material, end_radius=rng.uniform(0.6, 1.0) * radius, sides=7)


def hydrant(rng: np.random.Generator) -> Mesh:
    """Build a hydrant: a barrel with a bonnet and outlets to both sides."""
    height, radius = rng.uniform(0.5, 0.85), rng.uniform(0.09, 0.14)
    low = 0.65 * height
    return merge(
        [
            rod((0, 0, 0), (0, 0, height), radius, Material.SHEET_METAL, sides=8),
            ellipsoid((0, 0, height), (1.2 * radius, 1.2 * radius, 0.08), Material.SHEET_METAL),
            rod((0, -2 * radius, low), (0, 2 * radius, low), 0.6 * radius, Material.SHEET_METAL, sides=6),
        ]
    )


def litter_bin(rng: np.random.Generator) -> Mesh:
    """Build a litter bin: one that stands, perhaps under a lid on legs, or one that hangs from a post."""
    material = Material.SHEET_METAL if rng.random() < 0.5 else Material.PLASTIC
    radius, height = rng.uniform(0.17, 0.33), rng.uniform(0.75, 1.15)
    if rng.random() < 0.3:
        basket = rod((0, -0.2, 0.5), (0, -0.2, 1.0), 0.17, material, end_radius=0.2)
        return merge([rod((0, 0, 0), (0, 0, rng.uniform(1.1, 2.6)), 0.04, Material.STEEL, sides=5), basket])
    parts = [rod((0, 0, 0), (0, 0, height), 0.9 * radius, material, end_radius=radius)]
    if rng.random() < 0.4:
        parts.append(ellipsoid((0, 0, height + 0.25), (1.1 * radius, 1.1 * radius, 0.12), material))
        parts += [rod((x, 0, height), (x, 0, height + 0.25), 0.02, Material.STEEL, sides=4) for x in (-radius, radius)]
    return merge(parts)


def bicycle_stands(rng: np.random.Generator) -> Mesh:
    """Build a row of hoops for bicycles, all of them empty."""
    parts: list[Mesh] = []
    for x in np.arange(int(rng.integers(2, 7))) * 0.9 - 1.8:
        legs = [rod((x, y, 0), (x, y, 0.8), 0.025, Material.STEEL, sides=4) for y in (-0.35, 0.35)]
        parts += [*legs, rod((x, -0.35, 0.8), (x, 0.35, 0.8), 0.025, Material.STEEL, sides=4)]
    return merge(parts)


def flower_tub(rng: np.random.Generator) -> Mesh:
    """Build a tub with a plant in it."""
    radius, height = rng.uniform(0.25, 0.45), rng.uniform(0.35, 0.7)
    tub = rod((0, 0, 0), (0, 0, height), 0.8 * radius, Material.CONCRETE, end_radius=radius)
    plant = bush(rng) if rng.random() < 0.7 else tall_grass(rng)
    return merge([tub, Mesh(plant.vertices * (0.8, 0.8, 0.7) + (0, 0, 0.8 * height), plant.faces, plant.materials)])


def board(rng: np.random.Generator) -> Mesh:
    """Build a board for notices or advertising on two legs."""
    half, low, high = rng.uniform(0.5, 1.6), rng.uniform(0.3, 0.9), rng.uniform(1.7, 2.7)
    legs = [rod((x, 0, 0), (x, 0, high), 0.05, Material.STEEL, sides=5) for x in (-half, half)]
    return merge([*legs, block((-half, half), (-0.08, 0.08), (low, high), Material.SHEET_METAL)])


def advertising_pillar(rng: np.random.Generator) -> Mesh:
    """Build an advertising pillar with a cap."""
    radius, height = rng.uniform(0.5, 0.65), rng.uniform(2.6, 3.4)
    cap = rod((0, 0, height), (0, 0, height + 0.35), radius + 0.12, Material.CONCRETE, end_radius=0.2, sides=10)
    return merge([rod((0, 0, 0), (0, 0, height), radius, Material.CONCRETE, sides=10), cap])


def bus_shelter(rng: np.random.Generator) -> Mesh:
    """Build a bus shelter, open to the road: glass back, one end with a poster, roof, seat."""
    half = rng.uniform(1.3, 2.4)
    posts = [rod((x, y, 0), (x, y, 2.4), 0.04, Material.STEEL, sides=4) for x in (-half, half) for y in (-0.6, 0.7)]
    return merge(
        [
            *posts,
            block((-half, half), (0.66, 0.7), (0.2, 2.2), Material.GLASS),
            block((half - 0.12, half), (-0.55, 0.65), (0.2, 2.1), Material.SHEET_METAL),
            block((-half - 0.1, half + 0.1), (-0.8, 0.8), (2.4, 2.52), Material.SHEET_METAL),
            block((-half + 0.3, half - 0.5), (0.25, 0.6), (0.42, 0.48), Material.WOOD),
        ]
    )


def parasol(rng: np.random.Generator) -> Mesh:
    """Build a parasol or a stall's roof just above people's heads, with a table and chairs under it."""
    half, low = rng.uniform(1.0, 1.9), rng.uniform(2.1, 2.4)
    roof = rod(
        (0, 0, low + 0.2), (0, 0, low + 0.7), half, Material.CLOTH, end_radius=0.1, sides=int(rng.integers(4, 9))
    )
    parts = [rod((0, 0, 0), (0, 0, low + 0.6), 0.04, Material.STEEL, sides=4), roof]
    parts.append(block((-0.4, 0.4), (-0.4, 0.4), (0.7, 0.75), Material.WOOD))
    for angle in rng.uniform(0, 2 * np.pi) + np.arange(int(rng.integers(2, 5))) * np.pi / 2:
        x, y = 0.75 * np.cos(angle), 0.75 * np.sin(angle)
        parts.append(block((x - 0.2, x + 0.2), (y - 0.2, y + 0.2), (0.42, 0.47), Material.PLASTIC))
        parts.append(rod((1.3 * x, 1.3 * y, 0), (1.3 * x, 1.3 * y, 0.9), 0.12, Material.PLASTIC, sides=4))
    return merge(parts)


def kiosk(rng: np.random.Generator) -> Mesh:
    """Build a kiosk with a recessed counter under a flap and an overhanging roof."""
    half, deep, height = rng.uniform(1.0, 2.2), rng.uniform(0.8, 1.4), rng.uniform(2.3, 2.9)
    return merge(
        [
            block((-half, half), (-deep, deep), (0.0, 1.0), Material.WOOD),
            block((-half, half), (-deep + 0.35, deep), (1.0, 2.1), Material.GLASS),
            *[
                block((x - 0.1, x + 0.1), (-deep, -deep + 0.2), (1.0, 2.1), Material.WOOD)
                for x in (-half + 0.1, half - 0.1)
            ],
            block((-half, half), (-deep, deep), (2.1, height), Material.SHEET_METAL),
            block((-half - 0.3, half + 0.3), (-deep - 0.5, deep + 0.2), (height, height + 0.15), Material.SHEET_METAL),
        ]
    )


def shed(rng: np.random.Generator) -> Mesh:
    """Build a shed or a single garage: a door set back in one wall, a pitched or slanting roof."""
    half, deep, eaves = rng.uniform(1.0, 1.8), rng.uniform(1.2, 3.0), rng.uniform(1.9, 2.5)
    material = Material.WOOD if rng.random() < 0.5 else Material.BRICK
    ridge, door = rng.uniform(0.2, 1.0), 0.75 * half
    side = [block((x, x + half - door), (-deep, -deep + 0.2), (0.0, eaves), material) for x in (-half, door)]
    lean = (2 * half + 0.3) if rng.random() < 0.3 else half + 0.15
    roof = block(
        (-half - 0.2, half + 0.2),
        (-deep - 0.2, deep + 0.2),
        (eaves, eaves + ridge),
        Material.WOOD,
        rake=(lean, 2 * half + 0.35 - lean),
    )
    return merge([*side, block((-half, half), (-deep + 0.2, deep), (0.0, eaves), material), roof])


def skip(rng: np.random.Generator) -> Mesh:
    """Build a skip for rubble, heaped or empty, or a dumpster with a sloping lid."""
    half, deep, height = rng.uniform(0.9, 1.8), rng.uniform(0.6, 0.9), rng.uniform(1.0, 1.5)
    tray = block(
        (-0.7 * half, 0.7 * half), (-deep, deep), (0.0, height), Material.SHEET_METAL, rake=(-0.3 * half, -0.3 * half)
    )
    if rng.random() < 0.5:
        return merge(
            [tray, ellipsoid((0, 0, height - 0.1), (0.8 * half, 0.8 * deep, rng.uniform(0.2, 0.6)), Material.SOIL)]
        )
    lid = block((-half, half), (-deep, deep), (height, height + 0.35), Material.PLASTIC, tuck=0.3)
    return merge([tray, lid])


def rock(rng: np.random.Generator) -> Mesh:
    """Build a boulder or a heap of earth."""
    size = rng.uniform(0.3, 0.9)
    heap = ellipsoid(
        (0, 0, 0.2 * size), (size, size * rng.uniform(0.6, 1.0), size * rng.uniform(0.5, 0.9)), Material.SOIL
    )
    return roughened(heap, 0.12 * size, rng)


# what stands at a kerb is shallow: people walk from 1.1 m behind the kerb on
KERBSIDE: dict[Shape, float] = {
    lamp: 0.18, sign: 0.2, pole: 0.08, traffic_light: 0.04, electricity_box: 0.08, post_box: 0.05, wheelie_bins: 0.08,
    bench: 0.05, bollards: 0.08, parking_meter: 0.05, bicycle_stands: 0.04, flower_tub: 0.04, post: 0.07, hydrant: 0.05,
    litter_bin: 0.07,
}  # fmt: skip
OFF_STREET: dict[Shape, float] = {
    kiosk: 0.08, shed: 0.15, skip: 0.13, bus_shelter: 0.07, advertising_pillar: 0.07, board: 0.1, rock: 0.06,
    bench: 0.06, wheelie_bins: 0.07, electricity_box: 0.06, flower_tub: 0.05, pole: 0.05, parasol: 0.12, post: 0.06,
    litter_bin: 0.05, sign: 0.04,
}  # fmt: skip


def draw_shape(rng: np.random.Generator, kinds: Mapping[Shape, float]) -> Mesh:
    """Build a shape of a random kind; the shares are normalised."""
    shares = np.array(list(kinds.values()))
    return list(kinds)[int(rng.choice(len(kinds), p=shares / shares.sum()))](rng)
