"""Augmentation for another sensor: clips as a LiDAR of other beams, intensities, losses and mounting would see them.

A turn is changed in its own sensor's frame, before it is moved and stacked. The mounting is part of the one transform
by which a clip's points, boxes and poses are augmented.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from remembev.config.schema import CorruptionConfig, SensorAugmentationConfig
from remembev.data.augmentation import uniform
from remembev.data.frame import Frame
from remembev.data.points import near_rectangles, outlines, select_rows
from remembev.data.tracks import in_box_frame

FALLOFF_FROM = 10.0
"""Range in metres from which points are lost with distance."""
_COLUMN = math.radians(1 / 3)  # firing interval of nuScenes' LiDAR
_BEAM = math.radians(4 / 3)  # spacing of its beams
_NUM_BEAMS = 32
_SELF_RETURN = (0.6, 0.6, 0.3, 10.0)  # greatest |x|, |y|, |z| in metres, and intensity


@dataclass(frozen=True)
class Sensor:
    """Another sensor's view of a turn."""

    scale: float  # of the intensity
    gamma: float  # exponent of the intensity
    constant: float | None  # intensity of all points, if they have none of their own
    beam_step: int  # every so many beams are kept, from beam_offset on
    beam_offset: int
    azimuth_step: int  # every so many columns are kept
    azimuth_offset: float  # radians
    falloff: float  # 1/m, rate at which points are lost beyond FALLOFF_FROM
    self_returns: float  # rows at the sensor to add, as a share of the others
    blocked: tuple[float, float] | None = None  # direction and half width in radians of a sector without points
    clutter: float = 0.0  # share of the points that something in front of their surface returns
    range_noise: float = 0.0  # standard deviation in metres

    def scan(self, points: Tensor) -> Tensor:
        """Return a turn [n, 5] as this sensor sees it, given [N, 5] (x, y, z, intensity, ring) in its own frame."""
        seen = self._see(points, points[:, 4])
        return torch.cat((seen, _draw_self_returns(round(self.self_returns * len(seen)))))

    def scan_objects(self, points: Tensor) -> Tensor:
        """Return pasted points [n, 5] as this sensor sees them, given [N, 5] (x, y, z, intensity, age).

        Their rings aren't stored; the elevation stands in.
        """
        elevation = torch.atan2(points[:, 2], points[:, :2].norm(dim=1))
        return self._see(points, (elevation / _BEAM).floor())

    def _see(self, points: Tensor, beam: Tensor) -> Tensor:
        """Drop and change points [N, 5], given their beams [N]."""
        x, y = points[:, :2].t().contiguous()
        distance = x.hypot(y)
        keep = self._returned(distance)
        if self.beam_step > 1:
            keep &= beam % self.beam_step == self.beam_offset
        if self.azimuth_step > 1:
            azimuth = torch.atan2(y, x) + self.azimuth_offset
            keep &= (azimuth / _COLUMN).floor() % self.azimuth_step == 0
        if self.blocked is not None:
            direction, half_width = self.blocked
            ahead = x * math.cos(direction) + y * math.sin(direction)
            keep &= ahead < math.cos(half_width) * distance
        seen = torch.from_numpy(select_rows(points.numpy(), keep.numpy()))
        self._disturb_ranges(seen)
        seen[:, 3] = self._intensity(seen[:, 3])
        return seen

    def _returned(self, distance: Tensor) -> Tensor:
        """Draw True for the points that come back from a distance [N]."""
        if self.falloff == 0:
            return torch.ones_like(distance, dtype=torch.bool)
        return torch.rand(len(distance)) < torch.exp(-self.falloff * (distance - FALLOFF_FROM).clamp_(min=0))

    def _disturb_ranges(self, points: Tensor) -> None:
        """Add noise and clutter to points [N, 5], in place, along their rays."""
        if self.range_noise > 0:
            distance = points[:, :3].norm(dim=1).clamp_(min=1)
            points[:, :3] *= (1 + self.range_noise * torch.randn(len(points)) / distance)[:, None]
        if self.clutter > 0:
            is_clutter = torch.rand(len(points)) < self.clutter
            points[:, :3] *= torch.where(is_clutter, torch.rand(len(points)), 1.0)[:, None]

    def _intensity(self, intensity: Tensor) -> Tensor:
        """Return intensities [N] of 0 to 255, given those of the recording."""
        if self.constant is not None:
            return torch.full_like(intensity, self.constant)
        return 255 * (intensity * (self.scale / 255)).clamp_(0, 1) ** self.gamma


@dataclass(frozen=True)
class ClipSensor:
    """The sensor of a clip."""

    mount: Tensor  # [4, 4] float64, takes the recording sensor's coordinates into this one's
    sensors: tuple[Sensor, ...]  # one per frame: the same but for a corruption

    def scan_pasted(self, frames: Sequence[Frame]) -> list[Frame]:
        """Scan the pasted points of a clip's frames, which are in their own LiDAR frames."""
        return [
            replace(frame, points=sensor.scan_objects(frame.points))
            for frame, sensor in zip(frames, self.sensors, strict=True)
        ]


