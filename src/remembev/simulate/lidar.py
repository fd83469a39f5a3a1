"""The LiDAR: a spinning 32-beam sensor like the one on nuScenes' roof, ray-cast against meshes with embree.

Rays start where the sensor is as each column fires; points are written in the sensor's frame at the end of the sweep.
Range noise, intensity by material and incidence angle, and lost returns are modelled per return (`Optics`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from remembev.simulate.meshes import Array, Material, Mesh

BEAMS = 32
ELEVATIONS = np.radians(np.linspace(-30.67, 10.67, BEAMS))
SWEEP_SECONDS = 0.05
MAX_RANGE, MIN_RANGE = 100.0, 1.0  # m
RANGE_NOISE = 0.02  # m, standard deviation
SIGNAL_SCALE = 3e-6  # reflectivity · cos(incidence) / range² at which 63 % of the pulses return
RANDOM_LOSS = 0.04
ROOF_DROP = 0.40  # metres from the sensor down to the ego car's roof, which blocks the beams that hit it
ROOF_RIGHT, ROOF_FRONT, ROOF_BACK = 0.62, 0.75, -0.92  # extent of the roof in the sensor frame
SCENERY = -1  # owner of a face that belongs to no annotated object
NOTHING = -2  # owner of a ray that hits nothing


@dataclass(frozen=True)
class Optics:
    """Optical properties of a surface: diffuse reflectivity, share of lost pulses, roughness (m), specular glint."""

    reflectivity: float
    loss: float = 0.0
    roughness: float = 0.0
    glint: float = 0.0


OPTICS: dict[Material, Optics] = {
    Material.ASPHALT: Optics(0.12),
    Material.CONCRETE: Optics(0.22),
    Material.FACADE: Optics(0.25, loss=0.25),
    Material.FOLIAGE: Optics(0.30, loss=0.25, roughness=0.15),
    Material.WOOD: Optics(0.20, roughness=0.01),
    Material.STEEL: Optics(0.25, glint=0.3),
    Material.LIGHT_PAINT: Optics(0.30, glint=0.5),
    Material.DARK_PAINT: Optics(0.06, loss=0.1, glint=0.5),
    Material.GLASS: Optics(0.08, loss=0.6, glint=0.6),
    Material.RUBBER: Optics(0.06, roughness=0.01),
    Material.CLOTH: Optics(0.18, roughness=0.01),
    Material.PLASTIC: Optics(0.35),
    Material.REFLECTOR: Optics(3.0),
    Material.SOIL: Optics(0.15, roughness=0.04),
    Material.BRICK: Optics(0.20, loss=0.02, roughness=0.01),
    Material.GRASS: Optics(0.28, loss=0.1, roughness=0.03),
    Material.BARK: Optics(0.20, roughness=0.02),
    Material.LEAVES: Optics(0.32, loss=0.1, roughness=0.12),
    Material.CHAIN_LINK: Optics(0.30, loss=0.8),
    Material.SIGN: Optics(2.5),
    Material.SHEET_METAL: Optics(0.30, glint=0.3),
}


def _by_material(name: str) -> Array:
    return np.array([getattr(OPTICS[m], name) for m in Material])


_REFLECTIVITY, _LOSS, _ROUGHNESS, _GLINT = map(_by_material, ("reflectivity", "loss", "roughness", "glint"))


@dataclass(frozen=True)
class Hits:
    """First hits of rays: distance [R] (inf: none), cosine of incidence [R], material [R], owner [R]."""

    distance: Array
    cosine: Array
    material: NDArray[np.uint8]
    owner: NDArray[np.intp]


class Geometry:
    """Meshes committed for ray casting; each face has a material and an owner (an actor's index, or SCENERY)."""

    def __init__(self, mesh: Mesh, owners: NDArray[np.intp]) -> None:
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))
        self._materials, self._owners = mesh.materials, owners

    def cast(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> Hits:
        """Return the first hits of rays [R, 3] with unit directions."""
        result = self._scene.run(origins, directions, output=True)
        face = result["primID"]
        hit = face >= 0
        normal = result["Ng"]
        length = np.linalg.norm(normal, axis=1)
        cosine = np.abs(np.einsum("ij,ij->i", normal, directions)) / np.where(hit, np.maximum(length, 1e-12), 1.0)
        return Hits(
            np.where(hit, result["tfar"], np.inf),
            np.where(hit, cosine, 0.0),
            np.where(hit, self._materials[face], 0).astype(np.uint8),
            np.where(hit, self._owners[face], NOTHING),
        )


def nearest(first: Hits, second: Hits) -> Hits:
    """Return the nearer of two sets of hits, ray by ray."""
    swap = second.distance < first.distance
    return Hits(
        np.where(swap, second.distance, first.distance),
        np.where(swap, second.cosine, first.cosine),
        np.where(swap, second.material, first.material),
        np.where(swap, second.owner, first.owner),
    )


def cast(geometries: list[Geometry], origins: Array, directions: Array) -> Hits:
    """Return the first hits of rays [R, 3] among several geometries."""
    origins32, directions32 = origins.astype(np.float32), directions.astype(np.float32)
    hits = geometries[0].cast(origins32, directions32)
    for geometry in geometries[1:]:
        hits = nearest(hits, geometry.cast(origins32, directions32))
    return hits


def beam_directions(azimuths: int) -> Array:
    """Return unit directions [azimuths, 32, 3] in the sensor frame, clockwise from the left (-x), lowest ring first."""
    azimuth = np.pi - (np.arange(azimuths) + 0.5) * (2 * np.pi / azimuths)
    horizontal = np.cos(ELEVATIONS)
    return np.stack(
        [
            np.cos(azimuth)[:, None] * horizontal,
            np.sin(azimuth)[:, None] * horizontal,
            np.broadcast_to(np.sin(ELEVATIONS), (azimuths, BEAMS)),
        ],
        axis=-1,
    )


def misses_roof(directions: Array) -> NDArray[np.bool_]:
    """Return a mask [...] of the beams, directions [..., 3] in the sensor frame, that miss the ego car's roof."""
    down = np.maximum(-directions[..., 2], 1e-9)
    x, y = (directions[..., i] * ROOF_DROP / down for i in (0, 1))
    misses: NDArray[np.bool_] = (np.abs(x) > ROOF_RIGHT) | (y > ROOF_FRONT) | (y < ROOF_BACK)
    return misses


def column_times(azimuths: int) -> Array:
    """Return when each column of a sweep fires [azimuths], in seconds relative to the end of the sweep (<= 0)."""
    return ((np.arange(azimuths) + 1) / azimuths - 1.0) * SWEEP_SECONDS


def sweep_points(geometries: list[Geometry], poses: Array, rng: np.random.Generator) -> NDArray[np.float32]:
    """Simulate one revolution of the sensor.

    Args:
        geometries: What the rays can hit.
        poses: [A, 4, 4], world_from_sensor as each of the A columns fires; the last is the sweep's own.
        rng: Source of noise and lost returns.

    Returns:
        Points [N, 5] in the sensor frame of the last pose: x, y, z (m), intensity 0..255, ring 0..31.
    """
    local = beam_directions(len(poses))
    column, ring = np.nonzero(misses_roof(local))
    directions = np.einsum("rij,rj->ri", poses[column, :3, :3], local[column, ring])
    origins = poses[column, :3, 3]
    hits = cast(geometries, origins, directions)
    returned, distance, intensity = _returns(hits, rng)
    world = origins[returned] + directions[returned] * distance[:, None]
    points = (world - poses[-1, :3, 3]) @ poses[-1, :3, :3]
    return np.column_stack([points, intensity, ring[returned]]).astype(np.float32)


def _returns(hits: Hits, rng: np.random.Generator) -> tuple[NDArray[np.intp], Array, Array]:
    """Return the indices [N] of the rays that come back, their measured distances [N] and intensities [N]."""
    chance, noise, speckle = rng.random(len(hits.distance)), *rng.standard_normal((2, len(hits.distance)))
    material = hits.material
    signal = _REFLECTIVITY[material] * np.maximum(hits.cosine, 0.02) / np.maximum(hits.distance, 1.0) ** 2
    probability = (1 - np.exp(-signal / SIGNAL_SCALE)) * (1 - _LOSS[material]) * (1 - RANDOM_LOSS)
    in_range = (hits.distance > MIN_RANGE) & (hits.distance < MAX_RANGE)
    returned = np.flatnonzero(in_range & (chance < probability))
    material, cosine = material[returned], hits.cosine[returned]
    range_sd = np.hypot(RANGE_NOISE, _ROUGHNESS[material])
    brightness = _REFLECTIVITY[material] * (0.35 + 0.65 * cosine) + _GLINT[material] * cosine**24
    intensity = np.clip(np.round(100.0 * brightness * np.exp(0.25 * speckle[returned])), 0.0, 255.0)
    return returned, hits.distance[returned] + range_sd * noise[returned], intensity
