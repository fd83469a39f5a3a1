"""Named LiDAR sensors: beams, mounting, rate, and how bright and how often a surface returns.

All have the axes of nuScenes' LiDAR frame: x right, y forward, z up, with the origin at the first unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from remembev.simulate.meshes import Array, Vec3

FORWARD_IS_Y = -np.pi / 2  # yaw on the ego car of a unit whose y axis looks forward


@dataclass(frozen=True)
class Unit:
    """One spinning LiDAR.

    Attributes:
        elevations: Of its beams in degrees, by ring.
        position: On the ego car (x forward, z from the road), in metres.
        angles: Yaw, pitch and roll on the ego car, in radians.
    """

    elevations: tuple[float, ...]
    position: Vec3
    angles: Vec3 = (FORWARD_IS_Y, 0.0, 0.0)


@dataclass(frozen=True)
class IntensityLaw:
    """Intensity that a sensor writes for a surface of brightness b at range r.

    ``255 · min(1, gain · b · s · f(r))^gamma`` with lognormal speckle s, and with
    ``f(r) = min(1, r / near)² · max(1 / (1 + r / falloff), r / overshoot)``.
    """

    gain: float
    gamma: float = 1.0
    near: float = 0.0  # m within which the receiver sees only part of the spot
    falloff: float = np.inf  # m at which it is halved
    overshoot: float = np.inf  # m at which the compensation of distance has restored it
    speckle: float = 0.25  # standard deviation of its logarithm

    def __call__(self, brightness: Array, distance: Array, noise: Array) -> Array:
        """Return whole intensities 0 … 255 from brightnesses, ranges (m) and standard normal noise, all [N]."""
        shape = np.maximum(1 / (1 + distance / self.falloff), distance / self.overshoot)
        shape *= np.minimum(1.0, distance / max(self.near, 1e-9)) ** 2
        share = np.minimum(self.gain * brightness * shape * np.exp(self.speckle * noise), 1.0)
        intensity: Array = np.round(255.0 * share**self.gamma)
        return intensity


@dataclass(frozen=True)
class Sensor:
    """A LiDAR set-up of a car.

    Attributes:
        name: Name in ``SENSORS``.
        units: Its LiDARs; the first one's frame is that of the points.
        azimuths: Columns of a turn.
        seconds: Duration of a turn; half a second holds a whole number of turns.
        intensity: Its intensity law.
        weak_signal: reflectivity · cos(incidence)^lobe / range² at which 63 % of the pulses return.
        max_range: Longest range, in metres.
        range_noise: Standard deviation of ranges, in metres.
        keeps_silent_pulses: Write a row at the sensor itself for pulses without an echo, as nuScenes does, and rows for
            the beams that the ego car's roof blocks.
    """

    name: str
    units: tuple[Unit, ...]
    azimuths: int
    seconds: float
    intensity: IntensityLaw
    weak_signal: float = 3.5e-5
    max_range: float = 100.0
    range_noise: float = 0.02
    keeps_silent_pulses: bool = False

    @property
    def sweeps_per_key_frame(self) -> int:
        """Turns from one key frame to the next, at 2 Hz."""
        return round(0.5 / self.seconds)

    @property
    def rings(self) -> int:
        """Beams of all units."""
        return sum(len(unit.elevations) for unit in self.units)


def _even(low: float, high: float, beams: int) -> tuple[float, ...]:
    return tuple(np.linspace(low, high, beams).tolist())


# Elevations as in the VLP-32C's manual: dense about the horizon, sparse towards both ends
_UNEVEN_32 = (
    -25.0, -15.64, -11.31, -8.84, -7.25, -6.15, -5.33, -4.67, -4.0, -3.67, -3.33, -3.0, -2.67, -2.33, -2.0, -1.67,
    -1.33, -1.0, -0.67, -0.33, 0.0, 0.33, 0.67, 1.0, 1.33, 1.67, 2.33, 3.33, 4.67, 7.0, 10.33, 15.0,
)  # fmt: skip
# 40 beams, a third of a degree apart from -6 to 2 degrees
_UNEVEN_40 = (-16.0, -14.0, -13.0, -12.0, -11.0, -10.0, -9.0, -8.0, *_even(-6.0, 2.0, 25), 3.0, 5.0, 7.0, 9.0, 11.0,
              13.0, 15.0)  # fmt: skip

SENSORS = {
    sensor.name: sensor
    for sensor in (
        Sensor(
            "nuscenes",
            (Unit(_even(-30.67, 10.67, 32), (0.943713, 0.0, 1.84023), (-1.5685, 0.0058, -0.0242)),),
            azimuths=1084,
            seconds=0.05,
            intensity=IntensityLaw(1.6, near=7.0, falloff=5.5, overshoot=130.0, speckle=0.3),
            weak_signal=2.9e-5,
            keeps_silent_pulses=True,
        ),
        Sensor(
            "beams64",
            (Unit(_even(-24.8, 2.0, 64), (0.0, 0.0, 1.73)),),
            azimuths=2083,
            seconds=0.1,
            intensity=IntensityLaw(0.8, gamma=0.6, near=3.0, speckle=0.2),
            weak_signal=2e-5,
            max_range=120.0,
        ),
        Sensor(
            "beams16",
            (Unit(_even(-15.0, 15.0, 16), (0.2, 0.0, 2.05)),),
            azimuths=1800,
            seconds=0.1,
            intensity=IntensityLaw(0.3, gamma=0.8, speckle=0.3),
            weak_signal=5e-5,
            range_noise=0.03,
        ),
        Sensor(
            "two_lidars",
            (Unit(_UNEVEN_32, (1.35, 0.0, 1.94)), Unit(_UNEVEN_32, (1.35, 0.0, 1.72), (2.1, 0.0, np.pi))),
            azimuths=1800,
            seconds=0.1,
            intensity=IntensityLaw(0.5, falloff=60.0, speckle=0.5),
            weak_signal=1e-5,
            max_range=200.0,
        ),
        Sensor(
            "beams40",  # for testing: no shipped weights were trained with it
            (Unit(_UNEVEN_40, (0.6, 0.1, 2.2)),),
            azimuths=1800,
            seconds=0.1,
            intensity=IntensityLaw(0.7, gamma=1.4, near=4.0, falloff=80.0),
            weak_signal=8e-6,
            max_range=180.0,
        ),
    )
}
ORDINARY_SENSOR = "nuscenes"
