"""One scene as a recording: the points of every sweep, and the state of every object at each key frame.

Everything is drawn from (seed, set, scene index), so a scene is the same whatever process simulates it, in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from remembev.simulate import lidar
from remembev.simulate.lidar import Geometry
from remembev.simulate.meshes import Array, Mesh, merge
from remembev.simulate.poses import rotation, transform
from remembev.simulate.sensors import ORDINARY_SENSOR, SENSORS, Sensor
from remembev.simulate.sets import ORDINARY, SETS, build_world
from remembev.simulate.traffic import STEP
from remembev.simulate.visibility import sample_surface, visible_shares
from remembev.simulate.weather import DRY, NO_PLUMES, draw_weather
from remembev.simulate.world import Actor, World, poses_at

CLOCK_JITTER = 2e-4  # seconds
SPRAY_SPEED, SPRAY_WIDTH = 4.0, 1.5  # m/s and m from which a vehicle raises spray in rain
MOVING_SPEED = 0.2  # m/s, as the devkit's attributes have it


@dataclass(frozen=True)
class ObjectStates:
    """The actors at one key frame.

    Attributes:
        boxes: [A, 7], global x, y, z of the centre, l, w, h, yaw.
        num_points: [A], LiDAR points inside the box.
        share: [A], visible share.
        moving: [A], True where the object is moving.
        distance: [A], metres to the ego car.
    """

    boxes: Array
    num_points: NDArray[np.int64]
    share: Array
    moving: NDArray[np.bool_]
    distance: Array


@dataclass(frozen=True)
class Sweep:
    """One revolution of the LiDAR.

    Attributes:
        time: End of the sweep, seconds from the scene's start.
        global_from_ego: [4, 4], the ego car's pose.
        points: [N, 5], x, y, z, intensity, ring in the sensor's frame.
        objects: The objects at a key frame, None between key frames.
    """

    time: float
    global_from_ego: Array
    points: NDArray[np.float32]
    objects: ObjectStates | None


class WorldGeometry:
    """A world's meshes for ray casting: static ones are committed once, moving ones are placed for each time."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        actors = world.actors
        static = [i for i, a in enumerate(actors) if not a.moves]
        placed = [actors[i].mesh.placed(*actors[i].poses[0]) for i in static]
        owners = np.repeat([lidar.SCENERY, *static], [len(m.faces) for m in (world.scenery, *placed)])
        self._static = Geometry(merge([world.scenery, *placed]), owners)
        self._initial_poses = np.stack([a.poses[0] for a in actors])
        self._moving = np.array([i for i, a in enumerate(actors) if a.moves])
        self._moving_poses = np.stack([actors[i].poses for i in self._moving], axis=1)
        meshes = [actors[i].mesh for i in self._moving]
        self._moving_mesh = merge(meshes)
        self._vertex_owner = np.repeat(self._moving, [len(m.vertices) for m in meshes])
        self._face_owner = np.repeat(self._moving, [len(m.faces) for m in meshes])
        samples = [sample_surface(a.mesh, rng) for a in actors]
        self._surface_points = np.stack([points for points, _ in samples])
        self._surface_normals = np.stack([normals for _, normals in samples])

    def poses(self, time: float) -> Array:
        """Return the poses [A, 4] of all actors: x, y, z of the base, yaw."""
        poses: Array = self._initial_poses.copy()
        poses[self._moving] = poses_at(self._moving_poses, time)
        return poses

    def geometries(self, time: float) -> list[Geometry]:
        """Return what rays can hit at this time."""
        poses = self.poses(time)
        rotations = rotation(poses[:, 3])[self._vertex_owner]
        vertices = np.einsum("vij,vj->vi", rotations, self._moving_mesh.vertices) + poses[self._vertex_owner, :3]
        moving = Mesh(vertices, self._moving_mesh.faces, self._moving_mesh.materials)
        return [self._static, Geometry(moving, self._face_owner)]

    def visible_shares(self, geometries: list[Geometry], eye: Array, poses: Array) -> Array:
        """Return the visible share [A] of every actor from the eye [3]."""
        rotations = rotation(poses[:, 3])
        points = np.einsum("aij,asj->asi", rotations, self._surface_points) + poses[:, None, :3]
        normals = np.einsum("aij,asj->asi", rotations, self._surface_normals)
        return visible_shares(geometries, eye, points, normals, np.arange(len(poses)))


def count_points(points: NDArray[np.float32], sensor_from_global: Array, boxes: Array) -> NDArray[np.int64]:
    """Count the points in each box.

    Args:
        points: [N, 5] in the sensor frame.
        sensor_from_global: [4, 4].
        boxes: [A, 7] in global coordinates: x, y, z, l, w, h, yaw.

    Returns:
        Counts [A].
    """
    centres = boxes[:, :3] @ sensor_from_global[:3, :3].T + sensor_from_global[:3, 3]
    axes = sensor_from_global[:3, :3] @ rotation(boxes[:, 6])
    reach = np.linalg.norm(boxes[:, 3:6], axis=1) / 2
    by_x = points[np.argsort(points[:, 0])]
    first, last = (np.searchsorted(by_x[:, 0], centres[:, 0] + side * reach) for side in (-1, 1))
    counts = np.zeros(len(boxes), np.int64)
    for i in np.flatnonzero(first < last):
        slab = by_x[first[i] : last[i], :3]
        slab = slab[np.abs(slab[:, 1] - centres[i, 1]) < reach[i]].astype(np.float64)
        counts[i] = np.count_nonzero((np.abs((slab - centres[i]) @ axes[i]) <= boxes[i, 3:6] / 2).all(1))
    return counts


