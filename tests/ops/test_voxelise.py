import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.geometry import BEVGrid
from remembev.ops import assign_pillars, reference, voxelise

GRID = BEVGrid(-4.0, -2.0, 4.0, 2.0, 4, 8)
Z_RANGE = (-1.0, 1.0)


def random_clouds(seed: int, batch: int = 3, length: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, length, 5, generator=generator)
    points[..., :3] = points[..., :3] * torch.tensor([10.0, 5.0, 2.4]) - torch.tensor([5.0, 2.5, 1.2])
    return points, torch.randint(0, length + 1, (batch,), generator=generator)


@pytest.mark.parametrize(("max_points", "max_pillars"), [(100, 100), (2, 100), (100, 7), (1, 1), (3, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_hard_voxels_are_those_of_a_loop_over_points(seed: int, max_points: int, max_pillars: int) -> None:
    points, num_points = random_clouds(seed)
    expected = reference.voxelise(points, num_points, GRID, Z_RANGE, max_points, max_pillars)
    pillars = voxelise(points, num_points, GRID, Z_RANGE, max_points, max_pillars)
    assert torch.equal(pillars.coords, expected.coords)
    assert torch.equal(pillars.num_points, expected.num_points)
    assert torch.equal(pillars.points, expected.points)


def test_assignment_and_hard_voxels_hold_the_same_points_where_no_pillar_overflows() -> None:
    points, num_points = random_clouds(4)
    assigned = assign_pillars(points, num_points, GRID, Z_RANGE)
    pillars = voxelise(points, num_points, GRID, Z_RANGE, 60, 32)
    assert torch.equal(assigned.coords, pillars.coords)
    for number in range(len(pillars.coords)):
        real = pillars.points[number, : pillars.num_points[number]]
        assert torch.equal(assigned.points[assigned.pillar == number], real)


@given(st.integers(0, 30), st.integers(0, 1000))
def test_padding_changes_nothing(padding: int, seed: int) -> None:
    points, _ = random_clouds(seed, batch=1, length=20)
    padded = torch.cat((points, torch.rand(1, padding, 5)), dim=1)
    bare = voxelise(points, torch.tensor([20]), GRID, Z_RANGE, 4, 10)
    with_padding = voxelise(padded, torch.tensor([20]), GRID, Z_RANGE, 4, 10)
    assert torch.equal(bare.points, with_padding.points)
    assert torch.equal(bare.coords, with_padding.coords)


def test_a_sample_has_the_pillars_that_it_has_alone() -> None:
    points, num_points = random_clouds(5)
    together = voxelise(points, num_points, GRID, Z_RANGE, 3, 6)
    for sample in range(3):
        alone = voxelise(points[sample : sample + 1], num_points[sample : sample + 1], GRID, Z_RANGE, 3, 6)
        own = together.coords[:, 0] == sample
        assert torch.equal(together.coords[own, 1:], alone.coords[:, 1:])
        assert torch.equal(together.points[own], alone.points)


@pytest.mark.parametrize(
    "outside",
    [
        (4.0, 0, 0),
        (-4.01, 0, 0),
        (0, 2.0, 0),
        (0, -2.01, 0),
        (0, 0, 1.0),
        (0, 0, -1.01),
        (math.nan, 0, 0),
        (0, 0, math.nan),
    ],
)
def test_points_out_of_range_are_left_out(outside: tuple[float, float, float]) -> None:
    points = torch.tensor([[[*outside, 0.0, 0.0], [-4.0, -2.0, -1.0, 0.5, 0.1]]])
    assigned = assign_pillars(points, torch.tensor([2]), GRID, Z_RANGE)
    assert assigned.points.tolist() == points[:, 1].tolist()
    assert assigned.coords.tolist() == [[0, 0, 0]]


def test_a_batch_without_points_has_no_pillars() -> None:
    pillars = voxelise(torch.zeros(2, 0, 5), torch.tensor([0, 0]), GRID, Z_RANGE, 3, 6)
    assert pillars.points.shape == (0, 3, 5)
    assert pillars.num_points.shape == (0,)
    assert pillars.coords.shape == (0, 3)
