"""Cars, pick-ups and vans: a lofted body with wheel arches, a cabin of glass, and what tells front from back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from remembev.simulate.meshes import Interval, Material, Mesh, Section, block, loft, merge
from remembev.simulate.objects.parts import both_sides, draw_paint, lamps, mirrors, number_plate, wheels

NOSE, TAIL = 2.3, -2.3  # m, of cars before they are scaled to their box


@dataclass(frozen=True)
class Profile:
    """Side view of a car with its nose at x = NOSE (m).

    Attributes:
        clearance: Height of the sills above the ground.
        bonnet: Heights of the bonnet at the nose and at the windscreen.
        deck: Heights of the boot lid or tailgate at the tail and at the rear window.
        screen: x of the windscreen's foot and top.
        window: x of the rear window's top and foot.
        roof: Heights of the roof's front and rear edge.
    """

    clearance: float
    bonnet: Interval
    deck: Interval
    screen: Interval
    window: Interval
    roof: Interval

    def jittered(self, rng: np.random.Generator) -> Profile:
        """Return the profile of a similar model."""
        lift, slope, cab, tail = rng.uniform(-1.0, 1.0, 4).tolist()
        return replace(
            self,
            clearance=self.clearance + 0.03 * lift,
            bonnet=(self.bonnet[0] + 0.04 * slope, self.bonnet[1] + 0.02 * lift),
            screen=(self.screen[0] + 0.12 * cab, self.screen[1] + 0.12 * cab),
            window=(self.window[0] + 0.1 * tail, self.window[1]),
            roof=(self.roof[0] + 0.04 * lift, self.roof[1] + 0.04 * lift),
        )

    def upper_edge(self, x: float) -> float:
        """Return the height of the body, without its cabin, at x."""
        places = (TAIL, self.window[1], self.screen[0], NOSE)
        return float(np.interp(x, places, (*self.deck, *self.bonnet[::-1])))


PROFILES = {
    "saloon": Profile(0.20, (0.66, 0.92), (0.94, 1.00), (0.85, 0.10), (-0.95, -1.70), (1.44, 1.40)),
    "hatchback": Profile(0.22, (0.74, 0.98), (0.90, 1.02), (1.05, 0.45), (-1.65, -2.15), (1.54, 1.48)),
    "estate": Profile(0.22, (0.72, 0.96), (0.92, 1.02), (0.95, 0.25), (-1.95, -2.22), (1.52, 1.48)),
    "suv": Profile(0.32, (0.95, 1.14), (1.00, 1.14), (0.95, 0.45), (-1.80, -2.18), (1.75, 1.70)),
}
SHARES = {"saloon": 0.35, "hatchback": 0.17, "estate": 0.13, "suv": 0.35}
PICK_UP = Profile(0.38, (0.98, 1.15), (0.75, 0.75), (1.05, 0.50), (-0.50, -0.60), (1.78, 1.76))


def car_body(profile: Profile, paint: Material) -> Mesh:
    """Build a car's body without its cabin: bumpers, wheel arches and a nose that is narrower than the rest."""
    sill, arch, edge = profile.clearance, 0.70, profile.upper_edge

    def section(x: float, low: float, half: float) -> Section:
        return Section(x, (low, edge(x)), (half, half - 0.09))

    sections = [
        Section(TAIL, (sill + 0.15, profile.deck[0] - 0.10), (0.78, 0.74)),
        section(-2.15, sill, 0.88),
        section(-1.79, sill, 0.92),
        section(-1.70, arch, 0.92),
        section(-1.10, arch, 0.93),
        section(-1.02, sill, 0.93),
        section(profile.screen[0], sill, 0.93),
        section(1.08, sill, 0.92),
        section(1.15, arch, 0.92),
        section(1.75, arch, 0.89),
        section(1.84, sill, 0.87),
        section(2.12, sill, 0.78),
        Section(NOSE, (sill + 0.10, profile.bonnet[0] - 0.10), (0.60, 0.54)),
    ]
    ordered = sorted(sections, key=lambda s: s.x)
    return loft(ordered, paint)


def cabin(profile: Profile, paint: Material) -> list[Mesh]:
    """Build a cabin: raked windscreen, side and rear windows of glass, pillars and a painted roof."""
    (foot, top), (rear_top, rear_foot) = profile.screen, profile.window
    belt, rear_belt = profile.bonnet[1], profile.deck[1]
    front, rear = profile.roof
    glass = loft(
        [
            Section(rear_foot, (rear_belt - 0.05, rear_belt + 0.02), (0.80, 0.78)),
            Section(rear_top, (rear_belt - 0.05, rear), (0.83, 0.58)),
            Section((top + rear_top) / 2, (belt - 0.05, front + 0.03), (0.84, 0.61)),
            Section(top, (belt - 0.05, front), (0.84, 0.59)),
            Section(foot, (belt - 0.05, belt + 0.02), (0.82, 0.78)),
        ],
        Material.GLASS,
        tops=(Material.GLASS, paint, paint, Material.GLASS),
    )
    middle = (top + rear_top) / 2
    pillars = [
        block((middle - 0.05, middle + 0.07), (-0.855, 0.855), (belt - 0.05, front), paint, tuck=0.235),
        block((rear_top - 0.12, rear_top + 0.2), (-0.84, 0.84), (rear_belt - 0.05, rear), paint, tuck=0.24),
    ]
    return [glass, *pillars]


