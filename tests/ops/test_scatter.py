import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.geometry import BEVGrid
from remembev.ops import reference, scatter_pillars

GRID = BEVGrid(0.0, 0.0, 5.0, 3.0, 3, 5)


def test_each_pillar_stands_at_its_cell_and_all_else_is_zero() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    bev = scatter_pillars(features, torch.tensor([[0, 2, 4], [1, 0, 3]]), 2, GRID)
    assert bev.shape == (2, 2, 3, 5)
    assert bev[0, :, 2, 4].tolist() == [1.0, 2.0]
    assert bev[1, :, 0, 3].tolist() == [3.0, 4.0]
    assert bev.sum() == 10.0


@given(st.integers(0, 15), st.integers(0, 1000))
def test_the_map_is_that_of_a_loop_over_pillars(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(2 * GRID.height * GRID.width, generator=generator)[:count]
    coords = torch.stack((cells // 15, cells // 5 % 3, cells % 5), dim=1)
    features = torch.randn(count, 4, generator=generator)
    expected = reference.scatter_pillars(features, coords, 2, GRID)
    assert torch.equal(scatter_pillars(features, coords, 2, GRID), expected)


def test_the_gradient_of_a_pillar_is_that_of_its_cell() -> None:
    features = torch.ones(2, 2, requires_grad=True)
    bev = scatter_pillars(features, torch.tensor([[0, 2, 4], [0, 0, 3]]), 1, GRID)
    weight = torch.rand_like(bev)
    (bev * weight).sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.stack((weight[0, :, 2, 4], weight[0, :, 0, 3])))


def test_no_pillars_give_an_empty_map() -> None:
    bev = scatter_pillars(torch.zeros(0, 4), torch.zeros(0, 3, dtype=torch.int64), 1, GRID)
    assert bev.shape == (1, 4, 3, 5)
    assert not bev.any()