def draw_clip_sensor(cfg: SensorAugmentationConfig, num_frames: int) -> ClipSensor | None:
    """Draw the sensor of a clip from torch's default generator; None: its own."""
    if torch.rand(()) >= cfg.PROBABILITY:
        return None
    sensors = [draw_sensor(cfg)] * num_frames
    corruption = cfg.CORRUPTION
    if corruption is not None and torch.rand(()) < corruption.PROBABILITY:
        first = _draw_index(num_frames)
        shortest, longest = corruption.FRAMES
        stop = min(first + shortest + _draw_index(longest - shortest + 1), num_frames)
        sensors[first:stop] = [draw_corruption(sensors[0], cfg, corruption)] * (stop - first)
    return ClipSensor(draw_mount(cfg), tuple(sensors))


def draw_sensor(cfg: SensorAugmentationConfig) -> Sensor:
    """Draw a sensor from torch's default generator."""
    beam_step, azimuth_step = (steps[_draw_index(len(steps))] for steps in (cfg.BEAMS, cfg.AZIMUTHS))
    is_constant = bool(torch.rand(()) < cfg.CONSTANT_INTENSITY)
    return Sensor(
        scale=_log_uniform(*cfg.INTENSITY_SCALE),
        gamma=_log_uniform(*cfg.INTENSITY_GAMMA),
        constant=max(0.0, uniform(-255.0, 255.0)) if is_constant else None,  # 0 is the usual placeholder
        beam_step=beam_step,
        beam_offset=_draw_index(beam_step),
        azimuth_step=azimuth_step,
        azimuth_offset=uniform(0.0, azimuth_step * _COLUMN),
        falloff=uniform(*cfg.FALLOFF),
        self_returns=uniform(*cfg.SELF_RETURNS),
    )


def draw_corruption(sensor: Sensor, cfg: SensorAugmentationConfig, corruption: CorruptionConfig) -> Sensor:
    """Draw one of four corruptions of a sensor: another sensor, a blocked sector, clutter or range noise."""
    kind = _draw_index(4)
    if kind == 0:
        return draw_sensor(cfg)
    if kind == 1:
        return replace(sensor, blocked=(uniform(-math.pi, math.pi), math.pi * uniform(*corruption.BLOCKED)))
    if kind == 2:
        return replace(sensor, clutter=uniform(*corruption.CLUTTER))
    return replace(sensor, range_noise=uniform(*corruption.RANGE_NOISE))


def draw_mount(cfg: SensorAugmentationConfig) -> Tensor:
    """Draw the transform [4, 4] float64 from the recording sensor's coordinates to those of one mounted elsewhere."""
    about_x, about_y = uniform(*cfg.TILT), uniform(*cfg.TILT)
    skew = torch.tensor([[0, 0, about_y], [0, 0, -about_x], [-about_y, about_x, 0]], dtype=torch.float64)
    mount = torch.eye(4, dtype=torch.float64)
    mount[:3, :3] = torch.linalg.matrix_exp(skew)
    mount[:3, 3] = mount.new_tensor([uniform(*cfg.TRANSLATION), uniform(*cfg.TRANSLATION), uniform(*cfg.HEIGHT)])
    return mount


def recounted(frame: Frame, cloud: Tensor) -> Frame:
    """Count the points in a frame's boxes again, after its sensor has lost some.

    Clutter doesn't make an object visible: a count never rises.

    Args:
        frame: Frame with its pasted points.
        cloud: Its own points [N, 5] of the key frame, in its coordinates.
    """
    pasted, seen = frame.points[frame.points[:, 4] == 0], frame.num_points > 0
    counts = frame.num_points.clone()
    counts[seen] = counts[seen].minimum(count_points(torch.cat((cloud, pasted)), frame.boxes[seen]))
    return replace(frame, num_points=counts)


def count_points(points: Tensor, boxes: Tensor) -> Tensor:
    """Return the number [M] int64 of points [N, ≥3] in each of the boxes [M, ≥7].

    Points are sorted by x, so that each box is compared with those beside it alone.
    """
    if not len(boxes):
        return torch.zeros(0, dtype=torch.int64)
    low, high = outlines(boxes)
    x, y = points[:, :2].t().contiguous()
    near = points[torch.from_numpy(near_rectangles(x, y, low, high))]
    near = near[near[:, 0].argsort()]
    (x, y), (low_x, low_y), (high_x, high_y) = (corners[:, :2].t().contiguous() for corners in (near, low, high))
    first = torch.searchsorted(x, low_x)
    length = torch.searchsorted(x, high_x, right=True) - first
    box = torch.repeat_interleave(length)
    point = torch.arange(len(box)) + (first + length - length.cumsum(dim=0))[box]
    beside = (y[point] >= low_y[box]) & (y[point] <= high_y[box])
    box, point = box[beside], point[beside]
    local = in_box_frame(near[point, :3] - boxes[box, :3], boxes[box, 6])
    inside = (local.abs() <= boxes[box, 3:6] / 2).all(dim=1)
    return torch.bincount(box[inside], minlength=len(boxes))


def _draw_self_returns(count: int) -> Tensor:
    """Draw rows [count, 5] of pulses without an echo, which nuScenes stores within a metre of the sensor."""
    rows = torch.rand(count, 5)
    rows[:, :3] = 2 * rows[:, :3] - 1
    rows[:, :4] *= rows.new_tensor(_SELF_RETURN)
    rows[:, 4] = (_NUM_BEAMS * rows[:, 4]).floor()
    return rows


def _draw_index(count: int) -> int:
    return int(torch.randint(count, ()))


def _log_uniform(low: float, high: float) -> float:
    return math.exp(uniform(math.log(low), math.log(high)))
