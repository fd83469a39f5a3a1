"""One turn of a spinning LiDAR, ray-cast against meshes with embree.

Rays start where the sensor is as each column fires; points are written in the sensor's frame at the end of the turn.
Range noise, intensity by material and incidence angle, and lost returns are modelled per return (`Optics`). What one
sensor has that another hasn't is in sensors.py, rain in weather.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from remembev.simulate.meshes import Array, Material, Mesh
from remembev.simulate.poses import rotation, transform
from remembev.simulate.sensors import Sensor, Unit
from remembev.simulate.weather import DRY, NO_PLUMES, Rays, Weather

MIN_RANGE = 1.0  # m
RANDOM_LOSS = 0.008
ROOF_DROP = 0.35  # metres from the sensor down to the ego car's roof, which blocks the beams that hit it
ROOF_RIGHT, ROOF_FRONT, ROOF_BACK = 0.69, 0.30, -0.83  # extent of the roof in the sensor frame
SCENERY = -1  # owner of a face that belongs to no annotated object
NOTHING = -2  # owner of a ray that hits nothing


@dataclass(frozen=True)
class Optics:
    """Optical properties of a surface.

    Attributes:
        reflectivity: Diffuse reflectivity.
        loss: Share of lost pulses.
        roughness: Standard deviation of its depth, in metres.
        glint: Specular reflection, seen head-on.
        texture: Contrast of its patches: the standard deviation of the reflectivity's logarithm.
        lobe: Power of cos(incidence) with which the returned signal falls: small for rough surfaces.
    """

    reflectivity: float
    loss: float = 0.0
    roughness: float = 0.0
    glint: float = 0.0
    texture: float = 0.7
    lobe: float = 0.5


OPTICS: dict[Material, Optics] = {
    Material.ASPHALT: Optics(0.20),
    Material.CONCRETE: Optics(0.15),
    Material.FACADE: Optics(0.16, loss=0.15),
    Material.FOLIAGE: Optics(0.18, loss=0.25, roughness=0.15),
    Material.WOOD: Optics(0.13, roughness=0.01),
    Material.STEEL: Optics(0.12, glint=0.15),
    Material.LIGHT_PAINT: Optics(0.17, glint=0.05, lobe=1.5),
    Material.DARK_PAINT: Optics(0.025, loss=0.05, glint=0.05, lobe=1.5),
    Material.GLASS: Optics(0.05, loss=0.7, glint=0.3),
    Material.RUBBER: Optics(0.02, roughness=0.01),
    Material.CLOTH: Optics(0.22, roughness=0.01),
    Material.PLASTIC: Optics(0.05),
    Material.REFLECTOR: Optics(2.0),
    Material.SOIL: Optics(0.15, roughness=0.04),
    Material.MID_PAINT: Optics(0.14, glint=0.05, lobe=1.5),
    Material.BLACK_PAINT: Optics(0.01, loss=0.15, glint=0.05, lobe=1.5),
    Material.LAMP: Optics(0.40, loss=0.1),
    Material.SKIN: Optics(0.30),
    Material.DARK_CLOTH: Optics(0.07, roughness=0.01),
    Material.HI_VIS: Optics(0.15, roughness=0.01),
    Material.BRICK: Optics(0.14, loss=0.02, roughness=0.01),
    Material.GRASS: Optics(0.20, loss=0.1, roughness=0.03),
    Material.BARK: Optics(0.12, roughness=0.02),
    Material.LEAVES: Optics(0.18, loss=0.1, roughness=0.12),
    Material.CHAIN_LINK: Optics(0.15, loss=0.8),
    Material.SIGN: Optics(1.6),
    Material.SHEET_METAL: Optics(0.14, glint=0.15),
}


def _by_material(name: str) -> Array:
    return np.array([getattr(OPTICS[m], name) for m in Material])


_REFLECTIVITY, _LOSS, _ROUGHNESS = map(_by_material, ("reflectivity", "loss", "roughness"))
_GLINT, _TEXTURE, _LOBE = map(_by_material, ("glint", "texture", "lobe"))


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


def ego_from_unit(unit: Unit) -> Array:
    """Return the pose [4, 4] of a unit on the ego car."""
    return transform(rotation(*unit.angles), np.array(unit.position))


def beam_directions(unit: Unit, azimuths: int) -> Array:
    """Return unit directions [azimuths, beams, 3] in the unit's frame, clockwise from the left (-x)."""
    azimuth = np.pi - (np.arange(azimuths) + 0.5) * (2 * np.pi / azimuths)
    elevation = np.radians(unit.elevations)
    horizontal = np.cos(elevation)
    return np.stack(
        [
            np.cos(azimuth)[:, None] * horizontal,
            np.sin(azimuth)[:, None] * horizontal,
            np.broadcast_to(np.sin(elevation), (azimuths, len(elevation))),
        ],
        axis=-1,
    )


def roof_distance(directions: Array) -> Array:
    """Return the distance [...] at which the ego car's roof blocks beams, directions [..., 3] in nuScenes' LiDAR frame.

    Infinite for beams that miss it.
    """
    distance: Array = ROOF_DROP / np.maximum(-directions[..., 2], 1e-9)
    x, y = (directions[..., i] * distance for i in (0, 1))
    misses = (np.abs(x) > ROOF_RIGHT) | (y > ROOF_FRONT) | (y < ROOF_BACK)
    return np.where(misses, np.inf, distance)


