import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon

from remembev.geometry import BEVGrid, bev_corners, rasterise_boxes

grids = st.builds(
    lambda x, y, cell_x, cell_y, height, width: BEVGrid(x, y, x + cell_x * width, y + cell_y * height, height, width),
    st.floats(-60, 60),
    st.floats(-60, 60),
    st.floats(0.1, 3),
    st.floats(0.1, 3),
    st.integers(1, 20),
    st.integers(1, 20),
)


@given(grids)
def test_the_centre_of_a_cell_lies_in_that_cell(grid: BEVGrid) -> None:
    row, column, inside = grid.cells(grid.centres(dtype=torch.float64))
    assert inside.all()
    assert torch.equal(row, torch.arange(grid.height)[:, None].expand_as(row))
    assert torch.equal(column, torch.arange(grid.width)[None].expand_as(column))


@given(grids)
def test_normalised_centres_sample_each_cell_itself(grid: BEVGrid) -> None:
    values = torch.rand(1, 1, grid.height, grid.width, dtype=torch.float64)
    at = grid.normalised(grid.centres(dtype=torch.float64))[None]
    sampled = torch.nn.functional.grid_sample(values, at, align_corners=False)
    torch.testing.assert_close(sampled, values, atol=1e-6, rtol=0)


def test_rows_run_along_y_and_columns_along_x() -> None:
    grid = BEVGrid(-2.0, 0.0, 2.0, 2.0, 2, 4)
    row, column, inside = grid.cells(torch.tensor([[1.5, 0.5], [-1.5, 1.5], [2.0, 0.5], [-2.0, 0.0], [0.0, -0.01]]))
    assert inside.tolist() == [True, True, False, True, False]
    assert row[inside].tolist() == [0, 1, 0]
    assert column[inside].tolist() == [3, 0, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_nan_and_infinity_are_off_the_grid(value: float) -> None:
    grid = BEVGrid(-2.0, 0.0, 2.0, 2.0, 2, 4)
    assert not grid.cells(torch.tensor([[value, 1.0], [1.0, value]]))[2].any()


def test_a_strided_grid_covers_the_same_area() -> None:
    grid = BEVGrid(-51.2, -51.2, 51.2, 51.2, 512, 512).strided(4)
    assert (grid.height, grid.width) == (128, 128)
    assert (grid.cell_x, grid.cell_y) == pytest.approx((0.8, 0.8))


def test_a_stride_that_does_not_divide_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="is not divisible by 3"):
        BEVGrid(0, 0, 1, 1, 8, 9).strided(3)


@given(
    x=st.floats(-9, 9),
    y=st.floats(-9, 9),
    length=st.floats(0.1, 8),
    width=st.floats(0.1, 8),
    yaw=st.floats(-4, 4),
)
def test_a_cell_is_covered_if_its_centre_is_in_the_box_or_the_boxs_centre_in_it(
    x: float, y: float, length: float, width: float, yaw: float
) -> None:
    grid = BEVGrid(-10, -8, 10, 8, 8, 10)
    box = torch.tensor([[x, y, 0, length, width, 1, yaw]], dtype=torch.float64)
    outline = Polygon(bev_corners(box)[0].numpy())
    covered = rasterise_boxes(box, grid)[0]
    home = (math.floor((y + 8) / grid.cell_y), math.floor((x + 10) / grid.cell_x))
    for row in range(grid.height):
        for column in range(grid.width):
            centre = Point(-10 + (column + 0.5) * 2, -8 + (row + 0.5) * 2)
            if outline.exterior.distance(centre) < 1e-6:
                continue
            assert covered[row, column] == (outline.contains(centre) or (row, column) == home)


def test_a_box_centred_off_the_grid_covers_only_the_cells_it_reaches() -> None:
    grid = BEVGrid(0, 0, 4, 4, 4, 4)
    boxes = torch.tensor([[-5.0, 2, 0, 1, 1, 1, 0], [-1.0, 2, 0, 4, 2, 1, 0]])
    covered = rasterise_boxes(boxes, grid)
    assert not covered[0].any()
    assert covered[1].nonzero().tolist() == [[1, 0], [2, 0]]
    assert rasterise_boxes(boxes[:0], grid).shape == (0, 4, 4)
