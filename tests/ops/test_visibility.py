"""Visibility of cells by the rays of a turn, and its plain twin."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.geometry import BEVGrid
from remembev.ops import ray_visibility, reference

GRID = BEVGrid(-20.0, -20.0, 20.0, 20.0, height=20, width=20)


def ring(distance: float, height: float, azimuths: Tensor) -> Tensor:
    """Points [N, 5] at a distance and a height."""
    x, y = distance * azimuths.cos(), distance * azimuths.sin()
    return torch.stack((x, y, torch.full_like(x, height), torch.zeros_like(x), torch.zeros_like(x)), dim=1)


def wall(distance: float, azimuths: Tensor) -> Tensor:
    """Points of a wall from the road to 1 m above the sensor."""
    return torch.cat([ring(distance, height, azimuths) for height in torch.linspace(-1.8, 1.0, 60).tolist()])


def look(points: Tensor) -> Tensor:
    return ray_visibility(points[None], torch.tensor([len(points)]), GRID)[0]


def test_a_wall_hides_what_is_behind_it_and_leaves_free_what_is_before_it() -> None:
    ahead = torch.linspace(-0.3, 0.3, 400)
    beyond, inside, before = look(wall(12.0, ahead))
    assert beyond[10, 14] == 1  # 9 m ahead
    assert before[10, 19] == 1  # 19 m
    assert inside[10, 16] > 0.5  # 13 m
    assert (beyond + inside + before)[10, 2] == 0  # no ray goes behind the sensor


def test_earlier_sweeps_and_padding_do_not_count() -> None:
    points = wall(12.0, torch.linspace(-0.3, 0.3, 400))
    earlier = points.clone()
    earlier[:, 4] = 0.05
    assert look(earlier).sum() == 0
    padded = ray_visibility(torch.cat((points, points + 5))[None], torch.tensor([len(points)]), GRID)
    assert torch.equal(padded[0], look(points))


def test_a_ray_that_passes_above_says_nothing() -> None:
    assert look(ring(15.0, 2.0, torch.linspace(-math.pi, math.pi, 2000))).sum() == 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 300))
def test_it_agrees_with_its_plain_twin(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([20.0, 20.0, 1.0, 1.0, 0.0])
    points = (torch.rand(1, count, 5, generator=generator) * 2 - 1) * spread - torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    number = torch.tensor([count])
    expected = reference.ray_visibility(points, number, GRID)
    assert ray_visibility(points, number, GRID).flatten().tolist() == pytest.approx(expected.flatten().tolist())