def column_times(azimuths: int, seconds: float) -> Array:
    """Return when each column of a turn fires [azimuths], in seconds relative to the end of the turn (<= 0)."""
    return ((np.arange(azimuths) + 1) / azimuths - 1.0) * seconds


def sweep_points(
    sensor: Sensor,
    geometries: list[Geometry],
    poses: Array,
    rng: np.random.Generator,
    weather: Weather = DRY,
    plumes: Array = NO_PLUMES,
) -> NDArray[np.float32]:
    """Simulate one turn of a sensor.

    Args:
        sensor: The sensor.
        geometries: What the rays can hit.
        poses: [A, 4, 4], world_from_ego as each of the A columns fires; the last is the turn's own.
        rng: Source of noise and lost returns.
        weather: The weather.
        plumes: Balls of spray [P, 4] in the world: x, y, z, radius (m).

    Returns:
        Points [N, 5] in the frame of the sensor's first unit at the last pose: x, y, z (m), intensity 0..255, ring.
    """
    world_from_lidar = poses[-1] @ ego_from_unit(sensor.units[0])
    clouds, first_ring = [], 0
    for unit in sensor.units:
        world_from_unit = poses @ ego_from_unit(unit)
        local = beam_directions(unit, len(poses))
        directions = np.einsum("aij,abj->abi", world_from_unit[:, :3, :3], local).reshape(-1, 3)
        rays = Rays(np.repeat(world_from_unit[:, :3, 3], local.shape[1], axis=0), directions)
        hits = cast(geometries, *rays)
        distance, intensity = weather.disturb(rays, *measure(sensor, hits, rays, rng), plumes, rng)
        if sensor.keeps_silent_pulses:
            distance, intensity = _with_silent_pulses(local.reshape(-1, 3), distance, intensity, rng)
        returned = np.flatnonzero(np.isfinite(distance))
        world = rays.origins[returned] + rays.directions[returned] * distance[returned, None]
        points = (world - world_from_lidar[:3, 3]) @ world_from_lidar[:3, :3]
        ring = first_ring + returned % local.shape[1]
        clouds.append(np.column_stack([points, intensity[returned], ring]).astype(np.float32))
        first_ring += local.shape[1]
    return np.concatenate(clouds)


def measure(sensor: Sensor, hits: Hits, rays: Rays, rng: np.random.Generator) -> tuple[Array, Array]:
    """Measure the returns of rays.

    Args:
        sensor: The sensor.
        hits: What the R rays hit.
        rays: The rays.
        rng: Source of noise and lost returns.

    Returns:
        Distances [R], infinite for pulses that don't return, and intensities [R].
    """
    chance, noise, speckle = rng.random(len(hits.distance)), *rng.standard_normal((2, len(hits.distance)))
    material = hits.material
    places = rays.origins + rays.directions * _finite(hits.distance)[:, None]
    reflectivity = _REFLECTIVITY[material] * texture(places, _TEXTURE[material])
    signal = reflectivity * np.maximum(hits.cosine, 0.02) ** _LOBE[material] / np.maximum(hits.distance, 1.0) ** 2
    probability = (1 - np.exp(-signal / sensor.weak_signal)) * (1 - _LOSS[material]) * (1 - RANDOM_LOSS)
    returned = (hits.distance > MIN_RANGE) & (hits.distance < sensor.max_range) & (chance < probability)
    range_sd = np.hypot(sensor.range_noise, _ROUGHNESS[material])
    diffuse = reflectivity * (0.35 + 0.65 * hits.cosine)
    intensity = sensor.intensity(
        diffuse + _GLINT[material] * np.power(hits.cosine, 24), _finite(hits.distance), speckle
    )
    return np.where(returned, hits.distance + range_sd * noise, np.inf), intensity


def texture(places: Array, contrast: Array) -> Array:
    """Return how much brighter than its material each place [R, 3] of the world is: patches with lognormal factors.

    Args:
        places: [R, 3], in metres.
        contrast: [R], standard deviation of the factor's logarithm.
    """
    total = np.zeros(len(places))
    for size, salt in ((0.4, 1), (2.5, 2)):
        cells = np.floor((places + 0.11) / size).astype(np.int64)
        mixed = cells @ np.array([73856093, 19349663, 83492791]) * 2654435761 + salt * 40503
        mixed = (mixed ^ (mixed >> 13)) * 1274126177
        total += ((mixed ^ (mixed >> 16)) & 0xFFFF) / 65536.0 - 0.5
    factor: Array = np.exp(contrast * np.sqrt(6.0) * total)
    return factor


def _with_silent_pulses(
    rays: Array, distance: Array, intensity: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Give pulses without an echo distance 0 and a random intensity, and those that the roof blocks the roof's."""
    roof = roof_distance(rays)
    silent = ~np.isfinite(distance)
    noise = rng.standard_normal(len(distance))
    echo = np.where(np.isfinite(roof), np.round(23.0 * np.exp(0.8 * noise)), np.round(8.0 * np.exp(1.3 * noise)))
    intensity = np.where(silent | np.isfinite(roof), np.clip(echo, 1.0, 255.0), intensity)
    return np.where(np.isfinite(roof), roof, np.where(silent, 0.0, distance)), intensity


def _finite(distance: Array) -> Array:
    finite: Array = np.where(np.isfinite(distance), distance, 0.0)
    return finite
