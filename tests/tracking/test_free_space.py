"""Rays through a box: against a plain count over all pairs, at every azimuth."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.tracking.free_space import ABOVE_GROUND, BELOW_TOP, CORE, MIN_RANGE, count_rays


def plain_count(points: Tensor, box: Tensor) -> tuple[int, int]:
    """Rays of a cloud through a box and blocked before it, one by one."""
    x, y, z, length, width, height, yaw = box[:7].tolist()
    centre = math.hypot(x, y)
    corners = [
        (
            x + CORE / 2 * (a * length * math.cos(yaw) - b * width * math.sin(yaw)),
            y + CORE / 2 * (a * length * math.sin(yaw) + b * width * math.cos(yaw)),
        )
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    middle = math.atan2(y, x)
    angles = [math.remainder(math.atan2(v, u) - middle, math.tau) for u, v in corners]
    reach, through, blocked = math.hypot(length, width) / 2, 0, 0
    for px, py, pz, _, age in points.tolist():
        distance = math.hypot(px, py)
        if age != 0 or distance < MIN_RANGE or centre < MIN_RANGE:
            continue
        angle = math.remainder(math.atan2(py, px) - middle, math.tau)
        at_box = pz * centre / distance
        if min(angles) <= angle < max(angles) and z - height / 2 + ABOVE_GROUND < at_box < z + height / 2 - BELOW_TOP:
            through += distance > centre + reach
            blocked += distance < centre - reach
    return through, blocked


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_rays_are_counted_as_one_by_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    azimuth = (torch.rand(400, generator=generator) * 2 - 1) * math.pi
    distance = 1 + 40 * torch.rand(400, generator=generator)
    height = (torch.rand(400, generator=generator) - 0.5) * 4
    age = 0.1 * (torch.rand(400, generator=generator) < 0.1)
    points = torch.stack((distance * azimuth.cos(), distance * azimuth.sin(), height, azimuth * 0, age), dim=1)
    around = (torch.rand(12, generator=generator) * 2 - 1) * math.pi
    around[0] = math.pi
    away = 1 + 20 * torch.rand(12, generator=generator)
    shape = torch.tensor([4.0, 2.0, 1.7]) + torch.rand(12, 3, generator=generator)
    boxes = torch.cat(
        ((away * around.cos())[:, None], (away * around.sin())[:, None], torch.zeros(12, 1), shape, around[:, None]),
        dim=1,
    )
    boxes = boxes[away > 4]  # the sensor is in none
    rays = count_rays(points, boxes)
    expected = torch.tensor([plain_count(points, box) for box in boxes]).reshape(-1, 2)
    # An azimuth is a step of 0.1 mrad coarse: a ray on the edge may count or not.
    assert ((rays.through - expected[:, 0]).abs() + (rays.blocked - expected[:, 1]).abs()).max() <= 1
    assert ((rays.through - expected[:, 0]).abs() + (rays.blocked - expected[:, 1]).abs()).sum() <= 2


def test_few_rays_say_nothing() -> None:
    box = torch.tensor([[10.0, 0.0, 0.0, 4.0, 2.0, 1.7, 0.0]])
    ray = torch.tensor([[20.0, 0.0, 0.0, 0.0, 0.0]])
    assert count_rays(ray.repeat(2, 1), box).mostly_through().tolist() == [False]
    assert count_rays(ray.repeat(3, 1), box).mostly_through().tolist() == [True]


def test_a_cloud_without_rays_and_a_frame_without_boxes_are_counted() -> None:
    box = torch.tensor([[10.0, 0.0, 0.0, 4.0, 2.0, 1.7, 0.0]])
    assert count_rays(torch.zeros(0, 5), box).through.tolist() == [0]
    assert count_rays(torch.ones(3, 5) * 20, box[:0]).through.tolist() == []
