"""Rain: drops near the sensor that echo, a wet world that returns less, and spray behind moving vehicles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from remembev.simulate.meshes import Array

DROP_RANGE = 4.0  # m, mean distance of a drop that echoes
SPRAY_DENSITY = 0.25  # share of the pulses through the middle of a plume that it returns


class Rays(NamedTuple):
    """Rays in the world: origins [R, 3] in metres, unit directions [R, 3]."""

    origins: Array
    directions: Array


@dataclass(frozen=True)
class Weather:
    """Weather of a scene.

    Attributes:
        drops: Share of the pulses that a drop near the sensor returns.
        extinction: Share of the returns that are lost per metre of range.
    """

    drops: float = 0.0
    extinction: float = 0.0

    def disturb(
        self, rays: Rays, distance: Array, intensity: Array, plumes: Array, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Disturb the returns of rays.

        Args:
            rays: The R rays.
            distance: [R], infinite for pulses without an echo.
            intensity: [R].
            plumes: [P, 4], balls of spray: x, y, z and radius in the world, in metres.
            rng: Source of drops and lost returns.

        Returns:
            Distances [R] and intensities [R] in this weather.
        """
        if self == DRY:
            return distance, intensity
        drop = 0.7 + rng.exponential(DROP_RANGE, len(distance))
        drop[rng.random(len(distance)) >= self.drops] = np.inf
        drop = np.minimum(drop, _spray(rays, plumes, rng))
        caught = drop < distance
        range_m = np.where(np.isfinite(distance), distance, 0.0)
        lost = rng.random(len(distance)) > np.exp(-self.extinction * range_m)
        dimmed = np.round(intensity * np.exp(-self.extinction * range_m))
        faint = np.round(rng.exponential(3.0, len(distance)))
        return np.where(caught, drop, np.where(lost, np.inf, distance)), np.where(caught, faint, dimmed)


def _spray(rays: Rays, plumes: Array, rng: np.random.Generator) -> Array:
    """Return the distance [R] at which spray returns a ray; infinite where none does."""
    nearest = np.full(len(rays.origins), np.inf)
    for *centre, radius in plumes:
        to_centre = np.array(centre) - rays.origins
        along = np.einsum("ri,ri->r", to_centre, rays.directions)
        aside = np.einsum("ri,ri->r", to_centre, to_centre) - along**2
        hit = np.flatnonzero((aside < radius**2) & (along > 0))
        hit = hit[rng.random(len(hit)) < SPRAY_DENSITY * (1 - aside[hit] / radius**2)]
        depth = along[hit] + radius * rng.uniform(-0.5, 0.5, len(hit))
        nearest[hit] = np.minimum(nearest[hit], np.maximum(depth, 0.5))
    return nearest


DRY = Weather()
NO_PLUMES = np.zeros((0, 4))
RAINY_SHARE = 0.12  # of the scenes


def draw_weather(rng: np.random.Generator) -> Weather:
    """Draw the weather of a scene: dry, in one scene of eight rain."""
    if rng.random() >= RAINY_SHARE:
        return DRY
    strength = rng.uniform(0.3, 1.0)
    return Weather(drops=0.02 * strength, extinction=0.012 * strength)
