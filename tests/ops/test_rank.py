import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.ops import argmax_in_group, rank_in_group, reference


@given(st.lists(st.integers(0, 5), max_size=40))
def test_the_rank_is_the_number_of_earlier_elements_of_the_group(group: list[int]) -> None:
    numbers = torch.tensor(group, dtype=torch.int64)
    assert torch.equal(rank_in_group(numbers), reference.rank_in_group(numbers))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=40))
def test_the_argmax_is_the_first_of_the_largest_rows_of_the_group(rows: list[tuple[int, int, int]]) -> None:
    numbers = {group: number for number, group in enumerate(sorted({row[0] for row in rows}))}
    inputs = torch.tensor([row[1:] for row in rows]).float(), torch.tensor([numbers[row[0]] for row in rows])
    assert torch.equal(argmax_in_group(*inputs, len(numbers)), reference.argmax_in_group(*inputs, len(numbers)))


def test_the_argmax_of_a_group_with_a_nan_is_a_row_of_it() -> None:
    values = torch.tensor([[1.0], [torch.nan], [2.0]])
    assert argmax_in_group(values, torch.tensor([0, 1, 1]), 2).tolist() == [[0], [1]]
