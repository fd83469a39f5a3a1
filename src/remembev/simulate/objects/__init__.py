"""Kinds of annotated objects: category, size and shape of each.

Shapes stand on z = 0, look along +x and are low-poly: as fine as a LiDAR of 32 or 64 beams can resolve. What they are
built of is in meshes.py; the shapes are in the modules of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from remembev.simulate.meshes import Mesh, Vec3
from remembev.simulate.objects import cars, heavy, machines, people, street_objects, two_wheelers


@dataclass(frozen=True)
class ObjectKind:
    """A kind of object: its nuScenes category, its shape, and mean and spread of its length, width and height (m).

    A shape fills its box, unless `keeps_proportions`: then its height does, and its posture decides on the rest.
    """

    category: str
    build: Callable[[np.random.Generator], Mesh]
    mean_size: Vec3
    size_spread: Vec3
    keeps_proportions: bool = False

    def draw_size(self, rng: np.random.Generator) -> Vec3:
        """Draw length, width and height, at most two spreads from the mean, in whole millimetres."""
        deviation = np.clip(rng.standard_normal(3), -2.0, 2.0)
        length, width, height = np.round(np.array(self.mean_size) + deviation * self.size_spread, 3).tolist()
        return length, width, height

    def build_sized(self, length: float, width: float, height: float, rng: np.random.Generator) -> Mesh:
        """Build a shape for a box."""
        mesh = self.build(rng)
        fit = mesh.within if self.keeps_proportions else mesh.fitted
        return fit(length, width, height)


def _person(category: str, build: Callable[[np.random.Generator], Mesh], size: Vec3, spread: Vec3) -> ObjectKind:
    return ObjectKind(f"human.pedestrian.{category}", build, size, spread, keeps_proportions=True)


KINDS: dict[str, ObjectKind] = {
    "car": ObjectKind("vehicle.car", cars.car, (4.58, 1.94, 1.65), (0.25, 0.08, 0.1)),
    "van": ObjectKind("vehicle.car", cars.van, (5.1, 2.1, 2.2), (0.3, 0.08, 0.15)),
    "pick_up": ObjectKind("vehicle.truck", cars.pick_up, (5.6, 2.08, 1.92), (0.2, 0.06, 0.07)),
    "truck": ObjectKind("vehicle.truck", heavy.truck, (6.93, 2.51, 2.84), (0.8, 0.12, 0.3)),
    "bus": ObjectKind("vehicle.bus.rigid", heavy.bus, (10.5, 2.94, 3.47), (0.9, 0.06, 0.15)),
    "trailer": ObjectKind("vehicle.trailer", heavy.trailer, (11.6, 2.8, 3.87), (1.2, 0.1, 0.2)),
    "excavator": ObjectKind("vehicle.construction", machines.excavator, (6.37, 2.85, 3.19), (0.5, 0.15, 0.25)),
    "loader": ObjectKind("vehicle.construction", machines.loader, (6.4, 2.75, 3.2), (0.5, 0.12, 0.2)),
    "motorcycle": ObjectKind("vehicle.motorcycle", two_wheelers.motorcycle, (2.11, 0.77, 1.25), (0.12, 0.06, 0.08)),
    "ridden_motorcycle": ObjectKind(
        "vehicle.motorcycle", two_wheelers.ridden_motorcycle, (2.11, 0.77, 1.65), (0.12, 0.06, 0.08)
    ),
    "bicycle": ObjectKind("vehicle.bicycle", two_wheelers.bicycle, (1.7, 0.6, 1.08), (0.08, 0.05, 0.05)),
    "ridden_bicycle": ObjectKind(
        "vehicle.bicycle", two_wheelers.ridden_bicycle, (1.72, 0.62, 1.72), (0.08, 0.05, 0.08)
    ),
    "adult": _person("adult", people.adult, (0.73, 0.68, 1.77), (0.1, 0.06, 0.09)),
    "child": _person("child", people.child, (0.53, 0.5, 1.25), (0.06, 0.05, 0.1)),
    "worker": _person("construction_worker", people.worker, (0.73, 0.7, 1.78), (0.08, 0.06, 0.07)),
    "pram": _person("stroller", people.pram, (0.95, 0.6, 1.05), (0.06, 0.04, 0.05)),
    "barrier": ObjectKind("movable_object.barrier", street_objects.barrier, (0.69, 1.99, 1.08), (0.12, 0.18, 0.08)),
    "traffic_cone": ObjectKind(
        "movable_object.trafficcone", street_objects.traffic_cone, (0.41, 0.41, 0.74), (0.03, 0.03, 0.12)
    ),
}