def sweep_times(sensor: Sensor, seconds: float, rng: np.random.Generator) -> Array:
    """Return when the sweeps of a scene end, in s: at the sensor's rate with a little jitter, in whole microseconds."""
    count = sensor.sweeps_per_key_frame * round(seconds / (sensor.sweeps_per_key_frame * sensor.seconds))
    jitter = np.clip(rng.standard_normal(count), -2.0, 2.0) * CLOCK_JITTER
    times: Array = np.round(np.arange(count) * sensor.seconds + np.abs(jitter), 6)
    return times


def _world_from_ego(world: World, times: Array | float) -> Array:
    pose = poses_at(world.ego, times)
    return transform(rotation(pose[..., 3], pose[..., 4]), pose[..., :3])


def _draw_global_from_world(rng: np.random.Generator) -> Array:
    """Draw where a scene lies [4, 4] on a map a few kilometres wide, as nuScenes' scenes do."""
    position = np.array([rng.uniform(300.0, 2000.0), rng.uniform(600.0, 2400.0), 0.0])
    return transform(rotation(rng.uniform(-np.pi, np.pi)), position)


class SceneSimulation:
    """Scene `index` of a data set, from a scene set: its actors, and its sweeps as they are simulated."""

    def __init__(
        self,
        seed: int,
        index: int,
        seconds: float,
        azimuths: int | None = None,
        scene_set: str = ORDINARY,
        sensor: Sensor = SENSORS[ORDINARY_SENSOR],
    ) -> None:
        """Draw a scene.

        Args:
            seed: Seed of the data set.
            index: Number of the scene in it.
            seconds: Duration.
            azimuths: Columns of a turn; None: the sensor's.
            scene_set: Its scene set.
            sensor: The LiDAR.
        """
        self._key = (seed, index)
        self.sensor = sensor
        self._azimuths = sensor.azimuths if azimuths is None else azimuths
        self.ego_from_lidar = lidar.ego_from_unit(sensor.units[0])
        self.weather = draw_weather(self._generator(5))
        self.world = build_world(seconds, self._generator(0, *SETS[scene_set].key), scene_set)
        self.geometry = WorldGeometry(self.world, self._generator(1))
        self._times = sweep_times(sensor, seconds, self._generator(2))
        self._global_from_world = _draw_global_from_world(self._generator(3))

    @property
    def actors(self) -> list[Actor]:
        """The objects, in the order of `ObjectStates`."""
        return self.world.actors

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([*self._key, *purpose])

    def frames(self, *, sweeps: bool) -> Iterator[Sweep]:
        """Yield the key frames in order, or all sweeps; a key frame is the same either way."""
        for number in range(0, len(self._times), 1 if sweeps else self.sensor.sweeps_per_key_frame):
            yield self._simulate_sweep(number)

    def _simulate_sweep(self, number: int) -> Sweep:
        time = float(self._times[number])
        world_from_ego = _world_from_ego(self.world, time + lidar.column_times(self._azimuths, self.sensor.seconds))
        geometries = self.geometry.geometries(time)
        rng, plumes = self._generator(4, number), self._plumes(time)
        points = lidar.sweep_points(self.sensor, geometries, world_from_ego, rng, self.weather, plumes)
        global_from_ego = self._global_from_world @ _world_from_ego(self.world, time)
        objects = None
        if number % self.sensor.sweeps_per_key_frame == 0:
            eye = (world_from_ego[-1] @ self.ego_from_lidar)[:3, 3]
            objects = self._objects(time, geometries, eye, global_from_ego, points)
        return Sweep(time, global_from_ego, points, objects)

    def _plumes(self, time: float) -> Array:
        """Return the spray [P, 4] behind fast vehicles: x, y, z and radius of three balls each."""
        if self.weather == DRY:
            return NO_PLUMES
        poses = self.geometry.poses(time)
        speed = np.hypot(*(poses - self.geometry.poses(time - STEP))[:, :2].T) / STEP
        plumes = [
            (x - behind * np.cos(yaw), y - behind * np.sin(yaw), z + radius, radius)
            for (x, y, z, yaw), v, actor in zip(poses, speed, self.actors, strict=True)
            if v > SPRAY_SPEED and actor.size[1] > SPRAY_WIDTH
            for behind, radius in ((actor.size[0] / 2 + 1.0 + 1.5 * k, 0.7 + 0.15 * k) for k in range(3))
        ]
        return np.array(plumes).reshape(-1, 4)

    def _objects(
        self, time: float, geometries: list[Geometry], eye: Array, global_from_ego: Array, points: NDArray[np.float32]
    ) -> ObjectStates:
        poses = self.geometry.poses(time)
        shift = self.geometry.poses(time + STEP / 2)[:, :2] - self.geometry.poses(time - STEP / 2)[:, :2]
        place = self._global_from_world
        sizes = np.array([a.size for a in self.actors])
        centres = poses[:, :3] + np.column_stack([np.zeros((len(sizes), 2)), sizes[:, 2] / 2])
        yaw = poses[:, 3] + np.arctan2(place[1, 0], place[0, 0])
        # nuScenes' tables hold millimetres: round before counting, so that the count is that of the written box
        boxes = np.column_stack([np.round(centres @ place[:3, :3].T + place[:3, 3], 3), sizes, yaw])
        sensor_from_global = np.linalg.inv(global_from_ego @ self.ego_from_lidar)
        return ObjectStates(
            boxes=boxes,
            num_points=count_points(points, sensor_from_global, boxes),
            share=self.geometry.visible_shares(geometries, eye, poses),
            moving=np.hypot(*shift.T) / STEP > MOVING_SPEED,
            distance=np.hypot(*(boxes[:, :2] - global_from_ego[:2, 3]).T),
        )