def _front(profile: Profile, rng: np.random.Generator) -> list[Mesh]:
    """Build headlamps, a grille and, on every other car, a number plate."""
    low = profile.bonnet[0] - 0.24
    parts = [
        *lamps((2.05, NOSE - 0.01), (0.40, 0.66), (low, low + 0.11)),
        block((NOSE - 0.1, NOSE + 0.02), (-0.45, 0.45), (profile.clearance + 0.12, low), Material.RUBBER),
    ]
    if rng.random() < 0.5:
        parts.append(number_plate(NOSE + 0.02, profile.clearance + 0.2))
    return parts


def _rear(profile: Profile) -> list[Mesh]:
    """Build tail lamps, higher and larger than the headlamps, a number plate and a dark bumper."""
    high = profile.deck[0] - 0.08
    return [
        *lamps((TAIL - 0.01, TAIL + 0.12), (0.50, 0.80), (high - 0.20, high)),
        number_plate(TAIL - 0.01, high - 0.26),
        block((TAIL - 0.03, TAIL + 0.1), (-0.74, 0.74), (profile.clearance, profile.clearance + 0.2), Material.RUBBER),
    ]


def car(rng: np.random.Generator) -> Mesh:
    """Build a saloon, hatchback, estate or SUV."""
    paint = draw_paint(rng)
    profile = PROFILES[str(rng.choice(list(SHARES), p=list(SHARES.values())))].jittered(rng)
    foot, belt = profile.screen[0], profile.bonnet[1]
    return merge(
        [
            car_body(profile, paint),
            *cabin(profile, paint),
            *wheels((-1.40, 1.45), 0.80, 0.33, 0.21),
            *mirrors((foot - 0.40, foot - 0.26), (0.82, 1.0), (belt + 0.02, belt + 0.17), paint),
            *_front(profile, rng),
            *_rear(profile),
        ]
    )


def pick_up(rng: np.random.Generator) -> Mesh:
    """Build a pick-up: a high bonnet, a cabin in the middle and an open bed behind it."""
    paint, profile = draw_paint(rng), PICK_UP.jittered(rng)
    foot, belt = profile.screen[0], profile.bonnet[1]
    walls = both_sides(block((TAIL + 0.05, -0.55), (0.80, 0.90), (0.74, belt), paint))
    tailgate = block((TAIL - 0.01, TAIL + 0.07), (-0.85, 0.85), (0.65, belt - 0.02), paint)
    return merge(
        [
            car_body(profile, paint),
            *cabin(replace(profile, deck=(belt, belt)), paint),
            *walls,
            tailgate,
            block((-0.62, foot), (-0.92, 0.92), (0.7, belt), paint, tuck=0.08),
            *wheels((-1.40, 1.45), 0.80, 0.38, 0.26),
            *mirrors((foot - 0.40, foot - 0.26), (0.82, 1.02), (belt + 0.02, belt + 0.24), paint),
            *_front(profile, rng),
            *lamps((TAIL - 0.02, TAIL + 0.08), (0.76, 0.91), (0.85, belt - 0.05)),
            number_plate(TAIL - 0.06, 0.5),
            block((TAIL - 0.06, TAIL + 0.1), (-0.82, 0.82), (0.42, 0.62), Material.STEEL),
        ]
    )


def van(rng: np.random.Generator) -> Mesh:
    """Build a van: tall body with a short raked nose; one in three has windows along its sides."""
    paint = draw_paint(rng) if rng.random() < 0.5 else Material.LIGHT_PAINT
    roof = 2.3 + rng.uniform(-0.25, 0.2)
    windows_from = -2.2 if rng.random() < 0.35 else 0.85
    parts = [
        _van_body(roof, paint),
        block((windows_from, 1.65), (-0.965, 0.965), (1.3, 1.85), Material.GLASS, rake=(0.0, 0.25), tuck=0.04),
        *wheels((-1.65, 1.75), 0.86, 0.35, 0.24),
        *mirrors((1.45, 1.62), (0.93, 1.12), (1.25, 1.6), Material.DARK_PAINT),
        *lamps((2.3, 2.58), (0.55, 0.82), (0.78, 0.98)),
        block((2.5, 2.64), (-0.5, 0.5), (0.5, 0.78), Material.RUBBER),
        *both_sides(block((-2.62, -2.58), (0.12, 0.75), (1.3, 1.9), Material.GLASS)),
        *lamps((-2.62, -2.5), (0.80, 0.95), (0.9, 1.35)),
        number_plate(-2.62, 0.95),
        block((-2.68, -2.5), (-0.92, 0.92), (0.35, 0.55), Material.RUBBER),
    ]
    return merge(parts)


def _van_body(roof: float, paint: Material) -> Mesh:
    sections = [
        Section(-2.60, (0.35, roof - 0.05), (0.96, 0.86)),
        Section(-2.06, (0.30, roof), (1.00, 0.88)),
        Section(-1.98, (0.75, roof), (1.00, 0.88)),
        Section(-1.32, (0.75, roof), (1.00, 0.88)),
        Section(-1.24, (0.30, roof), (1.00, 0.88)),
        Section(0.95, (0.30, roof - 0.03), (1.00, 0.86)),
        Section(1.36, (0.30, roof - 0.33), (1.00, 0.86)),
        Section(1.44, (0.75, roof - 0.41), (0.99, 0.86)),
        Section(2.00, (0.75, 1.22), (0.97, 0.88)),
        Section(2.08, (0.28, 1.17), (0.96, 0.88)),
        Section(2.45, (0.28, 1.00), (0.88, 0.80)),
        Section(2.60, (0.35, 0.80), (0.72, 0.68)),
    ]
    glass, body = Material.GLASS, paint
    return loft(sections, paint, tops=(body, body, body, body, body, glass, glass, glass, body, body, body))
